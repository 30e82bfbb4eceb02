"""A simulated voter: the real core, and a runner that does what core.py says, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from eventstore.appended import Appended, Placed
from eventstore.clock import HybridClock
from eventstore.errors import CorruptLog, DecodeError
from eventstore.events import STREAM, EpochStarted
from eventstore.raft.core import Core, Restart
from eventstore.raft.effects import Persist, Ready, ReceiveSegment, ShipSegment
from eventstore.raft.entry import Entry, from_placed
from eventstore.raft.membership import Config, config_in, event_of
from eventstore.raft.messages import Message
from eventstore.raft.state import HardState, Identity, Timing
from eventstore.record import Batch, Draft, Epoch, Event
from eventstore.replica import Committed, Outcome, Refused, Unknown
from tests.simulation.disk import Disk
from tests.simulation.kernel import Kernel, Violation

if TYPE_CHECKING:
    from tests.simulation.invariants import Checker
    from tests.simulation.network import Network

START_MS = 1_700_000_000_000
Done = Callable[[Outcome], None]


class Written(Event, frozen=True, kw_only=True):
    """A client wrote something."""

    KIND: ClassVar[str] = "test.written"

    number: int


@dataclass(slots=True)
class _Open:
    placed: Placed
    done: Done | None


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
        self.inc = kernel.rng.randbytes(16)
        self.disk = Disk(kernel, cluster_id, self.inc)
        self.core: Core | None = None
        self.paused_until_ms = 0
        self.delivered = 0
        self.on_begin: Callable[[Node], None] = lambda node: None  # it has won an epoch
        self.on_vote: Callable[[Node, str], None] = lambda node, candidate: None  # for another
        self._voted: HardState | None = None
        self.heard_ms: dict[str, int] = {}  # when each peer was heard last
        self._kernel, self._network, self._checker = kernel, network, checker
        self._cluster_id, self._timing, self._make_core = cluster_id, timing, make_core
        self._life = 0
        self._timer_ms = -1
        self._appended: Appended | None = None
        self._open: list[_Open] = []
        self._asked: dict[int, Callable[[int | None], None]] = {}
        self._reads: list[_Read] = []
        self._requests = 0

    # -- lives

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
            restart, disk, rng=self._kernel.rng, now_ms=self._kernel.now_ms, timing=self._timing
        )
        self.delivered = disk.snapshot
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

    def propose(self, event: Event, done: Done, stream: str = "s") -> None:
        """Ask for an event to be appended; `done` is called at once or later."""
        self._propose(self._life, event, done, stream)

    def _propose(self, life: int, event: Event, done: Done, stream: str) -> None:
        if life == self._life and self.paused_until_ms > self._kernel.now_ms:
            self._kernel.at(self.paused_until_ms, self._propose, life, event, done, stream)
            return
        if self.core is None or self._appended is None:
            done(Refused("not-leader", "not the leader"))
            return
        draft = Draft(stream=stream, event=event, actor="test")
        self._place(Batch(drafts=(draft,) * (1 + self._kernel.rng.randrange(2))), done)
        self._pump()

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
            if not out.leadership.here:
                self._give_up("leadership lost")
        for request, seq in out.reads:
            self._answer_read(request, seq)
        for segment in out.segments:
            self._segment(segment)
        for alarm in out.alarms:
            kernel.say(self.name, "alarm %s: %s", alarm.code, alarm.message)
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
        if self._open and self._open[0].placed.last == entry.last:
            opened = self._open.pop(0)
            if opened.done:
                opened.done(Committed(opened.placed.records))
        for read in [read for read in self._reads if read.seq <= self.delivered]:
            self._reads.remove(read)
            read.done(self.delivered)

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
        last = self.core.voter.log.last
        self._appended = Appended(
            seq=last.seq,
            last_hash=last.hash,
            versions={},
            clock=HybridClock(),
            origin=self.name,
            draw_bytes=self._kernel.rng.randbytes,
        )
        event = EpochStarted(voter=self.name, inc=self.inc.hex())
        draft = Draft(stream=STREAM, event=event, actor=f"voter:{self.name}")
        self._place(Batch(drafts=(draft,)), None)
        self.on_begin(self)

    def _place(self, batch: Batch, done: Done | None) -> None:
        assert self.core is not None
        assert self._appended is not None
        now_ms = START_MS + self._kernel.now_ms
        placed = self._appended.place(batch, self.core.voter.epoch, now_ms)
        assert isinstance(placed, Placed)
        refused = self.core.propose(from_placed(placed))
        if refused:
            self._appended.take_back(placed)
            if done:
                done(refused)
        else:
            self._open.append(_Open(placed, done))

    def _take_back(self, first: int) -> None:
        assert self._appended is not None
        while self._open and self._open[-1].placed.first >= first:
            opened = self._open.pop()
            self._appended.take_back(opened.placed)
            self._checker.on_dropped(opened.placed.records, opened.placed.epoch)
            if opened.done:
                opened.done(Refused("disk-full", "no room"))

    def _give_up(self, why: str) -> None:
        self._appended = None
        opened, self._open = self._open, []
        for one in opened:
            if one.done:
                one.done(Unknown(why))
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
        entries = self._checker.committed_entries(offer.first, offer.last)
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
