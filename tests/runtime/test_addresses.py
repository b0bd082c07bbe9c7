"""Which addresses only this machine can reach."""

import pytest
from sima_runtime.addresses import is_loopback, is_well_formed


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


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", "[::1]:65535", "localhost:7001", ":7001", "unix:/run/sima", "unix:a"]
)
def test_an_address_has_a_port_or_is_a_path(address: str) -> None:
    """Whether it can be bound only the system knows."""
    assert is_well_formed(address)


@pytest.mark.parametrize(
    "address", ["", "foo", "127.0.0.1", "127.0.0.1:", "a:b", "a:-1", "a:65536", "a:\u0661", "a: 1", "unix:"]
)
def test_what_has_neither_is_no_address(address: str) -> None:
    """Least of all a host alone."""
    assert not is_well_formed(address)
