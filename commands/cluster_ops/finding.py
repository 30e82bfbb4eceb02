"""What a verification finds, and what it compares (pure data)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nodeagent.calls import NodeCheck
from projections.cluster import Cluster
from projections.objects import Node

ERROR, WARNING = "error", "warning"


class Finding(NamedTuple):
    """Something that is not as it should be."""

    severity: str  # error, warning
    code: str
    object: str  # name of the node, instance, group or cluster; "job 42"
    message: str


Checks = Mapping[str, NodeCheck]  # by uuid of the node, of those that answered


def sorted_nodes(cluster: Cluster) -> list[Node]:
    """Return all nodes by name."""
    return sorted(cluster.nodes.values(), key=lambda node: node.name)


def answered(cluster: Cluster, checks: Checks) -> Iterator[tuple[Node, NodeCheck]]:
    """Yield the nodes that have answered, by name, with their answers."""
    return ((node, checks[node.uuid]) for node in sorted_nodes(cluster) if node.uuid in checks)
