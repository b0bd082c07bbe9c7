"""Which addresses only this machine can reach."""

from ipaddress import IPv4Address, IPv6Address


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host of an address `host:port`; an IPv6 address stands in brackets."""
    if host == "localhost":
        return True
    try:
        address = IPv6Address(host[1:-1]) if host.startswith("[") and host.endswith("]") else IPv4Address(host)
    except ValueError:  # another name may lead anywhere, whatever it looks like
        return False
    return address.is_loopback
