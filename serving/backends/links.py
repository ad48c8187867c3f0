"""The connections of this process: whoever is reached by another one may be another server.

gRPC connects again without a word when a connection ends while nobody is asked, and what answers
then may be a server that was started meanwhile, or another one behind a balancer.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

import psutil

Link = tuple[str, int, str, int]
"""Address and port here and there. Two connections to one server have different ports here, and a
port is hardly ever given again at once."""


def established() -> frozenset[Link]:
    """All TCP connections of this process."""
    return frozenset(
        (*one.laddr, _plain(one.raddr.ip), one.raddr.port)
        for one in psutil.Process().net_connections("tcp")
        if one.raddr and one.status == psutil.CONN_ESTABLISHED
    )


def links_to(places: Iterable[tuple[str, int]], links: frozenset[Link]) -> frozenset[Link]:
    """Those of ``links`` that lead to one of ``places``: address and port."""
    wanted = set(places)
    return frozenset(link for link in links if link[2:] in wanted)


def places_of(host: str, port: int) -> frozenset[tuple[str, int]]:
    """Addresses that ``host`` has now; none if nobody knows it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset((_plain(str(address[0])), port) for *_, address in found)


def _plain(address: str) -> str:
    """An IPv4 address that a socket of IPv6 uses, as IPv4."""
    return address.removeprefix("::ffff:")
