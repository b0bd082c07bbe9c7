"""The program of a worker process: `python -m sima_collector.worker FD`, started by the collector only.

It loads the plugins and parses what comes over the socket `FD`, one payload after the other, until the socket ends.
It has nothing to lose: the collector may kill it at any moment.
"""

import logging
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from sima_runtime.garbage import relieve_collector
from sima_runtime.logs import configure_logs
from sima_sdk.errors import FixConfigurationError

from sima_collector.frames import BEGUN, Frame, Stream, encode, read_frame
from sima_collector.messages import Assignment, Rejected, catalogue_frame, outcome_frame, read_assignment, read_request
from sima_collector.parsing import Parser

# The collector kills a worker at the limit. Only if the collector is dead does the worker live on beyond it.
_GRACE_SECONDS = 2.0


def main(descriptor: int) -> int:
    """Serve the socket until it ends; returns the exit code."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    configure_logs("info", "collector")
    logging.captureWarnings(True)
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rwb") as stream:
        try:
            _serve(stream)
        except FixConfigurationError as error:
            _send(stream, Frame({"failed": str(error)}))
            return 1
        except (EOFError, OSError):
            return 0


def _serve(stream: Stream) -> NoReturn:
    assignment = read_assignment(read_frame(stream))
    _limit(assignment.memory_bytes)
    parser = _parser(assignment)
    relieve_collector()
    _send(stream, catalogue_frame(parser.catalogue))
    limit = assignment.seconds + _GRACE_SECONDS
    while True:
        frame = read_frame(stream)
        if "file" in frame.head:
            _pull(parser, frame, stream, limit)
        else:
            stream.write(BEGUN)
            stream.flush()
            with _at_most(limit):
                outcome = parser.receive(frame.head["source"], read_request(frame))
            _send(stream, outcome_frame(outcome))


def _parser(assignment: Assignment) -> Parser:
    try:
        return Parser(assignment)
    except OSError as error:  # of a plugin; nobody may take it for the end of the socket
        raise FixConfigurationError(f"the plugins could not be loaded ({type(error).__name__})") from error


def _pull(parser: Parser, frame: Frame, stream: Stream, limit: float) -> None:
    """Send page after page; each waits until the collector asks for the next."""
    head = frame.head
    pages = parser.pull(head["source"], Path(head["file"]), head["checkpoint"])
    while True:
        with _at_most(limit):
            outcome = next(pages)
        _send(stream, outcome_frame(outcome))
        if isinstance(outcome, Rejected) or outcome.last:
            return
        read_frame(stream)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """End the process by itself if the block takes longer."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def _send(stream: Stream, frame: Frame) -> None:
    stream.write(encode(frame))
    stream.flush()


def _limit(memory_bytes: int) -> None:
    # A core file would hold personal data.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
