"""May an instance be on a node? The hard and the soft limits, one node at a time.

Hard limits hold always; soft ones are skipped under force: when the operator ignores soft errors,
or when the instance leaves an offline node, which is worse. Forthcoming instances are held to the
limits that count what was promised, and to nothing else.
"""

from __future__ import annotations

from commands.placement.frame import Demand
from commands.placement.model import FailMode
from commands.placement.state import Placement


def may_migrate(placement: Placement, source: int, target: int) -> bool:
    """Whether the migration tags allow it; even force does not override them."""
    allowed = placement.frame.can_receive
    return allowed is None or bool(allowed[source, target])


def check_primary(
    placement: Placement, node: int, index: int, *, force: bool = False
) -> FailMode | None:
    """Why instance `index`, on no node now, cannot be a primary of `node`; None if it can."""
    return admit_primary(placement, node, placement.demand(index), force=force)


def check_secondary(
    placement: Placement,
    node: int,
    index: int,
    primary: int,
    *,
    force: bool = False,
    ignore_disk: bool = False,
) -> FailMode | None:
    """Why instance `index` cannot be a secondary of `node` with that primary; None if it can."""
    demand = placement.demand(index)
    return admit_secondary(placement, node, demand, primary, force=force, ignore_disk=ignore_disk)


def admit_primary(
    placement: Placement, node: int, demand: Demand, *, force: bool = False
) -> FailMode | None:
    """As `check_primary`, for a demand that no instance has made yet."""
    if demand.forthcoming:
        return None if force else _promised_primary(placement, node, demand)
    frame, state = placement.frame, placement
    free = state.unallocated[node] - demand.held
    if free <= 0:
        return FailMode.MEM
    if demand.local:
        failure = _disk(placement, node, demand, force=force)
        if failure is not None:
            return failure
    if force:
        return None
    if free <= state.reserve[node] < state.unallocated[node]:
        return FailMode.MEM
    if state.used_cpus[node] + demand.vcpus > frame.max_vcpus[node]:
        return FailMode.CPU
    if any(state.tag_counts[node, tag] for tag in demand.tags):
        return FailMode.TAGS
    return _promised_primary(placement, node, demand)


def _disk(
    placement: Placement, node: int, demand: Demand, *, force: bool, ignore_disk: bool = False
) -> FailMode | None:
    frame, state = placement.frame, placement
    left = state.free_disk[node] - demand.disk
    if left <= 0 and not ignore_disk:
        return FailMode.DISK
    if not force and left < frame.low_disk[node]:
        return FailMode.DISK
    if frame.exclusive[node]:
        if demand.spindles is None or state.free_spindles[node] < demand.spindles:
            return FailMode.SPINDLES
    elif not force and state.inst_spindles[node] + demand.spindle_use > frame.high_spindles[node]:
        return FailMode.DISK
    return None


def _promised_primary(placement: Placement, node: int, demand: Demand) -> FailMode | None:
    frame, state = placement.frame, placement
    if state.free_memory_f[node] - demand.memory <= 0:
        return FailMode.MEM
    if demand.local:
        failure = _promised_disk(placement, node, demand)
        if failure is not None:
            return failure
    if state.used_cpus_f[node] + demand.vcpus > frame.max_vcpus[node]:
        return FailMode.CPU
    return None


def _promised_disk(placement: Placement, node: int, demand: Demand) -> FailMode | None:
    frame, state = placement.frame, placement
    left = state.free_disk_f[node] - demand.disk
    if left <= 0 or left < frame.low_disk[node]:
        return FailMode.DISK
    if frame.exclusive[node]:
        if demand.spindles is None or state.free_spindles_f[node] < demand.spindles:
            return FailMode.SPINDLES
    elif state.inst_spindles_f[node] + demand.spindle_use > frame.high_spindles[node]:
        return FailMode.DISK
    return None


def admit_secondary(
    placement: Placement,
    node: int,
    demand: Demand,
    primary: int,
    *,
    force: bool = False,
    ignore_disk: bool = False,
) -> FailMode | None:
    """As `check_secondary`, for a demand that no instance has made yet.

    `ignore_disk`: an offline primary becomes the secondary, where the disks already are.
    """
    if demand.forthcoming:
        return None if force else _promised_secondary(placement, node, demand)
    if not demand.mirrored:
        return FailMode.DISK
    failure = _disk(placement, node, demand, force=force, ignore_disk=ignore_disk)
    if failure is not None or force:
        return failure
    state = placement
    free = state.unallocated[node]
    if demand.reserved >= free:
        return FailMode.MEM
    kept = max(state.reserve[node], state.peers[node, primary] + demand.reserved)
    if free <= kept and free > state.reserve[node]:
        return FailMode.MEM
    return _promised_secondary(placement, node, demand)


def _promised_secondary(placement: Placement, node: int, demand: Demand) -> FailMode | None:
    if not demand.mirrored:
        return FailMode.DISK
    failure = _promised_disk(placement, node, demand)
    if failure is not None:
        return failure
    if demand.reserved >= placement.free_memory_f[node]:
        return FailMode.MEM
    return None
