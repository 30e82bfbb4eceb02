"""Chains of misfortunes, each what one known kind of bug needs and chance hardly ever brings.

A plot strikes again and again in a run; in between it brings the cluster back to where it can
strike. It only does what could happen by chance: cuts, crashes, pauses, and orders to the leader.

    rivals    two candidates of one term, and a voter that dies after its vote for the first: if
              it forgot the vote, it elects the second as well
    rift      four voters; a leader is cut off just as it adds a fifth, and the next is told to
              remove the first before its no-op is committed: two majorities that do not meet
              (Ongaro's correction of 2015)
    exchange  a voter is behind, another gets a new disk, and the leader dies: if the new disk
              voted under the old name, the one that is behind would win
    solitude  a leader is cut off and told to remove the others one after the other: if the second
              removal did not wait for the first, it would be a majority of itself
    relapse   four voters; a leader is cut off, told to remove one, and has that cut out of its log
              again; then it and another are cut off while a fifth is added: if it went on by the
              three that it once wanted, those two would be a majority
    schism    an operator makes one voter the only one while the others go on without it; an agent
              promises itself to the new leader, dies, and meets the old one first: if it forgot the
              promise, it would obey
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING, ClassVar

from eventstore.raft.membership import Config
from tests.simulation.client import TASKS_EVERY
from tests.simulation.kernel import HEAL_MS
from tests.simulation.node import Node

if TYPE_CHECKING:
    from tests.simulation.scenario import Run

EVERY_MS = 2500
SCHISM_MS = 7500  # that two generations live side by side
FIRST_TASK = 1000 * TASKS_EVERY  # the number of a write that nobody else asks for


class Plot:
    """What plots have in common. Times fit the short timers (`Settings.fast`)."""

    voters: ClassVar[int] = 3
    spares: ClassVar[int] = 0
    agent: ClassVar[bool] = False  # it needs one
    spoils: ClassVar[bool] = False  # it takes away what a voter had on its disk

    def __init__(self, run: Run) -> None:
        self._network, self._nodes = run.network, run.nodes
        self._kernel, self._rng = run.kernel, run.kernel.rng

    def begin(self) -> None:
        """Plan every strike of the run."""
        for time_ms in range(2000, HEAL_MS - EVERY_MS, EVERY_MS):
            self._kernel.at(time_ms + self._rng.randrange(500), self._act)

    def _act(self) -> None:
        self._network.heal()
        leaders = [node for node in self._nodes.values() if node.leads and node.core]
        if leaders:
            leader = self._rng.choice(leaders)
            assert leader.core is not None
            self._strike(leader, leader.core.voter.config)

    def _strike(self, leader: Node, config: Config) -> None:
        raise NotImplementedError

    def _part(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Cut every link between the two; not when everything has healed."""
        if self._kernel.now_ms >= HEAL_MS:
            return
        for one in some:
            for other in others:
                self._network.cut(one, other)
                self._network.cut(other, one)

    def _up(self, node: Node) -> None:
        if node.core is None and not node.disk.tampered:
            node.start()

    def _others(self, *names: str) -> list[str]:
        return [name for name in self._nodes if name not in names]

    def _ask(self, leader: Node, config: Config, voters: Mapping[str, bytes]) -> None:
        """Ask for these voters; who is none of them any more is gone, learners stay."""
        learners = {n: inc for n, inc in config.learners.items() if n not in voters}
        changed = replace(config, voters=dict(voters), learners=learners)
        self._kernel.say(leader.name, "is asked for voters %s", [*voters])
        leader.change(changed, lambda outcome: self._kernel.say("change", "%s", outcome))

    def _join(self, leader: Node, config: Config, name: str) -> None:
        """Bring a storage one step nearer to a vote."""
        inc = self._nodes[name].inc
        if name in config.learners:
            self._ask(leader, config, {**config.voters, name: inc})
        else:
            joining = replace(config, learners={**config.learners, name: inc})
            leader.change(joining, lambda outcome: None)


class Rivals(Plot):
    """Two candidates of one term, and a voter that dies in between."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._armed: Node | None = None
        for node in self._nodes.values():
            node.on_vote = self._on_vote

    def _strike(self, leader: Node, config: Config) -> None:
        rivals = self._others(leader.name)
        for name in rivals:
            self._nodes[name].pause(900)  # they lose patience together
        self._part(rivals, rivals)
        leader.crash()
        self._kernel.after(850, self._up, leader)
        self._armed = leader

    def _on_vote(self, node: Node, candidate: str) -> None:
        if node is not self._armed:
            return
        self._armed = None
        self._kernel.after(10 + self._rng.randrange(14), self._fell, node, candidate)

    def _fell(self, node: Node, candidate: str) -> None:
        self._part([candidate], [node.name])  # nor does it hear whom it elected
        node.crash()
        self._kernel.after(5 + self._rng.randrange(40), self._up, node)


class Rift(Plot):
    """Two leaders, each with a change that the other never saw."""

    voters = 4
    spares = 1

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._side: tuple[str, ...] = ()  # the leader that was cut off, and the voter it adds
        self._spare = [*self._nodes][-1]
        for node in self._nodes.values():
            node.on_begin = self._on_begin

    def _strike(self, leader: Node, config: Config) -> None:
        self._side = ()
        missing = [n for n in self._nodes if n not in config.voters and n != self._spare]
        if missing:
            self._join(leader, config, missing[0])
        elif self._spare in config.voters:
            voters = {n: inc for n, inc in config.voters.items() if n != self._spare}
            self._ask(leader, config, voters)
        elif self._spare not in config.learners:
            self._join(leader, config, self._spare)
        elif leader.name != self._spare:
            self._side = (leader.name, self._spare)
            self._part(self._side, self._others(*self._side))
            self._join(leader, config, self._spare)

    def _on_begin(self, node: Node) -> None:
        """The other side has a leader: it removes the first one, and one voter hears nothing."""
        if not self._side or node.name in self._side:
            return
        side, self._side = self._side, ()
        deaf = self._rng.choice(self._others(*side, node.name))
        self._part([node.name], [deaf])
        self._kernel.after(0, self._remove, node, side[0])
        self._kernel.after(60, self._turn, [*side, deaf])

    def _remove(self, node: Node, name: str) -> None:
        if node.core is not None:
            config = node.core.voter.config
            self._ask(node, config, {n: inc for n, inc in config.voters.items() if n != name})

    def _turn(self, side: list[str]) -> None:
        """Now the deaf voter hears the first leader instead."""
        self._network.heal()
        self._part(side, self._others(*side))


class Solitude(Plot):
    """A leader that nobody hears is told to remove everybody else."""

    def _strike(self, leader: Node, config: Config) -> None:
        missing = [name for name in self._nodes if name not in config.voters]
        if missing:
            self._join(leader, config, missing[0])
            return
        self._part([leader.name], self._others(leader.name))
        voters = dict(config.voters)
        for name in self._others(leader.name):
            del voters[name]
            self._ask(leader, config, voters)


class Exchange(Plot):
    """A disk is exchanged while another voter is behind."""

    spoils = True

    def _strike(self, leader: Node, config: Config) -> None:
        strange = [n for n, node in self._nodes.items() if config.voters.get(n) != node.inc]
        if strange:
            self._readmit(leader, config, strange[0])
            return
        behind, exchanged = self._others(leader.name)
        self._part([behind], [leader.name, exchanged])
        self._kernel.after(1000, self._exchange, self._nodes[exchanged])
        self._kernel.after(1500, self._fell, leader)

    def _readmit(self, leader: Node, config: Config, name: str) -> None:
        inc = self._nodes[name].inc
        if config.learners.get(name) == inc:
            self._join(leader, config, name)
        else:
            voters = {n: i for n, i in config.voters.items() if n != name}
            learners = {**config.learners, name: inc}
            leader.change(replace(config, voters=voters, learners=learners), lambda outcome: None)

    def _exchange(self, node: Node) -> None:
        node.crash()
        node.exchange_disk()
        node.start()

    def _fell(self, leader: Node) -> None:
        self._network.heal()
        leader.crash()
        self._kernel.after(1500, self._up, leader)


class Relapse(Plot):
    """A leader whose change was cut off, and two of five apart from the others."""

    voters = 4
    spares = 1

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._spare = [*self._nodes][-1]
        self._cut_off: tuple[str, str] | None = None  # the leader, and whom it was to remove

    def _strike(self, leader: Node, config: Config) -> None:
        missing = [n for n in self._nodes if n not in config.voters and n != self._spare]
        if missing:
            self._join(leader, config, missing[0])
        elif self._spare in config.voters:
            voters = {n: inc for n, inc in config.voters.items() if n != self._spare}
            self._ask(leader, config, voters)
        elif self._spare not in config.learners:
            self._join(leader, config, self._spare)
        elif self._cut_off is None:
            self._unheard(leader, config)
        else:
            (first, removed), self._cut_off = self._cut_off, None
            if leader.name != first:
                self._split(leader, config, first, removed)

    def _unheard(self, leader: Node, config: Config) -> None:
        """Let a leader that nobody hears remove somebody; then the others replace it."""
        removed = self._rng.choice(self._others(leader.name, self._spare))
        self._cut_off = (leader.name, removed)
        self._part([leader.name], self._others(leader.name))
        self._ask(leader, config, {n: inc for n, inc in config.voters.items() if n != removed})
        self._kernel.after(1600, self._network.heal)

    def _split(self, leader: Node, config: Config, first: str, removed: str) -> None:
        """Add the fifth voter while the first leader and another one hear nothing."""
        others = self._others(leader.name, first, removed, self._spare)
        side = [first, self._rng.choice(others)] if others else [first]
        self._part(side, self._others(*side))
        self._join(leader, config, self._spare)


class Schism(Plot):
    """Two leaders of two generations, and an agent that has heard both."""

    agent = True
    spoils = True

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._run = run
        self._free_from_ms = 0
        self._tasks = count(FIRST_TASK, TASKS_EVERY)

    def _act(self) -> None:
        if self._kernel.now_ms >= self._free_from_ms:
            super()._act()

    def _strike(self, leader: Node, config: Config) -> None:
        if any(config.voters.get(name) != node.inc for name, node in self._nodes.items()):
            return  # those of the old generation are still to be admitted again
        usurper = self._nodes[self._rng.choice(self._others(leader.name))]
        if any(node.disk.hard.epoch.gen < self._newest for node in (leader, usurper)):
            return  # what is over cannot be taken over
        self._free_from_ms = self._kernel.now_ms + SCHISM_MS
        self._part([usurper.name], self._others(usurper.name))
        self._run.faults.take_over(usurper)
        self._kernel.after(2500, self._run.agent.turn_to, usurper)
        self._kernel.after(4500, self._meet_the_old_one, leader)
        self._kernel.after(SCHISM_MS, self._network.heal)

    @property
    def _newest(self) -> int:
        return max(self._run.checker.histories)

    def _meet_the_old_one(self, leader: Node) -> None:
        self._run.agent.crash()
        self._run.agent.turn_to(leader)
        for number in islice(self._tasks, 2):  # each at either leader
            self._run.client.write(number, self._kernel.now_ms)


PLOTS: dict[str, type[Plot]] = {
    "rivals": Rivals,
    "rift": Rift,
    "exchange": Exchange,
    "solitude": Solitude,
    "relapse": Relapse,
    "schism": Schism,
}
