"""One core on a bench: its disk obeys at once or not, and every message is in the test's hand."""

from __future__ import annotations

import random
from collections.abc import Sequence

from eventstore.clock import HybridClock
from eventstore.events import STREAM, EpochStarted
from eventstore.raft.core import Core, Restart
from eventstore.raft.effects import Persist, Ready
from eventstore.raft.entry import Entry, Position
from eventstore.raft.entry_log import EntryLog
from eventstore.raft.membership import config_in
from eventstore.raft.messages import VERSION, Append, AppendReply, Message, Vote, VoteReply
from eventstore.raft.state import NOBODY, HardState, Identity, Role, Timing
from eventstore.record import Batch, Draft, Epoch, Event
from eventstore.replica import Refused
from eventstore.storage.ack_mark import Mark
from eventstore.voter.appended import Appended, Placed
from tests.eventstore.storage_lab import Happened
from tests.simulation.scenario import CLUSTER, FIRST, first_entry

INCS = {name: bytes([number]) * 16 for number, name in enumerate("abcde", start=1)}
START = first_entry({name: INCS[name] for name in "abc"}, ())


class Rows:
    """What is on the disk, as the core's `Storage`."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.rows = list(entries)

    def entry_at(self, seq: int) -> Entry | None:
        return next((entry for entry in self.rows if entry.first <= seq <= entry.last), None)

    def entries(self, first: int, max_bytes: int) -> Sequence[Entry]:
        return [entry for entry in self.rows if entry.first >= first][:1]


def following(entry: Entry | Position, epoch: Epoch, *events: Event, filler: int = 7) -> Entry:
    """Return an entry of these events that stands behind another."""
    end = entry.end if isinstance(entry, Entry) else entry
    appended = Appended(
        seq=end.seq,
        last_hash=end.hash,
        versions={},
        clock=HybridClock(),
        origin="x",
        draw_bytes=lambda size: bytes([filler]) * size,
    )
    drafts = tuple(Draft(stream=_stream(event), event=event, actor="test") for event in events)
    placed = appended.place(Batch(drafts=drafts or (_happened(),)), epoch, 1)
    assert isinstance(placed, Placed)
    return placed.entry


def _stream(event: Event) -> str:
    """Return the stream that an event belongs to: the log's own, or any other."""
    return STREAM if event.KIND.startswith(f"{STREAM}.") else "s"


def _happened() -> Draft:
    return Draft(stream="s", event=Happened(), actor="test")


class Bench:
    """Voter `a`, with `b` and `c` (or whoever the entries say) played by the test."""

    def __init__(
        self,
        *more: Entry,
        entries: Sequence[Entry] = (START,),
        hard: HardState | None = None,
        mark: Mark | None = None,
        committed: int = START.last,
        timing: Timing | None = None,
    ) -> None:
        self.now_ms = 10_000
        self.disk = Rows([*entries, *more])
        last = self.disk.rows[-1]
        hard = hard or HardState(max(FIRST, last.epoch), NOBODY)
        self.persists: list[Persist] = []
        self.sent: list[tuple[str, Message]] = []
        self.outs: list[Ready] = []
        self.auto = True  # the disk obeys at once
        self.core = Core(
            Restart(
                cluster_id=CLUSTER,
                me=Identity("a", INCS["a"]),
                hard=hard,
                mark=mark or Mark(last.last, last.hash, *hard.epoch, *hard.vote, INCS["a"]),
                last=last.last,
                committed=committed,
                configs=[found for entry in self.disk.rows if (found := config_in(entry))],
            ),
            self.disk,
            rng=random.Random(1),
            now_ms=self.now_ms,
            timing=timing or Timing(),
        )

    @property
    def log(self) -> EntryLog:
        return self.core.voter.log

    def leads(self) -> bool:
        """Say whether the voter leads now."""
        return self.core.role is Role.LEADER

    def recovers(self) -> bool:
        """Say whether the voter is RECOVERING now."""
        return self.core.voter.recovery is not None

    def pump(self) -> None:
        """Carry out what is ready."""
        while out := self.core.ready():
            self.outs.append(out)
            self.sent += out.messages
            if out.persist:
                self.persists.append(out.persist)
                if self.auto:
                    self.sync()

    def sync(self) -> None:
        """Make everything durable that was handed over."""
        for persist in self.persists:
            if persist.truncate_from:
                self.disk.rows = [e for e in self.disk.rows if e.first < persist.truncate_from]
            self.disk.rows += persist.entries
        if self.persists:
            ticket = self.persists[-1].ticket
            self.persists = []
            self.core.advance(ticket, self.now_ms)

    def hear(self, message: Message) -> list[Message]:
        """Let a message arrive; return what is sent because of it."""
        before = len(self.sent)
        self.core.step(message, self.now_ms)
        self.pump()
        return [message for _, message in self.sent[before:]]

    def wait(self, ms: int) -> list[Message]:
        """Let time pass."""
        before = len(self.sent)
        self.now_ms += ms
        self.core.tick(self.now_ms)
        self.pump()
        return [message for _, message in self.sent[before:]]

    def header(self, sender: str, term: int, gen: int = 1) -> tuple[int, str, int, int, str, bytes]:
        return VERSION, CLUSTER, gen, term, sender, INCS[sender]

    def append(
        self,
        sender: str,
        term: int,
        prev: Entry,
        *entries: Entry,
        commit: int = 0,
        prev_hash: bytes | None = None,
        gen: int = 1,
        takeover: Entry | None = None,
    ) -> Append:
        """Return an append from a leader."""
        return Append(
            *self.header(sender, term, gen),
            prev_seq=prev.last,
            prev_gen=prev.epoch.gen,
            prev_term=prev.epoch.term,
            prev_hash=prev.hash if prev_hash is None else prev_hash,
            entries=tuple(entry.packed() for entry in entries),
            commit_seq=commit,
            read_ctx=0,
            attempt=0,
            takeover=takeover.packed() if takeover else (),
        )

    def reply(self, sender: str, match: int, *, ctx: int = 0, attempt: int = 0) -> AppendReply:
        """Return an acceptance in this epoch."""
        return AppendReply(
            *self.header(sender, self.core.voter.epoch.term),
            ok=True,
            prev_seq=match,
            match_seq=match,
            conflict_seq=0,
            conflict_gen=0,
            conflict_term=0,
            read_ctx=ctx,
            attempt=attempt,
            disk_state=0,
            last_fsync_ms=1.0,
        )

    def vote(
        self, sender: str, term: int, last: Entry, *, pre: bool = False, inc: bytes | None = None
    ) -> Vote:
        """Return a candidate's request."""
        v, cluster, gen, own_term, name, known = self.header(sender, term - pre)
        return Vote(
            v,
            cluster,
            gen,
            own_term,
            name,
            inc or known,
            pre=pre,
            for_term=term,
            last_seq=last.last,
            last_gen=last.epoch.gen,
            last_term=last.epoch.term,
            transfer=False,
        )

    def elect(self) -> Entry:
        """Let `a` win an election by the voice of `b`; return its no-op, which is appended."""
        self.wait(5000)
        term = self.core.voter.epoch.term
        for pre in (True, False):
            reply = VoteReply(
                *self.header("b", term), pre=pre, for_term=term + 1, granted=True, reason=""
            )
            if not pre:
                reply = VoteReply(
                    *self.header("b", term + 1),
                    pre=False,
                    for_term=term + 1,
                    granted=True,
                    reason="",
                )
            self.hear(reply)
        assert self.outs[-1].begin == self.core.voter.epoch
        event = EpochStarted(voter="a", inc=INCS["a"].hex())
        return self.propose(event)

    def propose(self, *events: Event) -> Entry:
        """Append as leader; assert that it is not refused."""
        entry = following(self.log.last, self.core.voter.epoch, *events)
        refused = self.core.propose(entry)
        assert refused is None, refused
        self.pump()
        return entry

    def refused(self, *events: Event) -> Refused:
        """Propose as leader; assert that it is refused."""
        refused = self.core.propose(following(self.log.last, self.core.voter.epoch, *events))
        assert refused is not None
        return refused

    def delivered(self) -> list[int]:
        """Return the seqs of what was told of as committed."""
        return [entry.last for out in self.outs for entry in out.committed]
