"""Which nodes can be powered off, and which must be powered on.

A set of nodes can go if, after balancing without them, no instance is on an offline node and every
node could still take a target instance. Nodes on standby come back, in order, until every node can
take a minimal one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from commands.placement.admission import admit_primary
from commands.placement.allocate import all_nodes
from commands.placement.balance import Step, balance
from commands.placement.labels import STANDBY_PREFIX
from commands.placement.model import NO_NODE, Instance, Spec
from commands.placement.options import Options
from commands.placement.state import Placement


@dataclass(frozen=True, slots=True)
class Switched:
    """A cluster with nodes switched and balanced, and the moves that this took."""

    placement: Placement
    steps: tuple[Step, ...]


def sample(spec: Spec, factor: float) -> Instance:
    """An instance of so many times the standard size, on shared storage, rounded down."""
    return Instance(
        name="targetInstance",
        memory=int(factor * spec.memory_mib),
        disk=0,
        vcpus=int(factor * spec.cpus),
        status="running",
        template="ext",
        primary=NO_NODE,
        auto_balance=False,
        spindle_use=int(factor * spec.spindles),
    )


def has_room(placement: Placement, instance: Instance) -> bool:
    """Whether every node could take the instance."""
    demand = placement.frame.demand(instance)
    return all(
        admit_primary(placement, node, demand) is None for node in range(placement.frame.size)
    )


def off_candidates(placement: Placement) -> list[int]:
    """Online nodes, not the master, with only instances on shared storage; fullest first."""
    nodes = placement.frame.cluster.nodes
    found = [
        node
        for node in range(placement.frame.size)
        if not placement.frame.offline[node]
        and not nodes[node].master
        and not placement.secondaries[node]
        and not any(
            placement.instances[index].uses_local_storage for index in placement.primaries[node]
        )
    ]
    return sorted(found, key=lambda node: -len(placement.primaries[node]))


def on_candidates(placement: Placement) -> list[int]:
    """Offline nodes that are tagged to be on standby."""
    nodes = placement.frame.cluster.nodes
    return [
        node
        for node in range(placement.frame.size)
        if placement.frame.offline[node]
        and any(tag.startswith(STANDBY_PREFIX) for tag in nodes[node].tags)
    ]


def switch(placement: Placement, nodes: list[int], *, offline: bool) -> Switched:
    """Switch nodes off or on, and balance as far as that goes."""
    state = placement.copy()
    marks = state.frame.offline.copy()
    marks[nodes] = offline
    state.frame = replace(state.frame, offline=marks)
    options = Options(min_gain=0.0, min_gain_limit=0.0)
    steps = balance(state, all_nodes(state), options, stop_at=float("-inf"))
    return Switched(state, tuple(steps))


def _sound(found: Switched, instance: Instance) -> bool:
    state = found.placement
    return not any(state.frame.offline[node] for node in state.primary) and has_room(
        state, instance
    )


def to_switch_off(placement: Placement, candidates: list[int], target: Instance) -> list[int]:
    """As many of the candidates as can go, tried from the emptiest on."""
    chosen: list[int] = []
    for node in reversed(candidates):
        if _sound(switch(placement, [node, *chosen], offline=True), target):
            chosen.insert(0, node)
    return chosen


def to_switch_on(
    placement: Placement, candidates: list[int], minimal: Instance
) -> list[int] | None:
    """The first few candidates that suffice; None if even all of them do not."""
    for count in range(len(candidates) + 1):
        if _sound(switch(placement, candidates[:count], offline=False), minimal):
            return candidates[:count]
    return None
