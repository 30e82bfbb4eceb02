"""Whether an answer of a node can be hoped for (pure).

promised    it refuses older leaders and follows its stream: tasks may be sent
silent      it has not promised yet in this reign; it may at any time
lost        nothing was heard of it for longer than it may be silent; it may return
gone        an operator said that it is offline, or it is no member: no answer will come
"""

from __future__ import annotations

from typing import NamedTuple

from commands.engine.context import Context
from projections.cluster import Cluster

PROMISED, SILENT, LOST, GONE = "promised", "silent", "lost", "gone"


class Reach(NamedTuple):
    """How a node can be reached, and why not, for people."""

    how: str
    why: str = ""

    @property
    def out(self) -> bool:
        """Whether nothing new should be asked of it."""
        return self.how in (LOST, GONE)


def reach(context: Context, cluster: Cluster, uuid: str) -> Reach:
    """Say how a node can be reached."""
    node = cluster.nodes.get(uuid)
    if node is None:
        return Reach(GONE, f"node {uuid} is no member of the cluster")
    if node.offline:
        return Reach(GONE, f"node {node.name} is marked offline")
    if node.lost:
        return Reach(LOST, f"node {node.name} is not heard of")
    if uuid not in context.promised:
        return Reach(SILENT, f"node {node.name} has not answered to this leader yet")
    return Reach(PROMISED)
