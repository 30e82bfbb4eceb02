"""What must hold after each step (REPLICATION 3.4), checked as things happen.

- One leader per epoch.
- Log matching, hashes included: one (seq, epoch) is one record, with one history behind it.
- What is committed never changes, on any voter.
- Leader completeness: who is elected holds all that is committed anywhere.
- Commit implies on disk: of a majority of the voters of the configuration, in what a crash leaves.
- Check-quorum: who leads has lately heard from a majority.
- Delivery is dense, whole batches, and what is delivered is durable on that voter.
- Histories: what was acknowledged is committed once, where it was said to be; what was refused is
  not there; what is unknown is there at most once; a write that began after another was
  acknowledged stands behind it; a linearizable read sees all that was acknowledged before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventstore.commitment import majority
from eventstore.raft.entry import Entry
from eventstore.record import Epoch, Stored
from tests.simulation.kernel import Violation

if TYPE_CHECKING:
    from tests.simulation.node import Node


class Checker:
    """Sees every voter, and more than any of them."""

    def __init__(self, *, trust_disks: bool = True) -> None:
        """`trust_disks`: no disk lies, so what was on a disk is there."""
        self._trust_disks = trust_disks
        self.nodes: dict[str, Node] = {}
        self.committed: list[Entry] = []  # by anybody, in order
        self._under: list[Epoch] = []  # of the leader that committed each
        self._at: dict[int, bytes] = {}  # seq of a committed batch's end -> hash
        self._leaders: dict[Epoch, str] = {}
        self._records: dict[tuple[int, Epoch], bytes] = {}
        self._begun_ms: dict[str, int] = {}  # when each began to lead
        self._seen: dict[str, int] = {}  # committed on each voter, as checked

    @property
    def head(self) -> int:
        """Seq of the last record that anybody holds for committed."""
        return self.committed[-1].last if self.committed else 0

    def begin_with(self, entry: Entry) -> None:
        """Every log begins with this, committed."""
        self.committed.append(entry)
        self._under.append(entry.epoch)
        self._at[entry.last] = entry.hash

    def on_start(self, node: Node) -> None:
        """A voter begins another life."""
        self._seen[node.name] = node.delivered

    def on_append(self, node: Node, entries: Sequence[Entry]) -> None:
        """A voter adds entries to its log."""
        for entry in entries:
            for stored in entry.records:
                key = (stored.record.seq, entry.epoch)
                if self._records.setdefault(key, stored.hash) != stored.hash:
                    raise Violation(f"{node.name}: record {key} has two forms")

    def on_dropped(self, records: Sequence[Stored], epoch: Epoch) -> None:
        """A lone voter had no room for these; nobody else has ever seen them."""
        for stored in records:
            del self._records[stored.record.seq, epoch]

    def on_elected(self, node: Node, epoch: Epoch, now_ms: int) -> None:
        """A voter begins to lead."""
        self._begun_ms[node.name] = now_ms
        if self._leaders.setdefault(epoch, node.name) != node.name:
            raise Violation(f"epoch {tuple(epoch)}: {self._leaders[epoch]} and {node.name} lead")
        assert node.core is not None
        # What an epoch above this one has committed does not concern it: it was elected before,
        # by votes that came late, and can commit nothing any more.
        earlier = bisect_left(self._under, epoch)
        if earlier:
            last = self.committed[earlier - 1]
            held = node.core.voter.log.position(last.last)
            if held is None or held.hash != last.hash:
                raise Violation(f"{node.name} is elected without record {last.last}, committed")

    def on_tick(self, node: Node, now_ms: int) -> None:
        """A voter's timer has run, so it has had the chance to step down."""
        assert node.core is not None
        if node.core.leading is None:
            return
        voters = node.core.voter.config.voters
        since = now_ms - 3 * node.core.voter.timing.election_min_ms
        begun_ms = self._begun_ms.get(node.name, now_ms)
        heard = sum(name == node.name or node.heard_ms.get(name, 0) >= since for name in voters)
        if begun_ms < since and heard < majority(len(voters)):
            raise Violation(f"{node.name} leads and has long heard from {heard} of {len(voters)}")

    def on_step(self, node: Node) -> None:
        """A voter did something."""
        assert node.core is not None
        log = node.core.voter.log
        committed = min(log.committed, log.last.seq)
        if committed <= self._seen[node.name]:
            return
        if committed > self.head:
            while committed > self.head:  # some may come from the disk, then some from memory
                self._on_commit(node, log.entries(self.head + 1, 1 << 30), committed)
            self._on_disks(node)
        held = log.position(committed)
        if held is None or self._at.get(committed, held.hash) != held.hash:
            raise Violation(f"{node.name}: record {committed} differs from the committed one")
        self._seen[node.name] = committed

    def _on_commit(self, node: Node, entries: Sequence[Entry], upto: int) -> None:
        """The first voter holds these for committed."""
        assert node.core is not None
        for entry in entries:
            if self.head == upto:
                break
            if entry.last > upto:
                raise Violation(f"{node.name}: committed {upto} is no end of a batch")
            if self.committed and entry.previous != self.committed[-1].hash:
                raise Violation(f"{node.name}: record {entry.first} forks from the committed log")
            self.committed.append(entry)
            self._under.append(node.core.voter.epoch)
            self._at[entry.last] = entry.hash

    def _on_disks(self, node: Node) -> None:
        assert node.core is not None
        if not self._trust_disks:
            return
        voters = node.core.voter.config.voters
        last = self.committed[-1]
        holding = sum(self._holds(name, inc, last) for name, inc in voters.items())
        if holding < majority(len(voters)):
            raise Violation(f"record {last.last} is committed and on the disks of {holding}")

    def _holds(self, name: str, inc: bytes, last: Entry) -> bool:
        node = self.nodes[name]
        entry = node.disk.entry_at(last.last)
        return node.inc == inc and entry is not None and entry.hash == last.hash

    def on_delivered(self, node: Node, entry: Entry) -> None:
        """A voter tells of a committed entry."""
        if entry.first != node.delivered + 1:
            raise Violation(f"{node.name}: {entry.first} is delivered after {node.delivered}")
        if self._at.get(entry.last) != entry.hash:
            raise Violation(f"{node.name} delivers {entry.last}, which is not committed")
        held = node.disk.entry_at(entry.last)
        if held is None or held.hash != entry.hash:
            raise Violation(f"{node.name} delivers {entry.last} without having it on its disk")

    def committed_entries(self, first: int, last: int) -> list[Entry]:
        """Return committed entries, for whoever carries them in bulk."""
        return [entry for entry in self.committed if first <= entry.first <= last]
