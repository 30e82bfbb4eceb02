"""What was last heard of each node: kept in memory, never in the log (pure).

A node that is silent for `lost_after_s` is lost, one that is heard again has returned; each is said
once, by `overdue` and `heard`, and become events. After a change of leader nothing is lost before a
whole interval has passed, because a new leader has not heard anybody yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from nodeagent.calls import NodeStatus
from projections.cluster import Cluster


class Telemetry:
    """The last status of each node, by uuid. Times are seconds on CLOCK_BOOTTIME."""

    def __init__(self, *, lost_after_s: float, now_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._since_s = now_s
        self._heard_s: dict[str, float] = {}
        self._last: dict[str, NodeStatus] = {}

    @property
    def seen(self) -> Mapping[str, NodeStatus]:
        """The last status of every node that was heard and is not forgotten."""
        return self._last

    def look(self, nodes: Iterable[str]) -> dict[str, NodeStatus]:
        """Return the last status of those of `nodes` that were heard."""
        return {node: self._last[node] for node in nodes if node in self._last}

    def heard(self, status: NodeStatus, now_s: float) -> None:
        """Note a status."""
        self._heard_s[status.node] = now_s
        self._last[status.node] = status

    def alive(self, node: str, now_s: float) -> None:
        """Note that the node was heard, though not how it is."""
        self._heard_s[node] = now_s

    def forget(self, node: str) -> None:
        """Drop what was heard of a node that left."""
        self._heard_s.pop(node, None)
        self._last.pop(node, None)

    def reign_began(self, now_s: float) -> None:
        """Give every node a whole interval again."""
        self._since_s = now_s

    def overdue(self, cluster: Cluster, now_s: float) -> Iterator[tuple[str, float]]:
        """Yield nodes that count as present and have been silent too long, with for how long."""
        for node in cluster.nodes.values():
            if node.lost or node.offline or not node.joined:
                continue
            silent = now_s - max(self._heard_s.get(node.uuid, 0.0), self._since_s)
            if silent >= self._lost_after_s:
                yield node.uuid, silent
