"""A seed's cluster, its settings and its misfortunes; and one run of it.

A run lasts 60 simulated seconds. Writes come at random times, and faults; after 45 s everything
heals, and then the cluster must find a leader and commit once more.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from eventstore.clock import HybridClock
from eventstore.events import STREAM, EpochStarted, LogCreated, VotersChanged
from eventstore.raft.core import Core
from eventstore.raft.entry import Entry
from eventstore.raft.messages import Message
from eventstore.raft.state import NOBODY, HardState, Timing
from eventstore.record import Batch, Draft, Epoch, genesis_hash
from eventstore.storage.ack_mark import Mark
from eventstore.voter.appended import Appended, Placed
from tests.simulation.agent import Agent
from tests.simulation.client import Client
from tests.simulation.disk import DiskWeather
from tests.simulation.faults import Faults
from tests.simulation.invariants import Checker
from tests.simulation.kernel import END_MS, HEAL_MS, LAST_WRITE_MS, Kernel, Violation
from tests.simulation.network import Network, Weather
from tests.simulation.node import START_MS, Node
from tests.simulation.plots import PLOTS

CLUSTER = "11111111-2222-3333-4444-555555555555"
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
    flips: bool = False  # bits flip in the tails of logs
    agent: bool = False  # tasks are run on a node
    takeovers: bool = False  # an operator makes one voter the only one
    loss: float = 0.0
    repeat: float = 0.0
    late: float = 0.0
    stall: float = 0.0
    fast: bool = False  # short timers: many more elections
    short_reigns: float = 0.0  # share of elected leaders that crash within moments
    plot: str = ""  # a chain of misfortunes that comes again and again (plots.py)
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
            wipes=rng.random() < 0.15,
            flips=rng.random() < 0.15,
            agent=rng.random() < 0.3,
            takeovers=rng.random() < 0.2,
            loss=rng.choice((0.0, 0.02, 0.2)),
            repeat=rng.choice((0.0, 0.05)),
            late=rng.choice((0.0, 0.05, 0.3)),
            stall=rng.choice((0.0, 0.0, 0.1)),
        )
        if rng.random() < 0.25:
            drawn = drawn._restless(rng)
        elif rng.random() < 0.2:
            drawn = drawn._plotted(rng)
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
            hasty=rng.choice((0.0, 0.5, 0.9)),
            message_bytes=rng.choice((1, 1 << 20)),
        )

    def _plotted(self, rng: random.Random) -> Settings:
        """Return the same with a plot, and little else that could spoil it."""
        plot = rng.choice([*PLOTS])
        return replace(
            self,
            voters=PLOTS[plot].voters,
            spares=PLOTS[plot].spares,
            witness=False,
            fast=True,
            faults=rng.randrange(4),
            agent=self.agent or PLOTS[plot].agent,
            plot=plot,
        )


def first_entry(
    voters: dict[str, bytes], witnesses: tuple[str, ...], more: tuple[Draft, ...] = ()
) -> Entry:
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
    placed = appended.place(Batch(drafts=(*drafts, *more)), FIRST, START_MS)
    assert isinstance(placed, Placed)
    return placed.entry


class Run:
    """One seed, from beginning to end."""

    NODE: ClassVar[type[Node]] = Node
    AGENT: ClassVar[type[Agent]] = Agent
    CLIENT: ClassVar[type[Client]] = Client
    WRITES: ClassVar[int] = WRITES

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
        drawn = self.settings  # what takes away what a voter had on its disk
        spoilt = drawn.lies or drawn.flips or drawn.wipes or drawn.takeovers
        if drawn.plot:
            spoilt = spoilt or PLOTS[drawn.plot].spoils
        self.checker = Checker(trust_disks=not spoilt)
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
            name: self.NODE(
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
        self.client = self.CLIENT(self.kernel, self.nodes)
        self.agent = self.AGENT(self.kernel, self.nodes)
        self._begin()

    def _begin(self) -> None:
        voters = [*self.nodes][: self.settings.voters]
        storages = {name: self.nodes[name].inc for name in voters}
        witnesses = (voters[-1],) if self.settings.witness else ()
        entry = first_entry(storages, witnesses, self._founding())
        self.checker.begin_with(entry)
        for name in voters:
            node = self.nodes[name]
            mark = Mark(entry.last, entry.hash, *FIRST, "", b"", node.inc)
            node.disk.begin_with([entry], HardState(FIRST, NOBODY), mark)
        for node in self.nodes.values():
            node.disk.weather = DiskWeather(
                stall=self.settings.stall, lies=self._lies(), flips=self.settings.flips
            )
            node.start()
        self._plan()

    def _founding(self) -> tuple[Draft, ...]:
        """What else the first batch holds."""
        return ()

    def _plan(self) -> None:
        kernel = self.kernel
        rng = kernel.rng
        for number in range(self.WRITES):
            time_ms = rng.randrange(500, LAST_WRITE_MS)
            kernel.at(time_ms, self.client.write, number, time_ms)
        for _ in range(30):
            kernel.at(rng.randrange(500, LAST_WRITE_MS), self.client.read)
        self.faults = Faults(self)
        for node in self.nodes.values():
            node.on_begin, node.on_superseded = self.faults.on_begin, self.faults.on_superseded
        self.faults.begin()
        if self.settings.agent:
            self.agent.begin()
        if self.settings.plot:
            PLOTS[self.settings.plot](self).begin()
        kernel.at(HEAL_MS, self._heal)
        kernel.at(LAST_WRITE_MS, self.client.write, WRITES, LAST_WRITE_MS)

    def run(self) -> Run:
        """Let it all happen. Raises Violation."""
        self._play()
        self.client.check(self.checker)
        if self._must_live():
            if WRITES not in self.client.acknowledged:
                raise Violation("everything has healed, and nothing was committed in 10 s")
            self._check_level()
        return self

    def _play(self) -> None:
        """Let everything happen."""
        self.kernel.run_until(END_MS)

    def _check_level(self) -> None:
        """Who follows the last leader has had 10 s: it holds all that was committed by then."""
        running = [(name, node.core.voter) for name, node in self.nodes.items() if node.core]
        leading = [voter for name, voter in running if self.nodes[name].leads]
        leader = max(leading, key=lambda voter: voter.epoch)
        for name, voter in running:
            if leader.config.storage_of(name) != voter.me.inc or voter.superseded:
                continue
            held, wanted = voter.log.committed, leader.log.committed
            if voter.epoch.gen < leader.epoch.gen or held < wanted:
                raise Violation(f"{name} has not caught up: it holds {held} of {wanted}")

    def digest(self) -> tuple[object, ...]:
        """Return what two runs of one seed have in common, if they are the same bit for bit."""
        kernel, client = self.kernel, self.client
        end = self.checker.newest.entries[-1].hash
        return kernel.events, end, sorted(client.acknowledged.items()), kernel.rng.random()

    def _must_live(self) -> bool:
        """Say whether enough voters can vote; after lies there may be none (R9: stop), nor after
        disks were exchanged. Whoever is left of an older generation has no claim to live."""
        gen, alive = max(self.checker.histories), False
        for node in self.nodes.values():
            if node.core is None or node.core.voter.epoch.gen != gen:
                continue  # it was tampered with, and has stopped
            voters = node.core.voter.config.voters
            able = [name for name, inc in voters.items() if self._can_vote(name, inc, gen)]
            if voters and 2 * len(able) <= len(voters):
                return False
            alive = alive or bool(able)
        return alive

    def _can_vote(self, name: str, inc: bytes, gen: int) -> bool:
        node = self.nodes[name]
        if node.core is None or node.inc != inc:
            return False
        return node.core.voter.able and node.core.voter.epoch.gen == gen

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
            node.disk.weather.failing = False
            if node.core is None and not node.disk.tampered:
                node.start()
