"""What a full cluster lacks: which resource ends first, and what more of it would bring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from commands.placement.capacity import Filled, Filler
from commands.placement.frame import build_frame
from commands.placement.model import FailMode, Instance, Node
from commands.placement.options import Options
from commands.placement.state import Placement

_MORE: Final = 0.10  # of what each node has


class Addition(msgspec.Struct, frozen=True):
    """What 10% more of a resource on every node would bring."""

    resource: str
    amount: float  # on all nodes together: MiB or CPUs
    instances: int  # how many more fit than without it


class Advice(msgspec.Struct, frozen=True):
    """Which resource ends first, and what to add."""

    binding: FailMode | None  # what most candidates lack in the end; None if nothing was tried
    additions: tuple[Addition, ...]  # best first
    together: int | None  # what all of them bring; None if one of them alone brings something


def _memory(node: Node) -> Node:
    extra = int(node.total_memory * _MORE)
    return msgspec.structs.replace(
        node,
        total_memory=node.total_memory + extra,
        free_memory=node.free_memory + extra,
    )


def _disk(node: Node) -> Node:
    extra = int(node.total_disk * _MORE)
    return msgspec.structs.replace(
        node, total_disk=node.total_disk + extra, free_disk=node.free_disk + extra
    )


def _cpus(node: Node) -> Node:
    return msgspec.structs.replace(node, cpus=node.cpus * (1 + _MORE))


_GROWN: Final[tuple[tuple[str, Callable[[Node], Node], Callable[[Node], float]], ...]] = (
    ("memory", _memory, lambda node: node.total_memory),
    ("disk", _disk, lambda node: node.total_disk),
    ("cpus", _cpus, lambda node: node.cpus),
)


def advise(
    placement: Placement,
    filled: Filled,
    filler: Filler,
    instance: Instance,
    options: Options,
) -> Advice:
    """Fill the cluster again with more of each resource, and compare with `filled`."""
    cluster = placement.frame.cluster

    def gain(nodes: tuple[Node, ...]) -> int:
        larger = msgspec.structs.replace(cluster, nodes=nodes)
        state = Placement(build_frame(larger, placement.frame.settings))
        again = Filler(filler.nodes, options).fill(filler.start(state), instance, None)
        return again.count - filled.count

    found = []
    for name, grow, size in _GROWN:
        nodes = tuple(map(grow, cluster.nodes))
        amount = sum(map(size, nodes)) - sum(map(size, cluster.nodes))
        found.append(Addition(name, amount, gain(nodes)))
    found.sort(key=lambda addition: -addition.instances)
    together = None
    if found[0].instances <= 0:
        together = gain(tuple(_memory(_disk(_cpus(node))) for node in cluster.nodes))
    modes = [mode for mode in FailMode if filled.failures[mode]]
    most = max(modes, key=lambda mode: filled.failures[mode], default=None)
    return Advice(most, tuple(found), together)
