"""What was last heard of each node: kept in memory, never in the log (pure).

A node that is silent for `lost_after_s` is lost, one that is heard again has returned; each is said
once, by `overdue` and `heard`, and become events. After a change of leader nothing is lost before a
whole interval has passed, because a new leader has not heard anybody yet.

Silence is measured in time during which the leader listened (`listen`), not by the clock: a leader
that got no CPU for a while has heard nobody, and took a thousand nodes for lost at once, whose jobs
then failed and whose returns it had to record. While messages wait to be read nobody is lost, since
theirs may be among them; and of many that are silent at once a few are said each time, so that what
a broken network makes of a large cluster does not drown what else happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from nodeagent.calls import NodeStatus
from projections.cluster import Cluster

_LONGEST_TURN_S = 1.0  # between two calls of `listen`, of what counts as listening
_AT_ONCE = 10  # said to be lost by one call of `overdue`, at least
_SHARE = 40  # or one in so many nodes, if that is more


class Telemetry:
    """The last status of each node, by uuid. Times are seconds on CLOCK_BOOTTIME."""

    def __init__(self, *, lost_after_s: float, now_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._looked_s = now_s
        self._listened_s = 0.0  # in all; the other times are marks on this
        self._since_s = 0.0
        self._heard_s: dict[str, float] = {}
        self._last: dict[str, NodeStatus] = {}

    @property
    def seen(self) -> Mapping[str, NodeStatus]:
        """The last status of every node that was heard and is not forgotten."""
        return self._last

    def look(self, nodes: Iterable[str]) -> dict[str, NodeStatus]:
        """Return the last status of those of `nodes` that were heard."""
        return {node: self._last[node] for node in nodes if node in self._last}

    def listen(self, now_s: float) -> None:
        """Note that the leader has had its turn. Call it at least each `_LONGEST_TURN_S`."""
        self._listened_s += min(max(now_s - self._looked_s, 0.0), _LONGEST_TURN_S)
        self._looked_s = now_s

    def heard(self, status: NodeStatus) -> None:
        """Note a status."""
        self._heard_s[status.node] = self._listened_s
        self._last[status.node] = status

    def alive(self, node: str) -> None:
        """Note that the node was heard, though not how it is."""
        self._heard_s[node] = self._listened_s

    def forget(self, node: str) -> None:
        """Drop what was heard of a node that left."""
        self._heard_s.pop(node, None)
        self._last.pop(node, None)

    def reign_began(self) -> None:
        """Give every node a whole interval again."""
        self._since_s = self._listened_s

    def overdue(self, cluster: Cluster) -> Iterator[tuple[str, float]]:
        """Yield nodes that count as present and were silent too long, and for how long: the first
        few of them, if they are many. Not to be asked while messages wait to be read."""
        at_once = max(_AT_ONCE, len(cluster.nodes) // _SHARE)
        yield from islice(self._silent(cluster), at_once)

    def _silent(self, cluster: Cluster) -> Iterator[tuple[str, float]]:
        for node in cluster.nodes.values():
            if node.lost or node.offline or not node.joined:
                continue
            since_s = max(self._heard_s.get(node.uuid, 0.0), self._since_s)
            if self._listened_s - since_s >= self._lost_after_s:
                yield node.uuid, self._listened_s - since_s
