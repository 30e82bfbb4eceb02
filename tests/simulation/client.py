"""A client: it proposes and reads, and remembers what it was told, for the checker of histories.

It retries what was refused, since nothing came of it, and what is unknown: each write has its
key, so it may stand in the log once only, however often it was asked for. A write of which it never
heard more than "unknown" may stand there or not.

Across a forced takeover, promises end: what was acknowledged is in the history of the generation in
which it was, and order is promised within one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from eventstore.packed import Packed
from eventstore.raft.entry import Entry
from eventstore.record import Event
from eventstore.replica import Committed, Outcome, Refused
from tests.simulation.invariants import Checker
from tests.simulation.kernel import Kernel, Violation
from tests.simulation.node import TASKS, Node, TaskRequested, Written

GIVE_UP_MS = 8000
TASKS_EVERY = 8  # one write in so many is a task for the agent
_CALL = Packed("test", 1, msgspec.Raw(b"\x80"))


class Client:
    """Writes and reads at whoever leads, or seems to."""

    def __init__(self, kernel: Kernel, nodes: Mapping[str, Node]) -> None:
        self._kernel, self._nodes = kernel, nodes
        self.acknowledged: dict[int, tuple[int, int]] = {}  # number -> generation, first seq
        self.refused: set[int] = set()
        self.unknown: set[int] = set()
        self.newest: dict[int, int] = {}  # highest seq acknowledged, by generation
        self._before: dict[int, dict[int, int]] = {}  # number -> `newest` when it was first asked
        self._doubtful: set[int] = set()
        self.reads = 0

    def write(self, number: int, asked_ms: int) -> None:
        """Propose write `number`; try again until it is known to be done."""
        self._before.setdefault(number, dict(self.newest))
        leaders = [node for node in self._nodes.values() if node.leads]
        if not leaders:
            self._retry(number, asked_ms)
            return
        node = leaders[int(self._kernel.rng.random() * len(leaders))]
        event, stream = self._event(number)
        node.propose(
            event,
            lambda outcome: self._told(node, number, asked_ms, outcome),
            stream,
            f"write/{number}",
        )

    def _event(self, number: int) -> tuple[Event, str]:
        """What write `number` is, and the stream that it belongs to."""
        if number % TASKS_EVERY:
            return Written(number=number), f"s/{number}"
        task = TaskRequested(
            number=number, task=f"task/{number}", call=_CALL, resource="disk", timeout_s=60.0
        )
        return task, TASKS

    def read(self) -> None:
        """Read at somebody who believes that it leads."""
        for node in self._nodes.values():
            if node.leads and node.core and self._kernel.rng.random() < 0.7:
                newest = self.newest.get(node.core.voter.epoch.gen, 0)
                node.read(lambda seq, newest=newest, node=node: self._has_read(node, newest, seq))  # type: ignore[misc]  # mypy does not infer lambdas with defaults

    def _told(self, node: Node, number: int, asked_ms: int, outcome: Outcome) -> None:
        match outcome:
            case Committed(records=records):
                assert node.core is not None
                gen, seq = node.core.voter.epoch.gen, records[0].record.seq
                newest = self._before[number].get(gen, 0)
                if seq <= newest:
                    raise Violation(f"write {number} at {seq} began after {newest} was told")
                self.acknowledged[number] = gen, seq
                self.newest[gen] = max(self.newest.get(gen, 0), records[-1].record.seq)
            case Refused():
                self._retry(number, asked_ms)
            case _:
                self._doubtful.add(number)
                self._retry(number, asked_ms)

    def _retry(self, number: int, asked_ms: int) -> None:
        if self._kernel.now_ms - asked_ms < GIVE_UP_MS:
            self._kernel.after(100 + self._kernel.rng.randrange(200), self.write, number, asked_ms)
        elif number in self._doubtful:
            self.unknown.add(number)
        else:
            self.refused.add(number)

    def _has_read(self, node: Node, newest: int, seq: int | None) -> None:
        if seq is None:
            return
        self.reads += 1
        if seq < newest:
            raise Violation(f"{node.name}: a read as of {seq}, {newest} was acknowledged before")

    def check(self, checker: Checker) -> None:
        """Compare what was told with what is committed."""
        found = {gen: _writes(history.entries) for gen, history in checker.histories.items()}
        for number, (gen, seq) in self.acknowledged.items():
            if found[gen].get(number) != seq:
                at = found[gen].get(number)
                raise Violation(f"write {number}, acknowledged at {seq} of {gen}, is at {at}")
        for writes in found.values():
            if wrong := self.refused & writes.keys():
                raise Violation(f"writes {sorted(wrong)} were refused and are committed")


def _writes(entries: Iterable[Entry]) -> dict[int, int]:
    """Return where each write stands in a history. Raises Violation if one stands there twice."""
    found: dict[int, int] = {}
    for entry in entries:
        record = entry.records[0].record
        if record.kind not in (Written.KIND, TaskRequested.KIND):
            continue
        number = msgspec.msgpack.decode(record.data, type=Written).number
        if number in found:
            raise Violation(f"write {number} stands at {found[number]} and {entry.first}")
        found[number] = entry.first
    return found
