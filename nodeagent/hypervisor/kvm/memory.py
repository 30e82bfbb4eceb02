"""The memory of a running guest: given back by its balloon, or plugged in (edge).

Up to what it has plugged in, a guest gives memory back to the node or takes it again: its balloon
driver does that, and one without such a driver keeps all of it. Beyond that, a DIMM is plugged in;
it stays until the guest is started anew.
"""

from __future__ import annotations

import msgspec

from nodeagent.errors import NoRoom, StateMismatch
from nodeagent.hypervisor.kvm.guest import Guest
from nodeagent.hypervisor.kvm.layout import DIMM_SLOTS

_BALLOON_S = 10.0
_PIECE_MIB = 128  # Linux takes memory in blocks of this size


def set_memory(guest: Guest, memory_mib: int) -> None:
    """The guest has this much memory. Raises NoRoom, StateMismatch."""
    layout = guest.record.layout
    whole_mib = layout.memory_mib + sum(layout.dimms_mib)
    if memory_mib > whole_mib:
        _plug_in(guest, memory_mib - whole_mib)
    _inflate(guest, memory_mib)


def _plug_in(guest: Guest, more_mib: int) -> None:
    layout, name = guest.record.layout, guest.record.instance.name
    if more_mib % _PIECE_MIB:
        raise StateMismatch(
            f"{name} can get more memory while it runs in pieces of {_PIECE_MIB} MiB",
            hint=f"ask for {more_mib - more_mib % _PIECE_MIB + _PIECE_MIB} MiB more, or restart it",
        )
    most_mib = layout.max_memory_mib - layout.memory_mib - sum(layout.dimms_mib)
    if more_mib > most_mib or len(layout.dimms_mib) >= DIMM_SLOTS:
        raise NoRoom(
            f"{name} can get {most_mib} MiB more while it runs",
            hint="change its memory and restart it",
        )
    place = len(layout.dimms_mib)
    guest.ask(
        "object-add",
        {"qom-type": "memory-backend-ram", "id": f"dimm-ram{place}", "size": more_mib << 20},
    )
    guest.ask(
        "device_add", {"driver": "pc-dimm", "id": f"dimm{place}", "memdev": f"dimm-ram{place}"}
    )
    dimms = (*layout.dimms_mib, more_mib)
    guest.keep(layout=msgspec.structs.replace(layout, dimms_mib=dimms))


def _inflate(guest: Guest, memory_mib: int) -> None:
    if guest.memory_mib == memory_mib:
        return
    guest.ask("balloon", {"value": memory_mib << 20})
    if not guest.wait(lambda: guest.dead or guest.memory_mib == memory_mib, timeout_s=_BALLOON_S):
        raise StateMismatch(
            f"{guest.record.instance.name} has {guest.memory_mib} MiB and does not change that",
            hint="does its system have a driver for the balloon (virtio_balloon)?",
        )
