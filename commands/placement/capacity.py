"""How many more instances fit: equal ones, or ever smaller ones where the large no longer fit.

Instances are placed one at a time by the rules of `allocate`. Global redundancy is costly to check
at every step, so a large number is placed without it and checked once; only if that fails are the
steps made smaller. As in htools, DRBD instances are not checked one by one in the end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from commands.placement import metrics
from commands.placement.allocate import Solution, Unplaced, all_nodes, allocate, appraise
from commands.placement.frame import Ints
from commands.placement.model import (
    NO_NODE,
    FailMode,
    Instance,
    shrinkable,
    shrunk,
    steady_units,
)
from commands.placement.options import Options
from commands.placement.packing import Packer, packs
from commands.placement.redundancy import redundant
from commands.placement.state import Placement

_SMALLEST_GUESS: Final = 20
_SMALL_STEP: Final = 10


@dataclass(frozen=True, slots=True)
class Filled:
    """A cluster with instances added, and why the next one did not fit."""

    placement: Placement
    added: tuple[Instance, ...]  # in order, with their names
    failures: Counter[FailMode]

    @property
    def count(self) -> int:
        """How many were added."""
        return len(self.added)


Level = tuple[Filled, Instance, int | None]  # how far, the next size, and how many more at most


@dataclass(slots=True)
class Filler:
    """Places instances on some nodes of a cluster."""

    nodes: Ints
    options: Options

    def start(self, placement: Placement) -> Filled:
        """Nothing added yet."""
        return Filled(placement, (), Counter())

    def attempt(self, placement: Placement, instance: Instance, *, check: bool) -> Solution:
        """Where one instance would go. Raises Unplaced without nodes."""
        options = msgspec.structs.replace(self.options, capacity_checks=check)
        return allocate(placement, all_nodes(placement), instance, self.nodes, options)

    def fill(self, start: Filled, instance: Instance, limit: int | None) -> Filled:
        """Add as many as fit, at most `limit`."""
        if not self.options.capacity_checks:
            return self._one_by_one(start, instance, limit, check=False)
        found = start
        for guess in (self._guess(start.placement, instance), _SMALL_STEP):
            finished, found, limit = self._by_steps(found, instance, limit, guess)
            if finished:
                return found
            if guess != _SMALL_STEP:
                continue
        # DRBD instances are not checked one by one: their failover is accounted for by each
        # node's own reserve.
        return self._one_by_one(found, instance, limit, check=not instance.mirrored)

    def _by_steps(
        self, start: Filled, instance: Instance, limit: int | None, size: int
    ) -> tuple[bool, Filled, int | None]:
        """Add in unchecked steps as long as the result is redundant.

        Returns whether that was all, how far it came, and the limit that remains.
        """
        while True:
            step = size if limit is None else min(size, limit)
            trial = self._one_by_one(start, instance, step, check=False)
            if trial.count == start.count and limit != 0:
                # Nothing fits even unchecked: smaller steps would find the same reasons.
                return True, trial, limit
            if not redundant(trial.placement, all_nodes(trial.placement), self.options):
                return False, start, limit
            left = None if limit is None else max(0, limit - size)
            if left == 0 or trial.count == start.count:
                return True, trial, left
            if size != _SMALL_STEP:
                size = self._guess(trial.placement, instance)
            start, limit = trial, left

    def _guess(self, placement: Placement, instance: Instance) -> int:
        """A number close to the capacity, and rather below it."""
        room = np.maximum(0, placement.unallocated - placement.reserve).sum()
        guess = int(room) // max(1, instance.memory) - placement.frame.size
        return max(_SMALLEST_GUESS, guess)

    def _one_by_one(
        self, start: Filled, instance: Instance, limit: int | None, *, check: bool
    ) -> Filled:
        if not check and packs(start.placement, self.nodes, instance):
            return self._pack(start, instance, limit)
        state = start.placement.copy()
        added = list(start.added)
        while True:
            solution = self.attempt(state, instance, check=check)
            if not solution.found or limit == 0:
                return Filled(state, tuple(added), solution.failures)
            named = msgspec.structs.replace(instance, name=f"new-{len(added)}")
            secondary = solution.nodes[1] if len(solution.nodes) > 1 else NO_NODE
            state.add(named, solution.nodes[0], secondary)
            added.append(named)
            limit = None if limit is None else limit - 1

    def _pack(self, start: Filled, instance: Instance, limit: int | None) -> Filled:
        """The same for DRBD without checks; only the reasons in the end need all candidates."""
        options = self.options
        first = appraise(start.placement, instance, self.nodes, options)
        if not first.successes or limit == 0:
            sizes = Counter(start.placement.frame.group[self.nodes].tolist())
            if max(sizes.values(), default=0) < 2:
                raise Unplaced("Not enough online nodes")
            return Filled(start.placement, start.added, first.failures)
        state = start.placement.copy()
        packer = Packer(state, all_nodes(state), instance, self.nodes, options)
        count = packer.fill(limit, start.count)
        added = (*start.added, *state.instances[len(state.instances) - count :])
        return Filled(state, added, appraise(state, instance, self.nodes, options).failures)

    def fill_tiered(self, start: Filled, instance: Instance, limit: int | None) -> Filled:
        """Add as many as fit, and smaller ones where the size no longer does.

        What most candidates fail by shrinks by one unit until something fits again. If that leads
        nowhere, each reason in turn (the most frequent first) is tried alone.
        """
        found = self.fill(start, instance, limit)
        while limit is None or limit > found.count:
            levels = [(found, instance, limit)]
            further = self._shrink(levels)
            if further is None:
                further = self._other_ways(levels)
            if further is None:
                return found
            found, instance, limit = further
        return found

    def _shrink(self, levels: list[Level]) -> Level | None:
        """Shrink by the main reason until instances fit; None if they never do.

        Notes in `levels` each size after which the reasons change: sizes between fail alike.
        """
        while True:
            found, instance, limit = levels[-1]
            if limit is not None and limit <= found.count:
                return None
            same, smaller = self._run(found.placement, instance, _main_reason(found.failures))
            if limit is None or not found.count:
                levels[-1] = (found, same, limit)
            else:
                # The limit shrinks with every size; take them one by one, as the original does.
                smaller = self._next(instance, _main_reason(found.failures))
            if smaller is None:
                return None
            left = None if limit is None else limit - found.count
            bigger = self.fill(found, smaller, left)
            if bigger.count > found.count:
                return bigger, smaller, left
            levels.append((bigger, smaller, left))

    @staticmethod
    def _next(instance: Instance, reason: FailMode) -> Instance | None:
        return shrunk(instance, reason) if shrinkable(instance, reason) else None

    def _run(
        self, placement: Placement, instance: Instance, reason: FailMode
    ) -> tuple[Instance, Instance | None]:
        """The smallest size that still fails for the same reasons, and the next one, if any.

        A limit of a node is crossed once and for good as an instance shrinks, so equal numbers of
        each reason at two sizes mean the same between them; a policy's bounds are not crossed.
        Where an instance fits but for global redundancy, a little less may pass that, too.
        """
        wanted = self._reasons(placement, instance)
        if wanted[0]:
            return instance, self._next(instance, reason)
        groups = set(placement.frame.group[self.nodes].tolist())
        policies = [placement.frame.cluster.groups[group].policy for group in groups]
        same, other = 0, steady_units(instance, reason, policies) + 1
        if other > 1 and self._reasons(placement, shrunk(instance, reason, other - 1)) == wanted:
            same = other - 1
        while other - same > 1:
            middle = (same + other) // 2
            if self._reasons(placement, shrunk(instance, reason, middle)) == wanted:
                same = middle
            else:
                other = middle
        last = shrunk(instance, reason, same) if same else instance
        return last, self._next(last, reason)

    def _reasons(self, placement: Placement, instance: Instance) -> tuple[int, ...]:
        found = appraise(placement, instance, self.nodes, self.options)
        return found.successes > 0, *(found.failures[mode] for mode in FailMode)

    def _other_ways(self, levels: list[Level]) -> Level | None:
        """Shrink by single reasons, the smallest instance first; None if nothing helps."""
        known: dict[tuple[Instance, FailMode], Instance | None] = {}
        for found, instance, limit in reversed(levels):
            # A reason that no candidate fails by is not tried, even if less of it would help (as
            # less memory does where only the loss of another node cannot be survived).
            seen = [mode for mode in FailMode if found.failures[mode]]
            for reason in sorted(seen, key=lambda mode: (-found.failures[mode], -mode)):
                smaller = self._suffices(found.placement, instance, reason, known)
                if smaller is None:
                    continue
                left = None if limit is None else limit - found.count
                bigger = self.fill(found, smaller, left)
                if bigger.count > found.count:
                    return bigger, smaller, left
        return None

    def _suffices(
        self,
        placement: Placement,
        instance: Instance,
        reason: FailMode,
        known: dict[tuple[Instance, FailMode], Instance | None],
    ) -> Instance | None:
        """The first shrinking by one reason alone that makes an instance fit.

        As in htools the very last size, which cannot shrink any more, is not tried. `known` holds
        the answers for sizes that were passed before: without it time is quadratic in the steps.
        """
        check = self.options.capacity_checks
        passed, answer = [instance], None
        smaller = self._next(instance, reason)
        while smaller is not None and shrinkable(smaller, reason):
            if (smaller, reason) in known:
                answer = known[smaller, reason]
                break
            solution = self.attempt(placement, smaller, check=check)
            if solution.found:
                answer = smaller
                break
            if not solution.failures[reason]:
                break
            passed.append(smaller)
            _, smaller = self._run(placement, smaller, reason)
        known.update(((one, reason), answer) for one in passed)
        return answer


def _main_reason(failures: Counter[FailMode]) -> FailMode:
    """The most frequent reason; of equally frequent ones the last."""
    return max(FailMode, key=lambda mode: (failures[mode], mode))


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over all nodes, for reports. MiB, counts, ratios."""

    score: float
    instances: int
    total_memory: float
    free_memory: int
    available_memory: int
    used_memory: int
    overhead_memory: int
    total_disk: float
    free_disk: int
    available_disk: int
    used_disk: int
    total_spindles: int
    free_spindles: int
    used_spindles: int
    cpus: float
    used_vcpus: int
    max_vcpus: int
    used_cpus: float  # virtual ones by the ratio of their node
    most_memory: int  # available on one node
    most_disk: int


def totals(placement: Placement) -> Totals:
    """Sum up the nodes of a cluster."""
    frame, state = placement.frame, placement
    memory = np.maximum(0, state.unallocated - state.reserve)
    disk = np.where(state.free_disk < frame.low_disk, 0, state.free_disk - frame.low_disk)
    used_cpus = 0.0
    for node in range(frame.size):
        used_cpus += int(state.used_cpus[node]) / max(float(frame.vcpu_ratio[node]), 1e-300)
    total_disk = float(frame.total_disk.sum())
    return Totals(
        score=metrics.score(placement, all_nodes(placement)),
        instances=int(state.primary_count.sum()),
        total_memory=float(frame.total_memory.sum()),
        free_memory=int(state.unallocated.sum()),
        available_memory=int(memory.sum()),
        used_memory=int((frame.capacity - state.unallocated).sum()),
        overhead_memory=int((frame.missing_memory + frame.node_memory).sum()),
        total_disk=total_disk,
        free_disk=int(state.free_disk.sum()),
        available_disk=int(disk.sum()),
        used_disk=int((frame.total_disk.astype(np.int64) - state.free_disk).sum()),
        total_spindles=int(frame.spindles.sum()),
        free_spindles=int(state.free_spindles.sum()),
        used_spindles=int((frame.spindles - state.free_spindles).sum()),
        cpus=float(frame.cpus.sum()),
        used_vcpus=int(state.used_cpus.sum()),
        max_vcpus=int(frame.high_cpu.sum()),
        used_cpus=used_cpus,
        most_memory=int(memory.max(initial=0)),
        most_disk=int(disk.max(initial=0)),
    )


__all__ = ["Filled", "Filler", "Totals", "Unplaced", "totals"]
