"""Whether a TCP port of this node is listened on, from the kernel's table (pure).

DRBD takes a port that is taken without a word: it tries to listen again and again, and its state is
that of a mirror whose peer is silent. So the table is looked at before.
Source: proc_net(5), /proc/net/tcp and tcp6: local address and port in hexadecimal, state 0A.
"""

from __future__ import annotations

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTEN = "0A"


def is_listened_on(table: str, port: int) -> bool:
    """Say whether any socket of `table`, the text of one of TABLES, listens on `port`."""
    wanted = f"{port:04X}"
    return any(
        fields[3] == _LISTEN and fields[1].rpartition(":")[2] == wanted
        for line in table.splitlines()[1:]
        if len(fields := line.split()) > 3
    )
