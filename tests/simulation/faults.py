"""What can go wrong in a run: by chance, one thing at a time, each for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation.disk import DiskWeather
from tests.simulation.kernel import HEAL_MS
from tests.simulation.network import Weather
from tests.simulation.node import Node
from tests.simulation.takeover import take_over

if TYPE_CHECKING:
    from tests.simulation.scenario import Run


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
            self._io_error,
        ]

    def begin(self) -> None:
        """Plan what goes wrong in the run."""
        settings, rng = self._run.settings, self._rng
        kinds = [self.strike] * settings.faults
        for wanted, strike in (
            (settings.takeovers, self._take_over),
            (settings.wipes, self._wipe),
            (settings.flips, self._flip),
        ):
            kinds += [strike] * (1 + rng.randrange(3)) if wanted else []
        for strike in kinds:
            self._kernel.at(rng.randrange(500, HEAL_MS), strike)

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
        inc = self._nodes[name].inc
        if voters.get(name, inc) != inc or learners.get(name, inc) != inc:
            voters.pop(name, None)  # its disk was exchanged
            learners[name] = inc
        elif name in learners:
            if self._rng.random() < 0.7:
                voters[name] = learners[name]
            del learners[name]
        elif name in voters:
            del voters[name]
            if self._rng.random() < 0.5:
                learners[name] = inc
        else:
            learners[name] = inc

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

    def _io_error(self) -> None:
        """The next write fails: the process ends, and starts again some time later."""
        node = self._one()
        node.disk.weather.failing = True
        self._kernel.after(self._rng.randrange(500, 6000), self._mend, node)

    def _mend(self, node: Node) -> None:
        node.disk.weather.failing = False
        self._up(node)

    def _flip(self) -> None:
        """A bit flips in the tail of a log; the voter starts again and finds its log short."""
        node = self._one()
        self._kernel.say(node.name, "has a flipped bit in its tail")
        node.disk.flip()
        self._down(node)

    def _wipe(self) -> None:
        """A disk is exchanged; the voter comes back under its old name, holding nothing."""
        self.exchange(self._one())

    def exchange(self, node: Node) -> None:
        """Give a voter a new disk, start it some time later, and have it admitted again."""
        node.crash()
        node.exchange_disk()
        self._kernel.after(self._rng.randrange(100, 3000), self._up, node)
        self._readmit_soon()

    def _readmit_soon(self) -> None:
        for delay_ms in range(2000, 12_000, 1000):
            self._kernel.after(delay_ms, self._readmit)

    def _readmit(self) -> None:
        """Bring somebody nearer to a vote: whose disk was exchanged, or who was given up."""
        leader = self._leader()
        if leader is None or leader.core is None:
            return
        config = leader.core.voter.config
        voters, learners = dict(config.voters), dict(config.learners)
        missing = [n for n, node in self._nodes.items() if voters.get(n) != node.inc]
        if not missing:
            return
        name = self._rng.choice(missing)
        inc = self._nodes[name].inc
        if learners.get(name) == inc and name not in voters:
            voters[name] = learners.pop(name)
        else:
            voters.pop(name, None)
            learners[name] = inc
        changed = replace(
            config, voters=voters, learners=learners, witnesses=config.witnesses & voters.keys()
        )
        leader.change(changed, lambda outcome: self._kernel.say("change", "%s", outcome))

    def on_superseded(self, node: Node) -> None:
        """A newer generation contradicts it: it stops, and comes back with a new storage."""
        self._kernel.after(self._rng.randrange(1000), self.exchange, node)

    def _take_over(self) -> None:
        """An operator makes one voter the only one; others may be alive, and may have led."""
        node = self._rng.choice([*self._nodes.values()])
        if self._rng.random() < 0.7:  # the one that holds most
            node = max(self._nodes.values(), key=lambda n: (n.disk.hard.epoch.gen, n.disk.last))
        if node.disk.hard.epoch.gen < max(self._run.checker.histories):
            return  # its generation is over: it has nothing that could be taken over
        node.crash()
        for other in self._nodes.values():
            if other is not node and self._rng.random() < 0.5:
                self._down(other)
        self.take_over(node)

    def take_over(self, node: Node) -> None:
        """Make a voter the only one, start it, and have the others admitted again."""
        node.crash()
        take_over(node, self._run.checker, self._kernel)
        self._kernel.after(self._rng.randrange(50, 2000), self._up, node)
        self._readmit_soon()
