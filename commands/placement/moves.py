"""The ways to move one instance, and what each does to its nodes.

| kind | code | nodes after | steps on the cluster |
| --- | --- | --- | --- |
| FAILOVER | f | s:p | migrate |
| REPLACE_SECONDARY | r:t | p:t | replace-disks |
| REPLACE_AND_FAILOVER | r:t f | t:p | replace-disks, migrate |
| REPLACE_PRIMARY | f r:t f | t:s | migrate, replace-disks, migrate |
| FAILOVER_AND_REPLACE | f r:t | s:t | migrate, replace-disks |
| FAILOVER_TO_ANY | fa:t | t | migrate to a named node (external storage) |

The order of the kinds is that in which htools tries them; it decides between equal scores.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from commands.placement.admission import check_primary, check_secondary, may_migrate
from commands.placement.model import NO_NODE, FailMode
from commands.placement.state import Placement


class Kind(enum.IntEnum):
    """A kind of move."""

    FAILOVER = 0
    REPLACE_SECONDARY = 1
    REPLACE_AND_FAILOVER = 2
    REPLACE_PRIMARY = 3
    FAILOVER_AND_REPLACE = 4
    FAILOVER_TO_ANY = 5


@dataclass(frozen=True, slots=True)
class Move:
    """One move of one instance; `target` is NO_NODE for a failover."""

    instance: int
    kind: Kind
    target: int = NO_NODE


def nodes_after(kind: Kind, primary: int, secondary: int, target: int) -> tuple[int, int]:
    """Primary and secondary of an instance after a move of that kind."""
    match kind:
        case Kind.FAILOVER:
            return secondary, primary
        case Kind.REPLACE_SECONDARY:
            return primary, target
        case Kind.REPLACE_AND_FAILOVER:
            return target, primary
        case Kind.REPLACE_PRIMARY:
            return target, secondary
        case Kind.FAILOVER_AND_REPLACE:
            return secondary, target
        case Kind.FAILOVER_TO_ANY:
            return target, secondary


def try_move(placement: Placement, move: Move, *, force: bool = False) -> FailMode | None:
    """Make a move, with its checks; on failure change nothing and return the reason.

    Soft limits are skipped under `force`, and where the instance leaves an offline node.
    """
    index = move.instance
    nodes = (placement.primary[index], placement.secondary[index], move.target)
    saved = placement.save(nodes)
    before = nodes[:2]
    failure = _make(placement, move, force)
    if failure is not None:
        placement.restore(saved)
        placement.primary[index], placement.secondary[index] = before
    return failure


def _make(placement: Placement, move: Move, force: bool) -> FailMode | None:
    index, target = move.instance, move.target
    p, s = placement.primary[index], placement.secondary[index]
    offline = placement.frame.offline
    force_p = force or bool(offline[p])
    match move.kind:
        case Kind.FAILOVER:
            return _failover(placement, index, force)
        case Kind.FAILOVER_TO_ANY:
            return _failover_to_any(placement, index, target, force_p)
        case Kind.REPLACE_SECONDARY:
            return _replace_secondary(placement, index, target, force or bool(offline[s]))
        case Kind.REPLACE_PRIMARY:
            return _replace_primary(placement, index, target, force_p)
        case Kind.REPLACE_AND_FAILOVER:
            # The new primary is never forced by an offline node: the copy is made from the old
            # one, which must be alive for that; htools does the same.
            if not may_migrate(placement, p, target):
                return FailMode.MIG
            _leave(placement, index)
            return _settle(
                placement, index, (target, p), force, force or bool(offline[s]), ignore_disk=False
            )
        case Kind.FAILOVER_AND_REPLACE:
            if not may_migrate(placement, p, s):
                return FailMode.MIG
            _leave(placement, index)
            return _settle(placement, index, (s, target), force_p, force_p, ignore_disk=False)


def _leave(placement: Placement, index: int) -> None:
    placement.take_primary(placement.primary[index], index)
    if placement.secondary[index] != NO_NODE:
        placement.take_secondary(placement.secondary[index], index)


def _settle(
    placement: Placement,
    index: int,
    nodes: tuple[int, int],
    force_primary: bool,
    force_secondary: bool,
    *,
    ignore_disk: bool,
) -> FailMode | None:
    """Put an instance that is on no node onto two, each with its checks."""
    failure = check_primary(placement, nodes[0], index, force=force_primary)
    if failure is not None:
        return failure
    placement.primary[index], placement.secondary[index] = nodes
    placement.put_primary(nodes[0], index)
    failure = check_secondary(
        placement, nodes[1], index, nodes[0], force=force_secondary, ignore_disk=ignore_disk
    )
    if failure is None:
        placement.put_secondary(nodes[1], index)
    return failure


def _failover(placement: Placement, index: int, force: bool) -> FailMode | None:
    p, s = placement.primary[index], placement.secondary[index]
    offline = bool(placement.frame.offline[p])
    if not may_migrate(placement, p, s):
        return FailMode.MIG
    _leave(placement, index)
    forced = force or offline
    return _settle(placement, index, (s, p), forced, forced, ignore_disk=offline)


def _failover_to_any(placement: Placement, index: int, target: int, force: bool) -> FailMode | None:
    p = placement.primary[index]
    if not may_migrate(placement, p, target):
        return FailMode.MIG
    failure = check_primary(placement, target, index, force=force)
    if failure is not None:
        return failure
    placement.take_primary(p, index)
    placement.primary[index] = target
    placement.put_primary(target, index)
    return None


def _replace_secondary(
    placement: Placement, index: int, target: int, force: bool
) -> FailMode | None:
    p = placement.primary[index]
    failure = check_secondary(placement, target, index, p, force=force)
    if failure is not None:
        return failure
    _leave(placement, index)
    failure = check_primary(placement, p, index, force=True)
    if failure is not None:
        return failure
    placement.secondary[index] = target
    placement.put_primary(p, index)
    placement.put_secondary(target, index)
    return None


def _replace_primary(placement: Placement, index: int, target: int, force: bool) -> FailMode | None:
    p, s = placement.primary[index], placement.secondary[index]
    if not (may_migrate(placement, p, s) and may_migrate(placement, s, target)):
        return FailMode.MIG
    _leave(placement, index)
    # The secondary carries the instance while the primary's copy is made anew elsewhere.
    failure = check_primary(placement, s, index, force=force)
    if failure is not None:
        return failure
    placement.put_primary(s, index)
    placement.take_primary(s, index)
    return _settle(placement, index, (target, s), force, force, ignore_disk=False)
