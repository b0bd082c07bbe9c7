"""Addresses to listen at: what they look like, which only this machine can reach, and which are taken."""

import socket
from ipaddress import IPv4Address, IPv6Address

_LAST_PORT = 65_535
_EVERY_INTERFACE = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, not bound
_ANSWER_SECONDS = 1.0


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host of an address `host:port`; an IPv6 address stands in brackets."""
    if host == "localhost":
        return True
    try:
        address = IPv6Address(host[1:-1]) if host.startswith("[") and host.endswith("]") else IPv4Address(host)
    except ValueError:  # another name may lead anywhere, whatever it looks like
        return False
    return address.is_loopback


def is_well_formed(address: str) -> bool:
    """Whether an address is of the form `host:port` or `unix:path`; whether it can be bound is another matter."""
    if address.startswith("unix:"):
        return address != "unix:"
    _, colon, port = address.rpartition(":")
    return bool(colon) and port.isascii() and port.isdigit() and int(port) <= _LAST_PORT


def is_taken(address: str) -> bool:
    """Whether somebody listens at an address `host:port` of this machine; of a path, and of port 0, nobody is known to.

    gRPC sets SO_REUSEPORT, so that the system lets two servers listen at one address and deals the connections out
    between them; an error to bind would never tell. Without the option a server could not be given an address that
    `sima up` has reserved, by a socket that is bound and does not listen. So this asks what matters, whether somebody
    answers. Only two servers that begin within the same moment are not kept apart.
    """
    host, _, port = address.rpartition(":")
    if address.startswith("unix:") or int(port) == 0:
        return False
    place = "localhost" if host in _EVERY_INTERFACE else host.strip("[]")  # the name stands for both families
    try:
        with socket.create_connection((place, int(port)), _ANSWER_SECONDS) as probe:
            # The system may choose the very port that is asked, and connect a socket with itself: nobody listens there.
            return bool(probe.getsockname() != probe.getpeername())
    except (OSError, UnicodeError):  # nobody answers, or it is no host
        return False
