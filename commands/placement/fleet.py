"""The demands of all instances as arrays, and what a single move would add or take away.

`Fleet` is what the evaluators of moves read beside a `Placement`. Amounts named `real_*` are zero
for forthcoming instances, which only count in the "forth" statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from commands.placement.frame import Bools, Floats, Ints
from commands.placement.metrics import location_pairs
from commands.placement.model import Mirror
from commands.placement.state import Placement


@dataclass(slots=True)
class Fleet:
    """Demands by instance; rebuild when instances are added."""

    memory: Ints
    held: Ints
    reserved: Ints  # zero for forthcoming instances
    disk: Ints
    real_disk: Ints
    vcpus: Ints
    real_vcpus: Ints
    spindle_use: Ints  # zero without local storage
    real_spindle_use: Ints
    spindles: Ints  # zero where unknown
    real_spindles: Ints
    spindles_known: Bools
    load: Floats  # zero for forthcoming instances
    real: Bools
    local: Bools
    internal: Bools
    external: Bools
    unmet: Ints
    tags: Ints  # [instance, tag] 0 or 1
    wanted: Ints  # [instance, location] 0 or 1


def build_fleet(placement: Placement) -> Fleet:
    """Gather the demands of all instances."""
    return _gather(placement, range(len(placement.instances)))


def build_part(placement: Placement, rows: Sequence[int]) -> Fleet:
    """`build_fleet` with the demands of some instances only; the rows of the others are zero.

    For those who ask about few instances of many, often: the demands are what takes the time.
    """
    found, size = _gather(placement, rows), len(placement.instances)

    def whole(part: npt.NDArray[Any]) -> npt.NDArray[Any]:  # of numbers or booleans, as it is
        out = np.zeros((size, *part.shape[1:]), dtype=part.dtype)
        out[rows] = part
        return out

    return Fleet(**{one.name: whole(getattr(found, one.name)) for one in fields(Fleet)})


def _gather(placement: Placement, rows: Sequence[int]) -> Fleet:
    frame = placement.frame
    items = [placement.instances[index] for index in rows]
    demands = [placement.demand(index) for index in rows]

    def ints(values: list[int]) -> Ints:
        return np.array(values, dtype=np.int64)

    real = np.array([not demand.forthcoming for demand in demands], dtype=np.bool_)
    disk = ints([demand.disk for demand in demands])
    vcpus = ints([demand.vcpus for demand in demands])
    use = ints([demand.spindle_use if demand.local else 0 for demand in demands])
    spindles = ints([demand.spindles or 0 for demand in demands])
    load = np.array([demand.load for demand in demands], dtype=np.float64).reshape(-1, 4)
    mirrors = [item.mirror for item in items]
    tags = np.zeros((len(items), len(frame.tag_names)), dtype=np.int64)
    wanted = np.zeros((len(items), len(frame.location_names)), dtype=np.int64)
    for index, demand in enumerate(demands):
        tags[index, list(demand.tags)] = 1
        wanted[index, list(demand.wanted)] = 1
    return Fleet(
        memory=ints([demand.memory for demand in demands]),
        held=ints([demand.held for demand in demands]),
        reserved=ints([demand.reserved for demand in demands]) * real,
        disk=disk,
        real_disk=disk * real,
        vcpus=vcpus,
        real_vcpus=vcpus * real,
        spindle_use=use,
        real_spindle_use=use * real,
        spindles=spindles,
        real_spindles=spindles * real,
        spindles_known=np.array([demand.spindles is not None for demand in demands], dtype=bool),
        load=load * real[:, None],
        real=real,
        local=np.array([demand.local for demand in demands], dtype=np.bool_),
        internal=np.array([mirror is Mirror.INTERNAL for mirror in mirrors], dtype=np.bool_),
        external=np.array([mirror is Mirror.EXTERNAL for mirror in mirrors], dtype=np.bool_),
        unmet=ints([demand.unmet for demand in demands]),
        tags=tags,
        wanted=wanted,
    )


@dataclass(slots=True)
class TagCosts:
    """The tag terms of the score, as functions of where a primary goes.

    A move changes them through its new primary, and through the pair of nodes (shared failure
    domains) alone. All arrays are small integers held as floats, so products are exact.
    """

    placement: Placement
    fleet: Fleet
    online: Floats  # 1 for online nodes, by node
    located: Floats
    pairs_any: Floats  # [location, tag]: the pair occurs
    pairs_more: Floats  # ... at least twice

    def conflicts(self, rows: Ints, targets: Ints) -> Floats:
        """Change of `pri_tags_score` when instances `rows` become primaries of `targets`."""
        if not self.placement.frame.tag_names:
            return np.zeros(len(rows))
        source = np.array(self.placement.primary, dtype=np.int64)[rows]
        tags, counts = self.fleet.tags[rows], self.placement.tag_counts
        more = (tags * (counts[targets] >= 1)).sum(axis=1) * self.online[targets]
        less = (tags * (counts[source] >= 2)).sum(axis=1) * self.online[source]
        change: Floats = np.where(source == targets, 0, more - less).astype(np.float64)
        return change

    def pairs(self, rows: Ints, targets: Ints) -> Floats:
        """Change of `location_exclusion_score`, flat pairs as above."""
        frame = self.placement.frame
        if not (frame.tag_names and frame.location_names):
            return np.zeros(len(rows))
        source = np.array(self.placement.primary, dtype=np.int64)[rows]
        tags = (self.fleet.tags[rows] * self.fleet.real[rows][:, None]).astype(np.float64)
        once, more = tags @ self.pairs_any.T, tags @ self.pairs_more.T
        leaving = self.located[source] * self.online[source][:, None]
        coming = self.located[targets] * self.online[targets][:, None]
        change = (coming * (1 - leaving) * once - leaving * (1 - coming) * more).sum(axis=1)
        return np.where(source == targets, 0, change)

    def unmet(self, rows: Ints, targets: Ints) -> Floats:
        """Change of the wanted locations that are not met, flat pairs as above."""
        if not self.placement.frame.desired:
            return np.zeros(len(rows))
        source = np.array(self.placement.primary, dtype=np.int64)[rows]
        return self._unmet(rows, targets) - self._unmet(rows, source)

    def shared(self, rows: Ints, primaries: Ints, secondaries: Ints) -> Floats:
        """Change of the failure domains that the two nodes share, flat triples."""
        if not self.placement.frame.location_names:
            return np.zeros(len(rows))
        pri = np.array(self.placement.primary, dtype=np.int64)[rows]
        sec = np.array(self.placement.secondary, dtype=np.int64)[rows]
        before = (self.located[pri] * self.located[sec]).sum(axis=1) * (sec >= 0)
        after = (self.located[primaries] * self.located[secondaries]).sum(axis=1)
        after = after * (secondaries >= 0)
        change: Floats = (after * self.online[primaries] - before * self.online[pri]) * (
            self.fleet.real[rows]
        )
        return change

    def _unmet(self, rows: Ints, nodes: Ints) -> Floats:
        fleet = self.fleet
        missing = fleet.unmet[rows] - (fleet.wanted[rows] * self.located[nodes]).sum(axis=1)
        cost: Floats = missing * self.online[nodes] * fleet.real[rows]
        return cost


def build_tag_costs(placement: Placement, fleet: Fleet, online: Ints) -> TagCosts | None:
    """Prepare the tag terms for the present state; None if no tag matters."""
    frame = placement.frame
    if not (frame.tag_names or frame.location_names or frame.desired):
        return None
    mask = np.zeros(frame.size)
    mask[online] = 1.0
    pairs = location_pairs(placement, online)
    return TagCosts(
        placement=placement,
        fleet=fleet,
        online=mask,
        located=frame.located.astype(np.float64),
        pairs_any=(pairs >= 1).astype(np.float64),
        pairs_more=(pairs >= 2).astype(np.float64),
    )
