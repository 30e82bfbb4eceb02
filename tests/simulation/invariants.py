"""What must hold after each step (REPLICATION 3.4), checked as things happen.

- One leader per epoch.
- Log matching, hashes included: one (seq, epoch) is one record, with one history behind it.
- What is committed never changes, on any voter, within a generation. A forced takeover begins the
  next one with all that its survivor holds; a voter goes over only if it committed nothing else.
- Leader completeness: who is elected holds all that is committed in its generation.
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

from eventstore.raft.commitment import majority
from eventstore.raft.entry import Entry
from eventstore.record import Epoch, Record, Stored
from tests.simulation.kernel import Violation

if TYPE_CHECKING:
    from tests.simulation.node import Node


class History:
    """What is committed in one generation, by anybody, in order."""

    def __init__(self, entries: Sequence[Entry], under: Epoch) -> None:
        self.entries = list(entries)
        self.under = [under] * len(entries)  # epoch of the leader that committed each
        self.at = {entry.last: entry.hash for entry in entries}  # ends of batches

    @property
    def head(self) -> int:
        """Seq of the last record that anybody holds for committed."""
        return self.entries[-1].last if self.entries else 0

    def add(self, entry: Entry, under: Epoch) -> None:
        """Note an entry that follows."""
        self.entries.append(entry)
        self.under.append(under)
        self.at[entry.last] = entry.hash


class Checker:
    """Sees every voter, and more than any of them."""

    def __init__(self, *, trust_disks: bool = True) -> None:
        """`trust_disks`: no disk lies, so what was on a disk is there."""
        self._trust_disks = trust_disks
        self.nodes: dict[str, Node] = {}
        self.histories: dict[int, History] = {}  # by generation
        self._takeovers: set[bytes] = set()  # ids of the records that an operator wrote
        self._leaders: dict[Epoch, str] = {}
        self._records: dict[tuple[int, Epoch], bytes] = {}
        self._begun_ms: dict[str, int] = {}  # when each began to lead
        self._seen: dict[str, int] = {}  # committed on each voter, as checked
        self._gens: dict[str, int] = {}  # in which generation each was then

    @property
    def newest(self) -> History:
        """The history of the newest generation."""
        return self.histories[max(self.histories)]

    def begin_with(self, entry: Entry) -> None:
        """Every log begins with this, committed."""
        self.histories[entry.epoch.gen] = History([entry], entry.epoch)

    def on_take_over(self, node: Node, entry: Entry) -> None:
        """An operator begins a generation on this voter: what it holds is committed from now on."""
        self.on_append(node, [entry])
        gen = entry.epoch.gen
        assert gen not in self.histories, "one takeover for each generation"
        self.histories[gen] = History(node.disk.entries_, Epoch(gen, 0))
        self._takeovers.add(entry.records[0].record.event_id)

    def trusts(self, record: Record) -> bool:
        """Say whether an operator wrote this takeover, as its signature would."""
        return record.event_id in self._takeovers

    def on_start(self, node: Node) -> None:
        """A voter begins another life."""
        assert node.core is not None
        self._seen[node.name] = node.delivered
        self._gens[node.name] = node.core.voter.epoch.gen

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
        history = self.histories[epoch.gen]
        earlier = bisect_left(history.under, epoch)
        if earlier:
            last = history.entries[earlier - 1]
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
        log, epoch = node.core.voter.log, node.core.voter.epoch
        if epoch.gen != self._gens[node.name]:
            self._on_generation(node, epoch.gen)
        committed = min(log.committed, log.last.seq)
        if committed <= self._seen[node.name]:
            return
        history = self.histories[epoch.gen]
        if committed > history.head:
            while committed > history.head:  # some come from the disk, then some from memory
                entries = log.entries(history.head + 1, 1 << 30)
                self._on_commit(node, history, entries, committed)
            self._on_disks(node, history.entries[-1])
        held = log.position(committed)
        if held is None or history.at.get(committed, held.hash) != held.hash:
            raise Violation(f"{node.name}: record {committed} differs from the committed one")
        self._seen[node.name] = committed

    def _on_generation(self, node: Node, gen: int) -> None:
        """A voter goes over to a newer generation: what it held for committed must be there."""
        assert node.core is not None
        self._gens[node.name] = gen
        seen = self._seen[node.name]
        held = node.core.voter.log.position(seen)
        if seen and (held is None or self.histories[gen].at.get(seen) != held.hash):
            raise Violation(f"{node.name} goes over to {gen}, which lacks its record {seen}")

    def _on_commit(self, node: Node, history: History, entries: Sequence[Entry], upto: int) -> None:
        """The first voter holds these for committed."""
        assert node.core is not None
        for entry in entries:
            if history.head == upto:
                break
            if entry.last > upto:
                raise Violation(f"{node.name}: committed {upto} is no end of a batch")
            if history.entries and entry.previous != history.entries[-1].hash:
                raise Violation(f"{node.name}: record {entry.first} forks from the committed log")
            history.add(entry, node.core.voter.epoch)

    def _on_disks(self, node: Node, last: Entry) -> None:
        assert node.core is not None
        if not self._trust_disks:
            return
        voters = node.core.voter.config.voters
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
        assert node.core is not None
        history = self.histories[node.core.voter.epoch.gen]
        if history.at.get(entry.last) != entry.hash:
            raise Violation(f"{node.name} delivers {entry.last}, which is not committed")
        held = node.disk.entry_at(entry.last)
        if held is None or held.hash != entry.hash:
            raise Violation(f"{node.name} delivers {entry.last} without having it on its disk")

    def committed_entries(self, gen: int, first: int, last: int) -> list[Entry]:
        """Return committed entries, for whoever carries them in bulk."""
        return [entry for entry in self.histories[gen].entries if first <= entry.first <= last]
