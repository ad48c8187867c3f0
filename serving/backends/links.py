"""The connections of this process: whoever is reached by another one may be another server.

gRPC connects again without a word when a connection ends while nobody is asked, and what answers
then may be a server that was started meanwhile, or another one behind a balancer.
"""

from __future__ import annotations

import psutil

Link = tuple[str, int, str, int]
"""Address and port here and there. The system gives each connection another port here."""


def links_to(port: int) -> frozenset[Link]:
    """Connections of this process to ``port``, of whatever machine."""
    return frozenset(
        (*one.laddr, *one.raddr)
        for one in psutil.Process().net_connections("tcp")
        if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
    )
