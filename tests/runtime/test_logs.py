"""Logs are JSON lines that tell what happened and repeat no value."""

import asyncio
import gc
import logging

import psycopg
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sima.identity.v1.identity_service_pb2 import LookupRequest, ResolveRequest
from sima_runtime.clients import ServiceClient

from .conftest import LogLines, ServeTold, Told

SECRET = "ada@example.com"


async def test_each_call_is_one_line_without_values(serve_told: ServeTold, log_lines: LogLines) -> None:
    """A call is logged once: method, workspace, request id, code and time, and nothing of its content."""
    server = await serve_told(Told())
    request = LookupRequest()
    request.keys.add().identifier.value = SECRET
    await server.client.call(server.stub.Lookup, request, workspace="acme")
    [line] = [line for line in log_lines() if line["event"] == "call"]
    assert set(line) == {
        "event", "level", "timestamp", "service", "method", "workspace", "request_id", "code", "ms"
    }  # fmt: skip
    assert (line["method"], line["workspace"], line["code"]) == (
        "/sima.identity.v1.IdentityService/Lookup",
        "acme",
        "OK",
    )
    assert SECRET not in str(line)


async def test_health_checks_are_not_logged(serve_told: ServeTold, log_lines: LogLines) -> None:
    """Probes, which come every few seconds, leave no line."""
    client: ServiceClient = (await serve_told()).client
    await health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest())
    assert [line for line in log_lines() if line["event"] == "call"] == []


async def test_called_service_uses_the_same_request_id(serve_told: ServeTold, log_lines: LogLines) -> None:
    """A call that causes another is found in both logs under one id."""
    inner = await serve_told()

    async def resolve() -> None:
        await inner.client.call(inner.stub.Lookup, LookupRequest())

    outer = await serve_told(Told(resolve))
    await outer.client.call(outer.stub.Resolve, ResolveRequest(), workspace="acme")
    lines = [line for line in log_lines() if line["event"] == "call"]
    assert len(lines) == 2
    assert len({line["request_id"] for line in lines}) == 1
    assert {line["workspace"] for line in lines} == {"acme"}


def fail() -> None:
    """Fail with a text that must not be logged, because of another such failure."""
    known: dict[str, int] = {}
    try:
        known[SECRET]
    except KeyError as error:
        raise ValueError(SECRET) from error


def test_exceptions_are_types_and_places(log_lines: LogLines) -> None:
    """An exception is told by its types and where it happened, never by its text."""
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("failed", step="parse")
    [line] = log_lines()
    assert [described["type"] for described in line["exception"]] == ["ValueError", "KeyError"]
    assert all("test_logs.py" in place for described in line["exception"] for place in described["at"])
    assert line["step"] == "parse"
    assert SECRET not in str(line)


def test_database_errors_name_the_constraint(postgres_url: str, log_lines: LogLines) -> None:
    """A refused row is told by SQLSTATE and constraint; PostgreSQL's text, which repeats the row, is not."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE people (email text CONSTRAINT one_each UNIQUE)")
        connection.execute("INSERT INTO people VALUES (%s)", (SECRET,))
        with pytest.raises(psycopg.errors.UniqueViolation, match=SECRET) as caught:
            connection.execute("INSERT INTO people VALUES (%s)", (SECRET,))
    structlog.get_logger().error("refused", exc_info=caught.value)
    [line] = log_lines()
    assert (line["exception"][0]["sqlstate"], line["exception"][0]["constraint"]) == ("23505", "one_each")
    assert SECRET not in str(line)


def test_libraries_log_templates_only(log_lines: LogLines) -> None:
    """What a library logs comes out without arguments and without the text of exceptions."""
    log = logging.getLogger("some.library")
    try:
        fail()
    except ValueError:
        log.exception("cannot parse %s", SECRET)
    log.info("not important: %s", SECRET)
    [line] = log_lines()
    assert (line["event"], line["logger"], line["level"]) == ("cannot parse %s", "some.library", "error")
    assert line["exception"][0]["type"] == "ValueError"
    assert SECRET not in str(line)


async def test_an_exception_that_nobody_awaited_keeps_its_text(log_lines: LogLines) -> None:
    """What asyncio tells of it names the task's place, not the values in the exception's text."""

    async def failing() -> None:
        fail()

    task = asyncio.create_task(failing())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
    await asyncio.sleep(0)
    [line] = log_lines()
    assert (line["logger"], line["exception"][0]["type"]) == ("asyncio", "ValueError")
    assert SECRET not in str(line)


def test_values_that_are_no_json_do_not_break_a_line(log_lines: LogLines) -> None:
    """A line is written whatever its fields are."""
    structlog.get_logger().info("odd", field={1, 2}, text="سلام\n")
    structlog.get_logger().info("odder", large=1 << 80, half="\ud800")
    line, odder = log_lines()
    assert (odder["event"], odder["large"]) == ("odder", 1 << 80)
    assert line["text"] == "سلام\n"
    assert line["field"] == "{1, 2}"
