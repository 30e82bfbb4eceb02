"""Where a guest's devices are, which both sides of a migration must see alike (pure).

A guest remembers where its devices are plugged in: a target that plugs them elsewhere cannot take
it over. What was decided at the start, and changed by hot-plug since, is therefore kept, and goes
with the guest (`DescribeGuest`): it cannot be derived from its configuration, which may have
changed since. The machine is named with its version, for `q35` means something else in each QEMU.

Slots: QEMU places its own devices into the first `kvm_pci_reservations` slots of the root bus,
disks and NICs go into those behind, in the order in which they came. On q35 the root bus takes
nothing while the guest runs, so each of these slots holds a root port with one place.
"""

from __future__ import annotations

import msgspec

from nodeagent.calls import Value
from nodeagent.errors import NoRoom

_SLOTS = 32  # of a PCI bus
_FIRST = 2  # the host bridge and the chipset are always there
_LAST_Q35 = 30  # 31 is the chipset
_PORTS_Q35 = 18  # at most: SeaBIOS looks through each at every start
DIMM_SLOTS = 16  # for memory that is plugged in; each holds one piece
GROWTH = 4  # so many times its memory and its vCPUs may a guest get without a restart


class Layout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a guest is put together."""

    machine: str  # with its version: pc-q35-7.2
    hvparams: dict[str, Value]  # in force, as it was started
    memory_mib: int  # at the start
    vcpus: int  # at the start
    max_memory_mib: int
    max_vcpus: int
    slots: dict[str, int] = {}  # uuid of a disk or NIC -> slot on the root bus
    units: dict[str, int] = {}  # uuid of one on another bus (SCSI, IDE, ISA) -> its place there
    dimms_mib: tuple[int, ...] = ()  # memory that was plugged in
    plugged_vcpus: tuple[dict[str, Value], ...] = ()  # as QEMU was told of each


def is_q35(machine: str) -> bool:
    """Whether devices hang behind root ports (PCI Express)."""
    return "q35" in machine


def slots_of(machine: str, reserved: int) -> range:
    """Return the slots that disks and NICs may have."""
    first = max(reserved, _FIRST)
    return range(first, min(first + _PORTS_Q35, _LAST_Q35 + 1) if is_q35(machine) else _SLOTS)


def free_slot(layout: Layout, reserved: int) -> int:
    """Return the slot that the next device gets. Raises NoRoom."""
    taken = set(layout.slots.values())
    for slot in slots_of(layout.machine, reserved):
        if slot not in taken:
            return slot
    raise NoRoom(
        f"all {len(slots_of(layout.machine, reserved))} PCI slots for disks and NICs are taken",
        hint="lower kvm_pci_reservations, or use disk_type=scsi, whose disks share one slot",
    )


def with_device(layout: Layout, uuid: str, *, on_pci: bool, reserved: int) -> Layout:
    """Return the layout with one more disk or NIC. Raises NoRoom."""
    if uuid in layout.slots or uuid in layout.units:
        return layout
    if on_pci:
        slot = free_slot(layout, reserved)
        return msgspec.structs.replace(layout, slots={**layout.slots, uuid: slot})
    taken = set(layout.units.values())
    unit = next(number for number in range(len(taken) + 1) if number not in taken)
    return msgspec.structs.replace(layout, units={**layout.units, uuid: unit})


def without_device(layout: Layout, uuid: str) -> Layout:
    """Return the layout without a disk or NIC."""
    return msgspec.structs.replace(
        layout,
        slots={key: slot for key, slot in layout.slots.items() if key != uuid},
        units={key: unit for key, unit in layout.units.items() if key != uuid},
    )


_LAYOUT = msgspec.json.Decoder(Layout)  # made at the start: docs/decisions/0206


def encode(layout: Layout) -> bytes:
    """Return it as it travels to the target."""
    return msgspec.json.encode(layout)


def decode(raw: bytes) -> Layout:
    """Return what `encode` made. Raises msgspec.MsgspecError."""
    return _LAYOUT.decode(raw)
