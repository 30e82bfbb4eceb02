"""A simulated voter: the real core, and a runner that does what core.py says, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import msgspec

from eventstore.clock import HybridClock
from eventstore.errors import CorruptLog, DecodeError
from eventstore.events import STREAM, EpochStarted
from eventstore.packed import Packed
from eventstore.raft.core import Core, Restart
from eventstore.raft.effects import Persist, Ready, ReceiveSegment, ShipSegment
from eventstore.raft.entry import Entry
from eventstore.raft.membership import Config, config_in, event_of
from eventstore.raft.messages import Message
from eventstore.raft.state import HardState, Identity, Timing
from eventstore.record import Batch, Draft, Epoch, Event, Record, Stored
from eventstore.replica import Committed, Leadership, Outcome, Refused, Unknown
from eventstore.voter.appended import Appended, Placed
from eventstore.voter.idempotency import IdempotencyKeys
from nodeagent.calls import TASK_ENDS, TASK_REQUESTED
from tests.simulation.disk import Disk
from tests.simulation.kernel import Kernel, Violation

if TYPE_CHECKING:
    from tests.simulation.invariants import Checker
    from tests.simulation.network import Network

ACTOR = "test"
START_MS = 1_700_000_000_000
TASKS = "node/n"  # the stream of the agent
Done = Callable[[Outcome], None]


class Written(Event, frozen=True, kw_only=True):
    """A client wrote something."""

    KIND: ClassVar[str] = "test.written"

    number: int


class TaskRequested(Event, frozen=True, kw_only=True):
    """A client wants something done on a node: what an agent reads of it, and a number."""

    KIND: ClassVar[str] = TASK_REQUESTED

    number: int
    task: str
    call: Packed
    resource: str
    timeout_s: float


class TaskDone(Event, frozen=True, kw_only=True):
    """The agent's result was taken up."""

    KIND: ClassVar[str] = TASK_ENDS[0]

    task: str


@dataclass(slots=True)
class _Open:
    """Appended under this reign, or found at the end of the log as it began; not committed yet."""

    records: tuple[Stored, ...]
    done: Done | None = None
    placed: Placed | None = None
    repeats: list[Done] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.records[-1].record.seq

    def answer(self, outcome: Outcome) -> None:
        """Tell whoever asked for it."""
        for done in (self.done, *self.repeats):
            if done:
                done(outcome)


@dataclass(slots=True)
class _Read:
    request: int
    seq: int
    done: Callable[[int | None], None]


class Node:
    """One voter: up, paused or down."""

    def __init__(
        self,
        name: str,
        *,
        kernel: Kernel,
        network: Network,
        checker: Checker,
        cluster_id: str,
        timing: Timing,
        make_core: Callable[..., Core] = Core,
    ) -> None:
        self.name = name
        self.core: Core | None = None
        self.paused_until_ms = 0
        self.delivered = 0
        self.tasks: list[Record] = []  # of the agent's stream, as delivered; version: place + 1
        self.leadership: Leadership | None = None
        self.on_superseded: Callable[[Node], None] = lambda node: None
        self.on_begin: Callable[[Node], None] = lambda node: None  # it has won an epoch
        self.on_vote: Callable[[Node, str], None] = lambda node, candidate: None  # for another
        self._voted: HardState | None = None
        self.heard_ms: dict[str, int] = {}  # when each peer was heard last
        self._kernel, self._network, self._checker = kernel, network, checker
        self._cluster_id, self._timing, self._make_core = cluster_id, timing, make_core
        self._life = 0
        self._timer_ms = -1
        self._appended: Appended | None = None
        self._keys = _no_keys()
        self._open: list[_Open] = []
        self._asked: dict[int, Callable[[int | None], None]] = {}
        self._reads: list[_Read] = []
        self._requests = 0
        self._new_storage()

    # -- lives

    def _new_storage(self) -> None:
        self.inc = self._kernel.rng.randbytes(16)
        self.disk = Disk(self._kernel, self._cluster_id, self.inc)
        self.disk.on_failure = self._storage_failed

    def start(self) -> None:
        """Start from what is on the disk."""
        disk = self.disk
        restart = Restart(
            cluster_id=self._cluster_id,
            me=Identity(self.name, self.inc),
            hard=disk.hard,
            mark=disk.mark,
            last=disk.last,
            committed=disk.snapshot,
            configs=disk.configs(),
        )
        self.core = self._make_core(
            restart,
            disk,
            rng=self._kernel.rng,
            now_ms=self._kernel.now_ms,
            timing=self._timing,
            trusts=self._checker.trusts,
        )
        self.delivered = disk.snapshot
        self._keys, self.tasks = _no_keys(), []
        for entry in disk.entries_:
            if entry.last <= disk.snapshot:
                self._fold(entry)
        self._kernel.say(self.name, "starts at %s of %s", disk.last, disk.hard)
        self._checker.on_start(self)
        self._pump()

    def crash(self) -> None:
        """End at once."""
        if self.core is None:
            return
        self._kernel.say(self.name, "crashes")
        self._life += 1
        self.core = None
        self.paused_until_ms = 0
        self._timer_ms = -1
        self.disk.crash(self._kernel.rng)
        self._give_up("crashed")

    def exchange_disk(self) -> None:
        """Come back under the old name with an empty storage: another voter. It must be down."""
        assert self.core is None
        self._kernel.say(self.name, "has a new disk")
        weather = self.disk.weather
        self._new_storage()
        self.disk.weather = weather

    def _storage_failed(self) -> None:
        self._kernel.say(self.name, "cannot write")
        self.crash()

    def pause(self, for_ms: int) -> None:
        """Stand still, as after SIGSTOP; what comes meanwhile waits."""
        self._kernel.say(self.name, "stands still for %s ms", for_ms)
        self.paused_until_ms = self._kernel.now_ms + for_ms

    def _alive(self, life: int, again: Callable[..., None], *args: object) -> bool:
        """Say whether a call may reach this life now; while it stands still, put it off."""
        if life != self._life or self.core is None:
            return False
        if self.paused_until_ms > self._kernel.now_ms:
            self._kernel.at(self.paused_until_ms, again, *args)
            return False
        return True

    def when_up(self, call: Callable[[], None]) -> None:
        """Call as a message that reaches this process would be taken up: now, later or never."""
        self._when_up(self._life, call)

    def _when_up(self, life: int, call: Callable[[], None]) -> None:
        if self._alive(life, self._when_up, life, call):
            call()

    # -- what reaches it

    def receive(self, message: Message) -> None:
        """Take up a message from the network."""
        self._receive(self._life, message)

    def _receive(self, life: int, message: Message) -> None:
        if not self._alive(life, self._receive, life, message):
            return
        assert self.core is not None
        self.heard_ms[message.sender] = self._kernel.now_ms
        try:
            self.core.step(message, self._kernel.now_ms)
        except (CorruptLog, DecodeError) as error:
            if not self.disk.tampered:
                raise Violation(f"{self.name}: {type(error).__name__}: {error}") from error
            self._kernel.say(self.name, "stops and cries: %s", error)
            self.crash()
            return
        self._pump()

    def _timer(self, life: int, time_ms: int) -> None:
        if life == self._life and self.paused_until_ms > self._kernel.now_ms:
            late_ms = self._kernel.rng.randrange(40)  # messages may come before timers then
            self._kernel.at(self.paused_until_ms + late_ms, self._timer, life, time_ms)
            return
        if not self._alive(life, self._timer, life, time_ms):
            return
        assert self.core is not None
        if time_ms != self._timer_ms:
            return  # an earlier one was set meanwhile
        self._timer_ms = -1
        if self.core.deadline_ms <= self._kernel.now_ms:
            self.core.tick(self._kernel.now_ms)
            self._checker.on_tick(self, self._kernel.now_ms)
        self._pump()

    def _durable(self, life: int, ticket: int, took_ms: int) -> None:
        if not self._alive(life, self._durable, life, ticket, took_ms):
            return
        assert self.core is not None
        self.core.advance(ticket, self._kernel.now_ms, took_ms)
        self._pump()

    def _no_room(self, life: int) -> None:
        if not self._alive(life, self._no_room, life):
            return
        assert self.core is not None
        self._kernel.say(self.name, "has no room")
        self.core.no_room(self._kernel.now_ms)
        self._pump()

    # -- what is asked of it

    @property
    def leads(self) -> bool:
        """It believes that it leads, or did when it was heard last."""
        return self.core is not None and self._appended is not None

    def propose(self, event: Event, done: Done, stream: str, key: str | None = None) -> None:
        """Ask for an event to be appended; `done` is called at once or later. With a `key` that
        was used before, the answer is what it did then."""
        draft = Draft(stream=stream, event=event, actor=ACTOR, key=key)
        more = (Draft(stream="more", event=event, actor=ACTOR),) * self._kernel.rng.randrange(2)
        self._propose(self._life, (draft, *more), done)

    def _propose(self, life: int, drafts: tuple[Draft, ...], done: Done) -> None:
        if life == self._life and self.paused_until_ms > self._kernel.now_ms:
            self._kernel.at(self.paused_until_ms, self._propose, life, drafts, done)
            return
        if self.core is None or self._appended is None:
            done(Refused("not-leader", "not the leader"))
        elif not self._repeat(drafts[0].key, done, ACTOR):
            self._place(Batch(drafts=drafts), done)
            self._pump()

    def _repeat(self, key: str | None, done: Done, actor: str) -> bool:
        """Answer a request that was made before; say whether it was."""
        known = self._keys.find(actor, key) if key else None
        if known is None:
            return False
        if known.seq > self.delivered:
            opened = next(one for one in self._open if known.seq <= one.last)
            opened.repeats.append(done)
        else:
            entry = self.disk.entry_at(known.seq)
            assert entry is not None, "what was delivered is durable"
            done(Committed(entry.records, repeated=True))
        return True

    def change(self, config: Config, done: Done) -> None:
        """Ask for another configuration."""
        self.propose(event_of(config), done, STREAM)

    def read(self, done: Callable[[int | None], None]) -> None:
        """Read linearizably; `done` hears as of which seq, None if it cannot be."""
        self._read(self._life, done)

    def _read(self, life: int, done: Callable[[int | None], None]) -> None:
        if life == self._life and self.paused_until_ms > self._kernel.now_ms:
            self._kernel.at(self.paused_until_ms, self._read, life, done)
            return
        if self.core is None or life != self._life:
            done(None)
            return
        self._requests += 1
        self._asked[self._requests] = done
        self.core.read(self._requests)
        self._pump()

    def hand_over(self, to: str | None) -> None:
        """Ask the leader to hand over."""
        if self.core is not None and self.paused_until_ms <= self._kernel.now_ms:
            self._kernel.say(self.name, "is asked to hand over to %s", to)
            self.core.hand_over(to)
            self._pump()

    # -- what the core wants done

    def _pump(self) -> None:
        core = self.core
        assert core is not None
        self._checker.on_step(self)
        while out := core.ready():
            self._carry_out(out)
            self._checker.on_step(self)
        if self._timer_ms < 0 or core.deadline_ms < self._timer_ms:
            self._timer_ms = max(core.deadline_ms, self._kernel.now_ms + 1)
            self._kernel.at(self._timer_ms, self._timer, self._life, self._timer_ms)

    def _carry_out(self, out: Ready) -> None:
        kernel, life = self._kernel, self._life
        if out.persist:
            self._persist(out.persist, life)
        for to, message in out.messages:
            self._network.send(self.name, to, message)
        for entry in out.committed:
            self._deliver(entry)
        if out.leadership:
            kernel.say(self.name, "leadership %s", out.leadership)
            self.leadership = out.leadership
            if not out.leadership.here:
                self._give_up("leadership lost")
        for request, seq in out.reads:
            self._answer_read(request, seq)
        for segment in out.segments:
            self._segment(segment)
        for alarm in out.alarms:
            kernel.say(self.name, "alarm %s: %s", alarm.code, alarm.message)
            if alarm.code == "superseded":
                self.on_superseded(self)
        if out.dropped_from:
            self._take_back(out.dropped_from)
        if out.begin:
            self._begin(out.begin)

    def _persist(self, persist: Persist, life: int) -> None:
        self._checker.on_append(self, persist.entries)
        assert self.core is not None
        hard = self.core.voter.hard  # what it believes; a planted bug may write something else
        if hard != self._voted and hard.vote.name not in ("", self.name):
            self._voted = hard
            self.on_vote(self, hard.vote.name)
        self.disk.submit(
            persist,
            lambda ticket, took: self._durable(life, ticket, took),
            lambda: self._no_room(life),
        )

    def _deliver(self, entry: Entry) -> None:
        self._checker.on_delivered(self, entry)
        self.delivered = entry.last
        if self._kernel.rng.random() < 0.1:
            self.disk.snapshot = entry.last
        opened = self._open.pop(0) if self._open else None
        assert opened is None or opened.last == entry.last, "what is open is committed in order"
        self._fold(entry)
        if opened and opened.done:
            opened.done(Committed(entry.records))
        for done in opened.repeats if opened else ():
            done(Committed(entry.records, repeated=True))
        for read in [read for read in self._reads if read.seq <= self.delivered]:
            self._reads.remove(read)
            read.done(self.delivered)

    def _fold(self, entry: Entry) -> None:
        """Take up a committed entry, as projections and servers of streams do."""
        for stored in entry.records:
            self._keys.add(stored)
            if stored.record.stream == TASKS:
                version = len(self.tasks) + 1
                self.tasks.append(msgspec.structs.replace(stored.record, version=version))

    def _answer_read(self, request: int, seq: int | None) -> None:
        done = self._asked.pop(request)
        if seq is None or seq <= self.delivered:
            done(seq if seq is None else self.delivered)
        else:
            self._reads.append(_Read(request, seq, done))

    def _begin(self, epoch: Epoch) -> None:
        """Place the no-op of the reign."""
        assert self.core is not None
        self._checker.on_elected(self, epoch, self._kernel.now_ms)
        self._give_up("a new reign")
        log, first = self.core.voter.log, self.delivered + 1
        while found := log.entries(first, 1 << 20):  # the end of the log, which is not told yet
            for entry in found:
                self._open.append(_Open(entry.records))
                for stored in entry.records:
                    self._keys.add(stored)
            first = found[-1].last + 1
        last = log.last
        self._appended = Appended(
            seq=last.seq,
            last_hash=last.hash,
            versions=self._versions(),
            clock=HybridClock(),
            origin=self.name,
            draw_bytes=self._kernel.rng.randbytes,
        )
        event = EpochStarted(voter=self.name, inc=self.inc.hex())
        draft = Draft(stream=STREAM, event=event, actor=f"voter:{self.name}")
        self._place(Batch(drafts=(draft,)), None)
        self.on_begin(self)

    def _versions(self) -> dict[str, int]:
        """Where each stream stands in the log as it is: nobody here reads that."""
        return {}

    def _place(self, batch: Batch, done: Done | None) -> None:
        assert self.core is not None
        assert self._appended is not None
        now_ms = START_MS + self._kernel.now_ms
        placed = self._appended.place(batch, self.core.voter.epoch, now_ms)
        if not isinstance(placed, Placed):
            assert done is not None, "the no-op expects nothing"
            done(placed)
            return
        refused = self.core.propose(placed.entry)
        if refused:
            self._appended.take_back(placed)
            if done:
                done(refused)
        else:
            self._open.append(_Open(placed.entry.records, done, placed))
            for stored in placed.entry.records:
                self._keys.add(stored)

    def _take_back(self, first: int) -> None:
        assert self._appended is not None
        while self._open and self._open[-1].last >= first:
            opened = self._open.pop()
            self._forget(opened)
            assert opened.placed is not None, "only what this reign appended can be dropped"
            self._appended.take_back(opened.placed)
            self._checker.on_dropped(opened.records, opened.placed.entry.epoch)
            opened.answer(Refused("disk-full", "no room"))

    def _forget(self, opened: _Open) -> None:
        for stored in opened.records:
            self._keys.take_back(stored)

    def _give_up(self, why: str) -> None:
        self._appended = None
        opened, self._open = self._open, []
        for one in reversed(opened):
            self._forget(one)
        for one in opened:
            one.answer(Unknown(why))
        if self.core is None:
            waiting = [*self._asked.values(), *(read.done for read in self._reads)]
            self._asked, self._reads = {}, []
            for done in waiting:
                done(None)

    # -- bulk

    def _segment(self, segment: ShipSegment | ReceiveSegment) -> None:
        """Carry records in bulk: here the file is the offer's hash, the chunks one message."""
        assert self.core is not None
        if isinstance(segment, ShipSegment):
            message = self.core.offer(segment, size=1, sha256=bytes(32))
            self._kernel.say(self.name, "ships %s..%s to %s", *segment[1:], segment.to)
            self._network.send(self.name, segment.to, message)
        else:
            delay = 50 + self._kernel.rng.randrange(2000)
            self._kernel.after(delay, self._install, self._life, segment)

    def _install(self, life: int, segment: ReceiveSegment) -> None:
        if not self._alive(life, self._install, life, segment):
            return
        assert self.core is not None
        offer = segment.offer
        if self.core.voter.installing != offer:
            return
        gen = self.core.voter.epoch.gen
        entries = self._checker.committed_entries(gen, offer.first, offer.last)
        if self.disk.weather.full or self._kernel.rng.random() < 0.2:
            self.core.install_failed(offer)
        elif self.disk.busy or self.disk.last != offer.first - 1:
            self._kernel.after(20, self._install, life, segment)  # behind every Persist
            return
        else:
            self._checker.on_append(self, entries)
            self.disk.install(entries)
            configs = [found for entry in entries if (found := config_in(entry))]
            self.core.installed(offer, configs, self._kernel.now_ms)
        self._pump()


def _no_keys() -> IdempotencyKeys:
    return IdempotencyKeys(lambda actor, key: None)
