"""What can go wrong in a run: by chance, one thing at a time, each for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation.disk import DiskWeather
from tests.simulation.kernel import HEAL_MS
from tests.simulation.network import Weather
from tests.simulation.node import Node

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
