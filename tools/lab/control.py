"""Orders to a simulated node: go wrong in this way (edge). One line of JSON there, one back.

The agent's side, with all orders, is nodeagent/simulated/control.py.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec

from tools.lab.layout import LabError

SOCKET = "control.sock"
_PATIENCE_S = 10.0


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an order."""

    ok: bool
    error: str = ""
    effects: dict[str, int] = {}
    syncs: int = 0
    hit: tuple[str, ...] = ()


def order(agent: Path, do: str, **details: str | int | float) -> Reply:
    """Give one order to the agent in this directory. Raises LabError if it cannot be done.

    When this returns, the order holds.
    """
    line = msgspec.json.encode({"do": do, **details}) + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PATIENCE_S)
        try:
            _connect(connection, agent)
            connection.sendall(line)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        except OSError as failed:
            told = f"the agent in {agent} does not take orders: {failed.strerror or failed}"
            raise LabError(f"{told}; cairn lab start {agent.name}") from None
    reply = msgspec.json.decode(answer, type=Reply)
    if not reply.ok:
        raise LabError(f"{agent.name}: {reply.error}")
    return reply


def _connect(connection: socket.socket, agent: Path) -> None:
    """Connect by way of /proc: a socket's path may have 107 bytes, a directory's more."""
    handle = os.open(agent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{handle}/{SOCKET}")
    finally:
        os.close(handle)
