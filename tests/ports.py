"""Ports for servers that have to be told where to listen."""

import os
import socket
from contextlib import suppress
from itertools import cycle, islice

#: Below the ports that the system gives out of its own accord, so nobody is given one between asking and listening;
#: each worker of a test run has a thousand of its own.
_FIRST = 20_000 + 1_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_candidates = islice(cycle(range(_FIRST, _FIRST + 1_000)), os.getpid() % 1_000, None)


def free_port() -> int:
    """Return a port of the loopback address that nobody uses, each time another."""
    for port in islice(_candidates, 1_000):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("of a thousand ports none is free")
