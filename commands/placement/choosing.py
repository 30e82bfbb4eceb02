"""One decision about one instance: where it goes, by hail's rules, and why (pure).

`place` chooses for a new instance as hail answers `allocate`; `replace` for an instance that
leaves one of its nodes, as hail answers `relocate`. Both say what they tried in the words that
hail uses, and explain every candidate, whether a place was found or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from commands.placement import dedicated
from commands.placement.allocate import (
    GroupSolution,
    Solution,
    Unplaced,
    all_nodes,
    allocatable,
    allocate,
    best_group,
    try_groups,
    unconnected,
)
from commands.placement.balance import group_scope
from commands.placement.evacuate import Mode, evacuate
from commands.placement.explain import Explanation, explain
from commands.placement.frame import Settings, build_frame
from commands.placement.model import (
    LARGEST,
    NO_NODE,
    TEMPLATES,
    UNALLOCABLE,
    Bounds,
    Cluster,
    FailMode,
    Instance,
    Spec,
)
from commands.placement.options import Options
from commands.placement.state import Placement

#: Memory that hail takes a KVM node to need itself, whatever it reports.
STATIC_KVM_MIB = 4096


@dataclass(frozen=True, slots=True)
class Found:
    """The nodes (positions in the cluster), none if there is no place; `unsafe`: how many
    candidates fit, and were left out only because the cluster could not lose a node then."""

    nodes: tuple[int, ...]
    info: str
    explanation: Explanation
    unsafe: int = 0


def settle(cluster: Cluster, *, extra: Sequence[Instance] = ()) -> Placement:
    """Return the state of a running cluster, with hail's settings."""
    settings = Settings(static_node_memory=STATIC_KVM_MIB)
    return Placement(build_frame(cluster, settings, extra=extra))


def options_for(cluster: Cluster, *, restrict_to: frozenset[str] | None = None) -> Options:
    """Return hail's options. Where one node is all there is, nothing could be lost safely."""
    online = sum(not node.offline for node in cluster.nodes)
    return Options(capacity_checks=online > 1, restrict_to=restrict_to)


def unbounded(cluster: Cluster) -> Cluster:
    """Return the cluster without instance policies (`--ignore-ipolicy`)."""

    def free(policy: Policy, template: tuple[str, ...]) -> Policy:
        bounds = tuple(
            msgspec.structs.replace(
                pair,
                low=msgspec.structs.replace(
                    pair.low, memory_mib=0, cpus=0, disk_mib=0, disks=0, nics=0, spindles=0
                ),
                high=msgspec.structs.replace(
                    pair.high,
                    memory_mib=2**53,
                    cpus=2**53,
                    disk_mib=2**53,
                    disks=2**53,
                    nics=2**53,
                    spindles=2**53,
                ),
            )
            for pair in policy.bounds
        )
        return msgspec.structs.replace(policy, bounds=bounds, templates=template)

    from commands.placement.model import TEMPLATES

    groups = tuple(
        msgspec.structs.replace(group, policy=free(group.policy, tuple(TEMPLATES)))
        for group in cluster.groups
    )
    return msgspec.structs.replace(cluster, groups=groups)


def place(cluster: Cluster, instance: Instance, group: str | None, options: Options) -> Found:
    """Choose the nodes of a new instance, in the group of that name if one is named."""
    placement = settle(cluster, extra=(instance,))
    scope = all_nodes(placement) if group is None else _scope(placement, group)
    if dedicated.is_dedicated(placement, group):
        nodes, info, failed = _dedicated(placement, instance, group, options)
    else:
        nodes, info, failed = _balanced(placement, instance, group, options)
    candidates = _candidates(placement, scope, group, options)
    explained = explain(placement, scope, instance, candidates, nodes)
    return Found(nodes, info, explained, failed)


def _scope(placement: Placement, group: str):  # type: ignore[no-untyped-def]  # frame.Ints
    return group_scope(placement, _number(placement, group))


def _number(placement: Placement, group: str) -> int:
    groups = placement.frame.cluster.groups
    return next(n for n, one in enumerate(groups) if group in (one.name, one.uuid))
