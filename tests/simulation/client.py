"""A client: it proposes and reads, and remembers what it was told, for the checker of histories.

It retries what was refused, since nothing came of it. It does not retry what is unknown: that is
what idempotency keys are for, above the core; here each write may therefore stand in the log once.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from eventstore.replica import Committed, Outcome, Refused
from tests.simulation.invariants import Checker
from tests.simulation.kernel import Kernel, Violation
from tests.simulation.node import Node, Written

GIVE_UP_MS = 8000


class Client:
    """Writes and reads at whoever leads, or seems to."""

    def __init__(self, kernel: Kernel, nodes: Mapping[str, Node]) -> None:
        self._kernel, self._nodes = kernel, nodes
        self.acknowledged: dict[int, int] = {}  # number of the write -> first seq
        self.refused: set[int] = set()
        self.unknown: set[int] = set()
        self.newest = 0  # highest seq acknowledged
        self.reads = 0

    def write(self, number: int, asked_ms: int) -> None:
        """Propose write `number`; try again while it is refused."""
        leaders = [node for node in self._nodes.values() if node.leads]
        if not leaders:
            self._retry(number, asked_ms)
            return
        node = leaders[int(self._kernel.rng.random() * len(leaders))]
        newest = self.newest
        node.propose(
            Written(number=number),
            lambda outcome: self._told(number, asked_ms, newest, outcome),
            f"s/{number}",
        )

    def read(self) -> None:
        """Read at somebody who believes that it leads."""
        for node in self._nodes.values():
            if node.leads and self._kernel.rng.random() < 0.7:
                newest = self.newest
                node.read(lambda seq, newest=newest, node=node: self._has_read(node, newest, seq))  # type: ignore[misc]  # mypy does not infer lambdas with defaults

    def _told(self, number: int, asked_ms: int, newest: int, outcome: Outcome) -> None:
        match outcome:
            case Committed(records=records):
                seq = records[0].record.seq
                if seq <= newest:
                    raise Violation(f"write {number} at {seq} began after {newest} was told")
                self.acknowledged[number] = seq
                self.newest = max(self.newest, records[-1].record.seq)
            case Refused():
                self._retry(number, asked_ms)
            case _:
                self.unknown.add(number)

    def _retry(self, number: int, asked_ms: int) -> None:
        if self._kernel.now_ms - asked_ms < GIVE_UP_MS:
            self._kernel.after(100 + self._kernel.rng.randrange(200), self.write, number, asked_ms)
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
        found: dict[int, int] = {}
        for entry in checker.committed:
            if entry.records[0].record.kind != Written.KIND:
                continue
            number = msgspec.msgpack.decode(entry.records[0].record.data, type=Written).number
            if number in found:
                raise Violation(f"write {number} stands at {found[number]} and {entry.first}")
            found[number] = entry.first
        for number, seq in self.acknowledged.items():
            if found.get(number) != seq:
                raise Violation(f"write {number}, acknowledged at {seq}, is at {found.get(number)}")
        if wrong := self.refused & found.keys():
            raise Violation(f"writes {sorted(wrong)} were refused and are committed")
