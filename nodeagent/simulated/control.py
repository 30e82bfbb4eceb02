"""How the lab orders failures: a socket in the agent's directory (edge).

One connection, one order: a line of JSON, answered by a line of JSON, then the end.

    {"do": "break-disk", "disk": UUID}            its volumes here cannot be read any more
    {"do": "repair-disk", "disk": UUID}
    {"do": "fail", "call": NAME, "times": N}      the next N such calls fail before they act
    {"do": "fail-after", "call": NAME, "times": N}  ... after they have acted
    {"do": "hang", "call": NAME, "times": N}      ... do nothing until they are stopped
    {"do": "slow", "seconds": S}                  every call takes S seconds longer
    {"do": "die", "point": POINT, "times": N}     SIGKILL at the next passing of POINT (faults.py)
    {"do": "end-guest", "instance": UUID, "how": "crashed" | "user-down"}
    {"do": "stubborn-guest", "instance": UUID}    it ignores requests to shut down
    {"do": "clear"}                               forget fail, hang, slow, die
    {"do": "state"}                               only answer

The answer: {"ok": true, "effects": {...}, "syncs": N, "promised": [gen, term]}, or
{"ok": false, "error": "..."}. When the answer comes, the order holds.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from eventstore.reactor import Reactor
from nodeagent.errors import NodeAgentError
from nodeagent.simulated.node import SimulatedMachine

SOCKET = "control.sock"
_MAX_BYTES = 65_536
_SEND_S = 1.0  # for a lab that does not read its answer


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One order."""

    do: Literal[
        "break-disk", "repair-disk", "fail", "fail-after", "hang", "slow", "die", "end-guest",
        "stubborn-guest", "plant-volume", "clear", "state",
    ]  # fmt: skip
    disk: str = ""
    call: str = "*"
    times: int = 1
    seconds: float = 0.0
    point: str = ""
    instance: str = ""
    volume: str = ""
    size_mib: int = 0
    in_use: str = ""
    how: Literal["crashed", "user-down"] = "crashed"


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it."""

    ok: bool
    error: str = ""
    effects: dict[str, int] = {}
    syncs: int = 0
    promised: tuple[int, int] = (0, 0)
    hit: tuple[str, ...] = ()  # names of the volumes that were broken or repaired


class ControlSocket:
    """Listens in `directory`; `on_order` answers each order, on the reactor."""

    def __init__(
        self, reactor: Reactor, directory: Path, on_order: Callable[[Order], Answer]
    ) -> None:
        self._reactor = reactor
        self._on_order = on_order
        self._path = directory / SOCKET
        self._path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        # A socket's path may have 107 bytes; by way of /proc the directory's length is no matter.
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._listening.bind(f"/proc/self/fd/{handle}/{SOCKET}")
        finally:
            os.close(handle)
        self._path.chmod(0o600)
        self._listening.listen(16)
        reactor.watch(self._listening.fileno(), self._on_connection)
        reactor.on_close(self.close)

    def close(self) -> None:
        """Listen no more."""
        if self._listening.fileno() >= 0:
            self._reactor.unwatch(self._listening.fileno())
            self._listening.close()
            self._path.unlink(missing_ok=True)

    def _on_connection(self) -> None:
        connection, _ = self._listening.accept()
        connection.setblocking(False)
        received = bytearray()
        handle = connection.fileno()

        def on_readable() -> None:
            piece = b""
            try:
                piece = connection.recv(_MAX_BYTES)
                received.extend(piece)
                if piece and b"\n" not in received and len(received) < _MAX_BYTES:
                    return
                if received:
                    answer = msgspec.json.encode(self._answer(bytes(received))) + b"\n"
                    connection.settimeout(_SEND_S)
                    connection.sendall(answer)
            except OSError:
                piece = b""  # the lab is gone; its order, if it was whole, holds all the same
            self._reactor.unwatch(handle)
            connection.close()

        self._reactor.watch(handle, on_readable)

    def _answer(self, line: bytes) -> Answer:
        try:
            return self._on_order(msgspec.json.decode(line, type=Order))
        except (msgspec.MsgspecError, NodeAgentError) as wrong:
            return Answer(ok=False, error=str(wrong))


def carry_out(machine: SimulatedMachine, order: Order) -> tuple[str, ...]:
    """Do to the machine what the lab wants; returns the volumes that it hit."""
    faults = machine.faults
    match order.do:
        case "break-disk" | "repair-disk":
            hit = machine.break_disk(order.disk, broken=order.do == "break-disk")
            if not hit:
                raise NodeAgentError(f"disk {order.disk} has no volume here")
            return hit
        case "fail" | "hang":
            faults.order(order.do, order.call, order.times)
        case "fail-after":
            faults.order("after", order.call, order.times)
        case "die":
            faults.order("die", order.point, order.times)
        case "slow":
            faults.set_slow(order.seconds)
        case "end-guest":
            machine.hypervisor.end_guest(order.instance, order.how)
        case "stubborn-guest":
            machine.hypervisor.set_stubborn(order.instance)
        case "plant-volume":
            machine.plant(order.volume, size_mib=order.size_mib, in_use=order.in_use)
        case "clear":
            faults.clear()
        case "state":
            pass
    return ()
