"""A seed's cluster, its settings and its misfortunes; and one run of it.

A run lasts 60 simulated seconds. Writes come at random times, and faults; after 45 s everything
heals, and then the cluster must find a leader and commit once more.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from eventstore.ack_mark import Mark
from eventstore.appended import Appended, Placed
from eventstore.clock import HybridClock
from eventstore.events import STREAM, EpochStarted, LogCreated, VotersChanged
from eventstore.raft.core import Core
from eventstore.raft.entry import Entry, from_placed
from eventstore.raft.messages import Message
from eventstore.raft.state import NOBODY, HardState, Timing
from eventstore.record import Batch, Draft, Epoch, genesis_hash
from tests.simulation.client import Client
from tests.simulation.disk import DiskWeather
from tests.simulation.invariants import Checker
from tests.simulation.kernel import Kernel, Violation
from tests.simulation.network import Network, Weather
from tests.simulation.node import START_MS, Node

CLUSTER = "11111111-2222-3333-4444-555555555555"
HEAL_MS, LAST_WRITE_MS, END_MS = 45_000, 50_000, 60_000
WRITES = 100
FIRST = Epoch(1, 1)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a seed is about."""

    voters: int = 3
    spares: int = 0  # further storages that may become members
    witness: bool = False  # the last voter is one
    faults: int = 12  # misfortunes
    lies: bool = False  # disks say "durable" too early
    wipes: bool = False  # disks are exchanged: the same name, a new storage
    loss: float = 0.0
    repeat: float = 0.0
    late: float = 0.0
    stall: float = 0.0
    fast: bool = False  # short timers: many more elections
    short_reigns: float = 0.0  # share of elected leaders that crash within moments
    short_votes: float = 0.0  # share of voters that crash within moments of voting
    hasty: float = 0.0  # share of elected leaders that are asked at once to change the voters
    message_bytes: int = 1 << 20
    segment_lag: int = 100_000
    kept_bytes: int = 8 << 20

    @classmethod
    def draw(cls, rng: random.Random) -> Settings:
        """Return the settings of a seed: most have three voters and some of the troubles."""
        kind = rng.random()
        shape = {"voters": 3}
        if kind < 0.05:
            shape = {"voters": rng.choice((1, 2))}
        elif kind < 0.15:
            shape = {"voters": rng.choice((4, 5))}
        drawn = cls(
            voters=shape["voters"],
            spares=rng.choice((0, 0, 1, 2)),
            witness=shape["voters"] >= 3 and rng.random() < 0.15,
            faults=rng.randrange(4, 24),
            lies=rng.random() < 0.2,
            loss=rng.choice((0.0, 0.02, 0.2)),
            repeat=rng.choice((0.0, 0.05)),
            late=rng.choice((0.0, 0.05, 0.3)),
            stall=rng.choice((0.0, 0.0, 0.1)),
        )
        if rng.random() < 0.25:
            drawn = drawn._restless(rng)
        if rng.random() < 0.3:
            drawn = replace(drawn, kept_bytes=2000)
        if rng.random() < 0.2:
            drawn = replace(drawn, segment_lag=20)
        return drawn

    def _restless(self, rng: random.Random) -> Settings:
        """Return the same with many short reigns: most rules about terms matter only then."""
        return replace(
            self,
            voters=rng.choice((3, 3, 3, 4, 5)),
            witness=False,
            fast=True,
            short_reigns=rng.choice((0.0, 0.5, 0.8)),
            short_votes=rng.choice((0.0, 0.3)),
            hasty=rng.choice((0.0, 0.5, 0.9)),
            message_bytes=rng.choice((1, 1 << 20)),
        )


def first_entry(voters: dict[str, bytes], witnesses: tuple[str, ...]) -> Entry:
    """Return the batch with which every voter's log begins."""
    appended = Appended(
        seq=0,
        last_hash=genesis_hash(CLUSTER),
        versions={},
        clock=HybridClock(),
        origin="a",
        draw_bytes=lambda size: bytes(size),
    )
    created = LogCreated(cluster_id=CLUSTER, origin="test")
    started = EpochStarted(voter="a", inc=voters["a"].hex())
    names = {name: inc.hex() for name, inc in voters.items()}
    changed = VotersChanged(voters=names, witnesses=witnesses)
    drafts = [Draft(stream=STREAM, event=e, actor="test") for e in (created, started, changed)]
    placed = appended.place(Batch(drafts=tuple(drafts)), FIRST, START_MS)
    assert isinstance(placed, Placed)
    return from_placed(placed)


class Run:
    """One seed, from beginning to end."""

    def __init__(
        self,
        seed: int,
        *,
        settings: Settings | None = None,
        verbose: bool = False,
        make_core: Callable[..., Core] = Core,
    ) -> None:
        self.kernel = Kernel(seed, verbose=verbose)
        self.settings = settings or Settings.draw(self.kernel.rng)
        self.checker = Checker(trust_disks=not self.settings.lies)
        self.network = Network(self.kernel, self._arrive)
        self.network.weather = self.usual_weather()
        timing = Timing(
            segment_lag=self.settings.segment_lag,
            kept_bytes=self.settings.kept_bytes,
            message_bytes=self.settings.message_bytes,
            segment_ms=5000,
            promote_lag=20,
        )
        if self.settings.fast:
            timing = replace(timing, heartbeat_ms=200, election_min_ms=500, election_max_ms=600)
        names = "abcdefgh"[: self.settings.voters + self.settings.spares]
        self.nodes = {
            name: Node(
                name,
                kernel=self.kernel,
                network=self.network,
                checker=self.checker,
                cluster_id=CLUSTER,
                timing=timing,
                make_core=make_core,
            )
            for name in names
        }
        self.checker.nodes = self.nodes
        self.client = Client(self.kernel, self.nodes)
        self._begin()

    def _begin(self) -> None:
        voters = [*self.nodes][: self.settings.voters]
        storages = {name: self.nodes[name].inc for name in voters}
        entry = first_entry(storages, (voters[-1],) if self.settings.witness else ())
        self.checker.begin_with(entry)
        for name in voters:
            node = self.nodes[name]
            mark = Mark(entry.last, entry.hash, *FIRST, "", b"", node.inc)
            node.disk.begin_with([entry], HardState(FIRST, NOBODY), mark)
        for node in self.nodes.values():
            node.disk.weather = DiskWeather(stall=self.settings.stall, lies=self._lies())
            node.start()
        self._plan()

    def _plan(self) -> None:
        kernel = self.kernel
        rng = kernel.rng
        for number in range(WRITES):
            time_ms = rng.randrange(500, LAST_WRITE_MS)
            kernel.at(time_ms, self.client.write, number, time_ms)
        for _ in range(30):
            kernel.at(rng.randrange(500, LAST_WRITE_MS), self.client.read)
        faults = Faults(self)
        for node in self.nodes.values():
            node.on_begin, node.on_vote = faults.on_begin, faults.on_vote
        for _ in range(self.settings.faults):
            kernel.at(rng.randrange(500, HEAL_MS), faults.strike)
        kernel.at(HEAL_MS, self._heal)
        kernel.at(LAST_WRITE_MS, self.client.write, WRITES, LAST_WRITE_MS)

    def run(self) -> Run:
        """Let it all happen. Raises Violation."""
        self.kernel.run_until(END_MS)
        self.client.check(self.checker)
        if WRITES not in self.client.acknowledged and self._must_live():
            raise Violation("everything has healed, and nothing was committed in 10 s")
        return self

    def digest(self) -> tuple[object, ...]:
        """Return what two runs of one seed have in common, if they are the same bit for bit."""
        kernel, client = self.kernel, self.client
        end = self.checker.committed[-1].hash
        return kernel.events, end, sorted(client.acknowledged.items()), kernel.rng.random()

    def _must_live(self) -> bool:
        """Say whether enough voters can vote; after lies there may be none (R9: stop)."""
        for node in self.nodes.values():
            if node.core is None:
                continue  # it was tampered with, and has stopped
            config = node.core.voter.config
            able = [name for name in config.voters if self._can_vote(name)]
            if config.voters and 2 * len(able) <= len(config.voters):
                return False
        return True

    def _can_vote(self, name: str) -> bool:
        core = self.nodes[name].core
        return core is not None and core.voter.recovery is None

    def _lies(self) -> bool:
        return self.settings.lies and self.kernel.rng.random() < 0.6

    def _arrive(self, to: str, message: Message) -> None:
        self.nodes[to].receive(message)

    def usual_weather(self) -> Weather:
        """Return how the network is when nothing in particular happens."""
        settings = self.settings
        return Weather(settings.loss, settings.repeat, settings.late)

    def _heal(self) -> None:
        self.kernel.say("all", "heals")
        self.network.heal()
        self.network.weather = Weather()
        for node in self.nodes.values():
            node.disk.weather.full = False
            node.disk.weather.stall = 0.0
            if node.core is None and not node.disk.tampered:
                node.start()


class Faults:
    """What can go wrong. Each lasts a while."""

    def __init__(self, run: Run) -> None:
        self._run, self._kernel = run, run.kernel
        self._rng = run.kernel.rng
        self._nodes = run.nodes
        self._kinds: list[Callable[[], None]] = [
            self._crash,
            self._crash,
            self._crash_leader,
            self._crash_all,
            self._pause,
            self._split,
            self._isolate,
            self._one_way,
            self._bridge,
            self._storm,
            self._slow_disk,
            self._full_disk,
            self._hand_over,
            self._change,
            self._change,
            self._tamper,
        ]

    def strike(self) -> None:
        """Let one thing go wrong."""
        self._rng.choice(self._kinds)()

    def on_begin(self, node: Node) -> None:
        """A leader was elected: perhaps ask it for a change at once, perhaps end its life soon."""
        settings, rng = self._run.settings, self._rng
        if self._kernel.now_ms >= HEAL_MS:
            return
        if settings.hasty and rng.random() < settings.hasty:
            self._kernel.after(rng.randrange(30), self._change_at, node)
        if settings.short_reigns and rng.random() < settings.short_reigns:
            self._kernel.after(rng.randrange(60), self._briefly_down, node)

    def on_vote(self, node: Node, candidate: str) -> None:
        """A vote for somebody else goes to the disk: perhaps end the voter's life soon."""
        settings, rng = self._run.settings, self._rng
        if settings.short_votes and rng.random() < settings.short_votes:
            self._kernel.after(5 + rng.randrange(20), self._briefly_down, node)
            if rng.random() < 0.7:  # a rival in the same term does not hear who won
                others = [name for name in self._nodes if name not in (node.name, candidate)]
                self._cut([pair for b in others for pair in ((candidate, b), (b, candidate))])

    def _briefly_down(self, node: Node) -> None:
        if self._kernel.now_ms < HEAL_MS:
            node.crash()
            self._kernel.after(self._rng.choice((10, 300, 1500)), self._up, node)

    def _one(self) -> Node:
        return self._nodes[self._rng.choice([*self._nodes])]

    def _leader(self) -> Node | None:
        leaders = [node for node in self._nodes.values() if node.leads]
        return self._rng.choice(leaders) if leaders else None

    def _crash(self) -> None:
        self._down(self._one())

    def _crash_leader(self) -> None:
        if leader := self._leader():
            self._down(leader)

    def _crash_all(self) -> None:
        for node in self._nodes.values():
            self._down(node)

    def _down(self, node: Node) -> None:
        node.crash()
        self._kernel.after(self._rng.randrange(100, 6000), self._up, node)

    def _up(self, node: Node) -> None:
        if node.core is None:
            node.start()

    def _pause(self) -> None:
        node = self._leader() if self._rng.random() < 0.5 else self._one()
        if node and node.core:
            for_ms = self._rng.randrange(300, 9000)
            node.pause(min(for_ms, HEAL_MS - self._kernel.now_ms))

    def _split(self) -> None:
        sides = {name: self._rng.random() < 0.5 for name in self._nodes}
        self._cut([(a, b) for a in sides for b in sides if sides[a] != sides[b]])

    def _isolate(self) -> None:
        one = (self._leader() or self._one()).name
        self._cut([pair for b in self._nodes for pair in ((one, b), (b, one))])

    def _one_way(self) -> None:
        one = self._one().name
        if self._rng.random() < 0.5:
            self._cut([(one, b) for b in self._nodes])
        else:
            self._cut([(b, one) for b in self._nodes])

    def _bridge(self) -> None:
        """Two that cannot reach each other, and both reach the others."""
        a, b = self._one().name, self._one().name
        self._cut([(a, b), (b, a)])

    def _cut(self, links: list[tuple[str, str]]) -> None:
        self._kernel.say("net", "cut %s", links)
        for sender, to in links:
            self._run.network.cut(sender, to)
        self._kernel.after(self._rng.randrange(500, 9000), self._run.network.heal)

    def _storm(self) -> None:
        self._run.network.weather = Weather(loss=0.4, repeat=0.2, late=0.4, late_ms=1500)
        self._kernel.after(self._rng.randrange(500, 5000), self._calm)

    def _calm(self) -> None:
        if self._kernel.now_ms < HEAL_MS:
            self._run.network.weather = self._run.usual_weather()

    def _slow_disk(self) -> None:
        weather = self._one().disk.weather
        weather.stall, weather.stall_ms = 0.7, 3000
        self._kernel.after(self._rng.randrange(500, 8000), self._fast, weather)

    def _fast(self, weather: DiskWeather) -> None:
        healed = self._kernel.now_ms >= HEAL_MS
        weather.stall = 0.0 if healed else self._run.settings.stall
        weather.stall_ms = 900

    def _full_disk(self) -> None:
        weather = self._one().disk.weather
        weather.full = True
        self._kernel.after(self._rng.randrange(500, 8000), self._free, weather)

    def _free(self, weather: DiskWeather) -> None:
        weather.full = False

    def _hand_over(self) -> None:
        if leader := self._leader():
            leader.hand_over(self._rng.choice([None, self._one().name]))

    def _change(self) -> None:
        """Add a learner, promote one, or remove a voter or learner."""
        if leader := self._leader():
            self._change_at(leader)

    def _change_at(self, leader: Node) -> None:
        if leader.core is None or len(self._nodes) == 1:
            return
        config = leader.core.voter.config
        voters, learners = dict(config.voters), dict(config.learners)
        for _ in range(1 if self._rng.random() < 0.8 else 2):  # two at a time must be refused
            self._change_one(voters, learners)
        self._kernel.say(leader.name, "is asked for voters %s, learners %s", [*voters], [*learners])
        witnesses = config.witnesses & voters.keys()
        changed = replace(config, voters=voters, learners=learners, witnesses=witnesses)
        leader.change(changed, lambda outcome: self._kernel.say("change", "%s", outcome))

    def _change_one(self, voters: dict[str, bytes], learners: dict[str, bytes]) -> None:
        name = self._rng.choice([*self._nodes])
        if name in learners:
            if self._rng.random() < 0.7:
                voters[name] = learners[name]
            del learners[name]
        elif name in voters:
            del voters[name]
            if self._rng.random() < 0.5:
                learners[name] = self._nodes[name].inc
        else:
            learners[name] = self._nodes[name].inc

    def _tamper(self) -> None:
        """Exchange a record of a learner: it must stop and cry, and tell nobody of it (R5)."""
        node = self._one()
        voters: set[str] = set()
        for other in self._nodes.values():
            for config in other.disk.configs():
                voters |= config.voters.keys()
        if node.core is None or node.name in voters:
            return
        node.crash()
        if node.disk.tamper():
            self._kernel.say(node.name, "has another record %s now", node.disk.last)
        self._kernel.after(self._rng.randrange(100, 3000), self._up, node)
