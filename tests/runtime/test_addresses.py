"""Which addresses only this machine can reach."""

import pytest
from sima_runtime.addresses import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "[::1]"])
def test_loopback_is_known_in_all_its_forms(host: str) -> None:
    """By name, by any of its addresses, in either family."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "*", "[::]", "::1", "[::1", "192.0.2.1", "127.evil.example", "unix", "unix-box", "localhost."],
)
def test_nothing_else_is_taken_for_loopback(host: str) -> None:
    """Least of all a name that begins like one of its addresses."""
    assert not is_loopback(host)
