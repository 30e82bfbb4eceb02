"""Global N+1: could any one node fail and all its instances find a place?

A node can be evacuated if, soft limits aside, all its DRBD primaries fail over, then its instances
on shared storage move one by one to where the score of the group is lowest, then the rest (plain,
file, blockdev) can be made anew on the other nodes of the group, largest memory first.

The DRBD part is a comparison of two matrices. The rest is simulated, but only while bounds on
memory do not settle it: when no order would fit them (`_enough`), or every one does (`_plenty`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from commands.placement.admission import admit_primary
from commands.placement.exact import Candidates, ExactScorer
from commands.placement.fleet import build_part
from commands.placement.frame import Bools, Ints
from commands.placement.insertion import single_scores
from commands.placement.model import NO_NODE, policy_violation
from commands.placement.moves import Kind, Move, try_move
from commands.placement.options import Options
from commands.placement.state import Placement

#: Templates whose instances any node of the group can start at once.
SHARED_TEMPLATES: Final = frozenset({"diskless", "sharedfile", "rbd", "ext", "gluster"})


@dataclass(slots=True)
class Failovers:
    """What the failure of each node brings to each other one, DRBD only."""

    arriving: Ints  # [target, failing]: memory that arrives, -1 where nothing does
    blocked: Bools  # [failing]: something other than memory stands in the way

    def possible(self, unallocated: Ints) -> Bools:
        """By failing node, whether all its DRBD primaries fit where their secondaries are."""
        worst = np.where(self.arriving >= 0, self.arriving - unallocated[:, None], -1)
        fits: Bools = (worst < 0).all(axis=0) & ~self.blocked
        return fits


def failovers(placement: Placement) -> Failovers:
    """Sum up the DRBD primaries of every node by where their secondaries are."""
    state, frame = placement, placement.frame
    size = frame.size
    held = np.zeros((size, size), dtype=np.int64)
    present = np.zeros((size, size), dtype=np.bool_)
    blocked = np.zeros(size, dtype=np.bool_)
    pairs: list[tuple[int, int, int]] = []
    exclusive = frame.exclusive.any()
    for index, inst in enumerate(state.instances):
        if not inst.mirrored or inst.forthcoming or state.secondary[index] == NO_NODE:
            continue
        p, s = state.primary[index], state.secondary[index]
        pairs.append((s, p, inst.memory if inst.uses_memory else 0))
        if exclusive and inst.total_spindles is None and (frame.exclusive[[p, s]]).any():
            blocked[p] = True
    if pairs:
        table = np.array(pairs)
        np.add.at(held, (table[:, 0], table[:, 1]), table[:, 2])
        present[table[:, 0], table[:, 1]] = True
    # An offline node need not make room for the copy that it becomes.
    full = (state.free_disk <= 0) | (frame.exclusive & (state.free_spindles < 0))
    blocked |= (present & full[:, None]).any(axis=0)
    blocked |= present.any(axis=0) & (state.free_disk <= 0) & ~frame.offline
    blocked |= present.any(axis=0) & frame.exclusive & (state.free_spindles < 0)
    if frame.can_receive is not None:
        blocked |= (present & ~frame.can_receive.T).any(axis=0)
    return Failovers(np.where(present, held, -1), blocked)


def evacuable(placement: Placement, scope: Ints) -> Bools:
    """By node of the scope, whether all its instances would find a place; see the module."""
    if not len(scope):
        return np.zeros(0, dtype=np.bool_)
    found: Bools = failovers(placement).possible(placement.unallocated)[scope]
    for position in np.flatnonzero(found):
        node = int(scope[position])
        others = _others(placement, node)
        if others:
            found[position] = _rest_fits(placement, scope, node, others)
    return found


def redundant(placement: Placement, scope: Ints, options: Options) -> bool:
    """Whether every node that counts could fail. `scope` is what the score is taken over."""
    frame = placement.frame
    counted = np.ones(len(scope), dtype=np.bool_)
    if options.accept_existing:
        counted &= ~frame.offline[scope]
    if options.ignored_groups:
        ignored = np.array(sorted(options.ignored_groups), dtype=np.int64)
        counted &= ~np.isin(frame.group[scope], ignored)
    possible = failovers(placement).possible(placement.unallocated)[scope]
    if not possible[counted].all():
        return False
    # The fullest first: where the answer is no, it mostly is because of them.
    rest = [(node, _others(placement, node)) for node in scope[counted].tolist()]
    rest.sort(key=lambda one: -sum(placement.instances[index].memory for index in one[1]))
    return all(_rest_fits(placement, scope, node, others) for node, others in rest if others)


def _others(placement: Placement, node: int) -> list[int]:
    """Primaries of a node that cannot fail over to a copy."""
    items = placement.instances
    return [index for index in placement.primaries[node] if not items[index].mirrored]


def _rest_fits(placement: Placement, scope: Ints, node: int, others: list[int]) -> bool:
    frame, items = placement.frame, placement.instances
    targets = scope[(frame.group[scope] == frame.group[node]) & (scope != node)]
    if not len(targets):
        return False
    settled = _bounded(placement, node, others, targets)
    if settled is not None:
        return settled
    state = placement.copy()
    for index in list(state.primaries[node]):
        if items[index].mirrored:
            failure = try_move(state, Move(index, Kind.FAILOVER), force=True)
            if failure is not None:
                return False
    shared = [index for index in others if items[index].template in SHARED_TEMPLATES]
    rest = [index for index in others if items[index].template not in SHARED_TEMPLATES]
    group = scope[frame.group[scope] == frame.group[node]]
    return _spread(state, node, shared, targets, group, last=not rest) and _recreate(
        state, rest, targets, scope
    )


def _bounded(placement: Placement, node: int, others: list[int], targets: Ints) -> bool | None:
    """Settle without trying where memory is plenty, or far too little; else None."""
    frame, items = placement.frame, placement.instances
    held = [items[index].memory if items[index].uses_memory else 0 for index in others]
    needs = np.array(held, dtype=np.int64)
    arriving = np.maximum(failovers_to(placement, node), 0)
    free = placement.unallocated[targets] - arriving[targets]
    if frame.can_receive is None and not _enough(needs, free):
        return False
    simple = frame.can_receive is None and all(
        items[index].template in SHARED_TEMPLATES for index in others
    )
    return True if simple and _plenty(needs, free) else None


def _enough(needs: Ints, free: Ints) -> bool:
    """Whether memory might do, in whatever order: False is certain, True is not.

    For each k, by the smallest of the largest k: a node, which must keep one MiB, holds at most
    (free - 1) // size of these, and all nodes together must hold k.
    """
    sizes = np.sort(needs)[::-1]
    if sizes[0] >= free.max():
        return False
    sizes = sizes[sizes > 0]
    room = np.maximum(free - 1, 0)
    held = (room[:, None] // sizes[None, :]).sum(axis=0)
    return bool((held >= np.arange(1, len(sizes) + 1)).all())


def _plenty(needs: Ints, free: Ints) -> bool:
    """Whether instances placed in this order surely find memory, wherever those before went.

    A node is closed to an instance once it has taken as much as it has free beyond the size. To
    close all nodes, those before must be that large together, and each node takes at least as
    many of them as of the largest would do.
    """
    before = np.cumsum(needs) - needs
    count = np.arange(len(needs))
    largest = np.maximum.accumulate(np.concatenate(([1], needs[:-1])))
    beyond = np.maximum(free[:, None] - needs[None, :], 0)
    closing = -(-beyond // largest[None, :])
    return bool(((beyond.sum(axis=0) > before) | (closing.sum(axis=0) > count)).all())


def failovers_to(placement: Placement, node: int) -> Ints:
    """Memory that each node receives when `node` fails."""
    arriving = np.zeros(placement.frame.size, dtype=np.int64)
    for index in placement.primaries[node]:
        inst = placement.instances[index]
        if inst.mirrored and inst.uses_memory and placement.secondary[index] != NO_NODE:
            arriving[placement.secondary[index]] += inst.memory
    return arriving


def _spread(
    state: Placement, node: int, shared: list[int], targets: Ints, group: Ints, *, last: bool
) -> bool:
    """Move instances on shared storage away one by one, each to the best place.

    If they are the last to go, moves that cannot change the answer any more are left out.
    """
    if not shared:
        return True
    fleet = build_part(state, shared)
    scorer = ExactScorer(state, group, fleet)
    allowed = state.frame.can_receive
    for position, index in enumerate(shared):
        if allowed is None:
            needs, free = fleet.held[shared[position:]], state.unallocated[targets]
            if not _enough(needs, free):
                return False
            if last and _plenty(needs, free):
                return True
        usable = targets[state.unallocated[targets] > int(fleet.held[index])]
        if allowed is not None:
            usable = usable[allowed[node, usable]]
        if not len(usable):
            return False
        count = np.full(len(usable), index), np.full(len(usable), int(Kind.FAILOVER_TO_ANY))
        scores = scorer.scores(Candidates(*count, usable))
        # Of equal scores the later node wins, as everywhere in allocation.
        best = len(scores) - 1 - int(scores[::-1].argmin())
        failure = try_move(state, Move(index, Kind.FAILOVER_TO_ANY, int(usable[best])), force=True)
        assert failure is None, failure
        scorer.refresh()
    return True


def _recreate(state: Placement, rest: list[int], targets: Ints, scope: Ints) -> bool:
    """Make the others anew on the remaining nodes, largest memory first."""
    frame = state.frame
    for index in sorted(rest, key=lambda index: -state.instances[index].memory):
        inst = state.instances[index]
        demand = state.demand(index)
        usable = [
            int(node)
            for node in targets
            if policy_violation(
                inst, frame.policy(int(node)), exclusive_storage=bool(frame.exclusive[node])
            )
            is None
            and admit_primary(state, int(node), demand, force=True) is None
        ]
        if not usable:
            return False
        scores = single_scores(state, scope, demand, np.array(usable))
        best = len(scores) - 1 - int(scores[::-1].argmin())
        state.add(inst, usable[best])
    return True
