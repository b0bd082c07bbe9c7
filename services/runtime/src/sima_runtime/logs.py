"""Logs: one JSON object a line on standard error, without personal data.

Own code logs an event name and fields. What libraries log comes out as their message template alone, and exceptions as
types and places in the code: their texts and arguments may repeat values.
"""

import json
import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any

import orjson
import structlog

EventDict = MutableMapping[str, Any]

_DEEPEST_FRAMES = 12


def configure_logs(level: str, service: str) -> None:
    """Send the logs of the process to standard error.

    Args:
        level: Least level that is logged: debug, info, warning or error.
        service: Name of the service, in every line.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper("iso"),
            _named(service),
            describe_exception,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_StandardError,
    )
    logging.basicConfig(
        handlers=[_LibraryHandler()], level=max(logging.WARNING, logging.getLevelName(level.upper())), force=True
    )


def describe_exception(_: object, __: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by what can be told of an exception without its text (a structlog processor)."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if info and info[1] is not None:
        event["exception"] = _describe(info[1])
    return event


def _render(_: object, __: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:  # half a surrogate pair, or a number of more than 64 bits
        return json.dumps(event, default=str)


def _describe(error: BaseException) -> list[dict[str, Any]]:
    """Describe an exception and those that led to it: types, places, and SQLSTATE where there is one."""
    described: list[dict[str, Any]] = []
    current: BaseException | None = error
    while current is not None and len(described) < 5:
        described.append({"type": type(current).__qualname__, "at": _places(current), **_database_facts(current)})
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return described


def _places(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-_DEEPEST_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _database_facts(error: BaseException) -> Mapping[str, str]:
    """SQLSTATE and the name of the constraint: not the message, which repeats the row."""
    diagnosis = getattr(error, "diag", None)
    facts = {
        "sqlstate": getattr(diagnosis, "sqlstate", None),
        "constraint": getattr(diagnosis, "constraint_name", None),
    }
    return {name: value for name, value in facts.items() if value}


def _named(service: str) -> structlog.typing.Processor:
    def add_service(_: object, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add_service


class _StandardError:
    """Writes lines to standard error; a call must not fail because nobody reads the log any more."""

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):  # closed, or a broken pipe: there is nobody left to tell
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg


class _LibraryHandler(logging.Handler):
    """Hands on what libraries log, without the arguments of the message."""

    def emit(self, record: logging.LogRecord) -> None:
        # Without arguments a text may have been put together before, with values in it (asyncio does so).
        template = record.msg if record.args and isinstance(record.msg, str) else f"{record.module}.{record.funcName}"
        structlog.get_logger().log(record.levelno, template, logger=record.name, exc_info=record.exc_info)
