"""Rebooting all nodes in as few rounds as possible without stopping what is redundant.

Nodes that must not be down together are joined by an edge: the two nodes of an instance, and (if
instances stay up) the primaries of instances with a common secondary. Colours are rounds. Within a
round, instances that have no copy must find another node for the time; what does not fit makes the
round smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from commands.placement.admission import check_primary, check_secondary
from commands.placement.colouring import ALGORITHMS, Colouring, build_graph, classes
from commands.placement.frame import Ints
from commands.placement.model import NO_NODE
from commands.placement.state import Placement


class NoRoom(Exception):
    """Instances that must move find no place; the message says which kind."""


@dataclass(frozen=True, slots=True)
class Round:
    """Nodes to be down together, and where everything is meanwhile."""

    nodes: tuple[int, ...]
    placement: Placement


def reboot_graph(
    placement: Placement, nodes: Ints, *, instances_down: bool
) -> dict[int, list[int]]:
    """The graph over `nodes` (not empty) and the indices between them."""
    inside = set(nodes.tolist())
    edges: list[tuple[int, int]] = []
    for index, inst in enumerate(placement.instances):
        if inst.mirrored and placement.secondary[index] != NO_NODE:
            pair = placement.primary[index], placement.secondary[index]
            edges += [pair, pair[::-1]]
    if not instances_down:
        known = set(edges)
        for found in placement.secondaries:
            primaries = [placement.primary[index] for index in found]
            for edge in ((one, two) for one in primaries for two in primaries):
                if edge not in known:
                    known.add(edge)
                    edges.append(edge)
    valid = [edge for edge in edges if edge[0] in inside and edge[1] in inside]
    return build_graph(range(int(nodes.min()), int(nodes.max()) + 1), valid)


def colourings(graph: dict[int, list[int]]) -> list[tuple[str, Colouring]]:
    """The graph coloured by each algorithm."""
    return [(name, algorithm(graph)) for name, algorithm in ALGORITHMS]


def smallest(found: list[tuple[str, Colouring]]) -> list[list[int]]:
    """The rounds of the colouring with the fewest colours; of equal ones the first."""
    return min((classes(colours) for _, colours in found), key=len)


Clear = Callable[[Placement, int, list[int]], bool]


def split_rounds(placement: Placement, nodes: list[int], clear: Clear) -> list[Round]:
    """Split a round so that each part can be cleared; raises NoRoom if some node never can.

    Every part starts from `placement` again: the nodes of the parts before are back by then.
    """
    targets = np.flatnonzero(~placement.frame.offline).tolist()
    rounds: list[Round] = []
    left = nodes
    while left:
        state, cleared = _clear_some(placement.copy(), left, targets, clear)
        if not cleared:
            raise NoRoom
        rounds.append(Round(tuple(cleared), state))
        left = [node for node in left if node not in cleared]
    return rounds


def _clear_some(
    state: Placement, nodes: list[int], targets: list[int], clear: Clear
) -> tuple[Placement, list[int]]:
    """Clear as many of the nodes as possible, in order; cleared ones take nothing any more."""
    cleared: list[int] = []
    group = state.frame.group
    for node in nodes:
        others = [target for target in targets if target != node]
        trial = state.copy()
        if clear(trial, node, [other for other in others if group[other] == group[node]]):
            state, targets = trial, others
            cleared.append(node)
    return state, cleared


def move_away_unmirrored(state: Placement, node: int, targets: list[int]) -> bool:
    """Move the instances without a copy to the first nodes that take them."""
    for index in list(state.primaries[node]):
        if state.instances[index].mirrored:
            continue
        new = next((t for t in targets if check_primary(state, t, index, force=True) is None), None)
        if new is None:
            return False
        state.take_primary(node, index)
        state.primary[index] = new
        state.put_primary(new, index)
    return True


def move_away_secondaries(state: Placement, node: int, targets: list[int]) -> bool:
    """Replace the copies on a node by copies on the first nodes that take them."""
    for index in list(state.secondaries[node]):
        primary = state.primary[index]
        usable = (
            target
            for target in targets
            if target != primary
            and check_secondary(state, target, index, primary, force=True) is None
        )
        new = next(usable, None)
        if new is None:
            return False
        state.take_primary(primary, index)
        state.take_secondary(node, index)
        state.secondary[index] = new
        state.put_primary(primary, index)
        state.put_secondary(new, index)
    return True


def migrate_off(found: Round) -> Round:
    """Fail over all mirrored primaries of a round's nodes. Raises NoRoom."""
    state = found.placement.copy()
    moving = [
        index
        for node in found.nodes
        for index in state.primaries[node]
        if state.instances[index].mirrored
    ]
    for index in moving:
        p, s = state.primary[index], state.secondary[index]
        state.take_primary(p, index)
        state.take_secondary(s, index)
        if check_primary(state, s, index, force=True) is not None:
            raise NoRoom
        state.primary[index], state.secondary[index] = s, p
        state.put_primary(s, index)
        if check_secondary(state, p, index, s, force=True) is not None:
            raise NoRoom
        state.put_secondary(p, index)
    return Round(found.nodes, state)
