"""When each move of a plan can run: a graph of what waits for what, and an estimate of its length.

A move waits for an earlier one of the same instance, and for the earlier ones that leave a node if
it would not fit there without them. The second is decided on a cluster that every earlier move has
entered and none has left, so any order that the graph permits keeps all limits. Beyond that only
the nodes' capacity for migrations and resyncs holds a move back: no barriers between sets.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import msgspec

from commands.placement.admission import check_primary, check_secondary
from commands.placement.balance import Step
from commands.placement.model import NO_NODE
from commands.placement.moves import Kind
from commands.placement.state import Placement


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What moves cost, and how many a node bears at a time. Correct them from finished jobs."""

    migration_mib_s: float = 100.0
    resync_mib_s: float = 60.0
    fixed_s: float = 5.0  # of each migration and each replacement
    migrations_per_node: int = 1
    resyncs_per_node: int = 2


class Scheduled(msgspec.Struct, frozen=True):
    """A move with its place in time. Seconds from the start."""

    position: int  # in the plan, from 0
    after: tuple[int, ...]  # positions that it waits for
    start_s: float
    end_s: float


def duration_s(placement: Placement, step: Step, rates: Rates) -> float:
    """How long a move takes: its migrations and its resync, one after the other."""
    inst = placement.instances[step.move.instance]
    migrations, resyncs = _parts(step.move.kind)
    memory = inst.memory if inst.uses_memory else 0
    seconds = migrations * (rates.fixed_s + memory / rates.migration_mib_s)
    return seconds + resyncs * (rates.fixed_s + inst.disk / rates.resync_mib_s)


def _parts(kind: Kind) -> tuple[int, int]:
    """Migrations and resyncs of a kind of move."""
    return {
        Kind.FAILOVER: (1, 0),
        Kind.FAILOVER_TO_ANY: (1, 0),
        Kind.REPLACE_SECONDARY: (0, 1),
        Kind.REPLACE_AND_FAILOVER: (1, 1),
        Kind.REPLACE_PRIMARY: (2, 1),
        Kind.FAILOVER_AND_REPLACE: (1, 1),
    }[kind]


def dependencies(before: Placement, steps: Sequence[Step]) -> list[tuple[int, ...]]:
    """For each move the positions of those that it must wait for. `before` is not changed."""
    crowded = before.copy()
    last_of: dict[int, int] = {}
    left: dict[int, list[int]] = {}  # node -> moves that have left it
    found: list[tuple[int, ...]] = []
    for position, step in enumerate(steps):
        index = step.move.instance
        waits: set[int] = set()
        if index in last_of:
            waits.add(last_of[index])
        for node in _entered(step):
            if left.get(node) and not _fits(crowded, step, node):
                waits.update(left[node])
        _enter(crowded, step)
        for node in set(step.before) - {NO_NODE}:
            left.setdefault(node, []).append(position)
        last_of[index] = position
        found.append(tuple(sorted(waits)))
    return found


def _entered(step: Step) -> list[int]:
    """Nodes where the instance has a new role."""
    entered = [node for node in step.after[:1] if node != step.before[0]]
    if step.after[1] not in (NO_NODE, step.before[1]):
        entered.append(step.after[1])
    if step.move.kind is Kind.REPLACE_PRIMARY:
        entered.append(step.before[1])  # in passing, and for another primary
    return entered


def _fits(crowded: Placement, step: Step, node: int) -> bool:
    index = step.move.instance
    if node == step.after[0] or step.move.kind is Kind.REPLACE_PRIMARY:
        if check_primary(crowded, node, index) is not None:
            return False
        if node == step.after[0]:
            return True
    return check_secondary(crowded, node, index, step.after[0]) is None


def _enter(crowded: Placement, step: Step) -> None:
    """Count the instance where it arrives, without taking it from where it was."""
    index = step.move.instance
    crowded.primary[index], crowded.secondary[index] = step.after
    for node in _entered(step):
        if node == step.after[0]:
            crowded.put_primary(node, index)
        else:
            crowded.put_secondary(node, index)


def schedule(
    before: Placement, steps: Sequence[Step], rates: Rates | None = None
) -> list[Scheduled]:
    """Give every move of a plan a start: of those that can run, the longest chain first."""
    rates = rates or Rates()
    waits = dependencies(before, steps)
    lengths = [duration_s(before, step, rates) for step in steps]
    chains = _chains(waits, lengths)
    followers: list[list[int]] = [[] for _ in steps]
    open_waits = [len(found) for found in waits]
    for position, found in enumerate(waits):
        for earlier in found:
            followers[earlier].append(position)
    ready = [position for position, count in enumerate(open_waits) if count == 0]
    running: list[tuple[float, int]] = []
    busy: dict[tuple[int, bool], int] = {}
    starts = [0.0] * len(steps)
    now = 0.0
    while ready or running:
        ready.sort(key=lambda position: (-chains[position], position))
        waiting = []
        for position in ready:
            claims = _claims(steps[position])
            if all(busy.get(claim, 0) < _room(claim, rates) for claim in claims):
                for claim in claims:
                    busy[claim] = busy.get(claim, 0) + 1
                starts[position] = now
                heapq.heappush(running, (now + lengths[position], position))
            else:
                waiting.append(position)
        ready = waiting
        now, position = heapq.heappop(running)
        for claim in _claims(steps[position]):
            busy[claim] -= 1
        for follower in followers[position]:
            open_waits[follower] -= 1
            if open_waits[follower] == 0:
                ready.append(follower)
    return [
        Scheduled(position, waits[position], starts[position], starts[position] + length)
        for position, length in enumerate(lengths)
    ]


def _chains(waits: list[tuple[int, ...]], lengths: list[float]) -> list[float]:
    """The time from the start of each move to the end of the longest chain behind it."""
    chains = lengths.copy()
    for position in range(len(waits) - 1, -1, -1):
        for earlier in waits[position]:
            chains[earlier] = max(chains[earlier], lengths[earlier] + chains[position])
    return chains


def _claims(step: Step) -> list[tuple[int, bool]]:
    """Capacities that a move holds: on each of its nodes, of migrations or of resyncs."""
    migrations, resyncs = _parts(step.move.kind)
    kinds = [resync for resync, count in ((False, migrations), (True, resyncs)) if count]
    return [(node, resync) for node in step.nodes for resync in kinds]


def _room(claim: tuple[int, bool], rates: Rates) -> int:
    return rates.resyncs_per_node if claim[1] else rates.migrations_per_node
