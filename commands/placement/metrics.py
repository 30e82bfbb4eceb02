"""The score of a cluster: a weighted sum of twenty statistics over its nodes; lower is better.

Standard deviations (divided by n) and sums run over the online nodes, the two offline counts over
the offline ones. Sums are made one node after the other, in node order, because htools does so:
two moves that are equal on paper differ in the last bit there, and that bit decides which is made.
`np.add.reduce` over the outer axis of an array with more than one column does exactly that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from commands.placement.frame import Floats, Ints
from commands.placement.state import Placement

STD, SUM, OFFLINE, PAIRS = "std", "sum", "offline", "pairs"


@dataclass(frozen=True, slots=True)
class Metric:
    """One statistic: its name and weight, as Ganeti prints them, and how it is aggregated."""

    name: str
    weight: float
    kind: str


RESERVED_WEIGHT: Final = 0.25
METRICS: Final = (
    Metric("free_mem_cv", 0.5, STD),
    Metric("free_disk_cv", 0.5, STD),
    Metric("n1_cnt", 1, SUM),
    Metric("reserved_mem_cv", 1, STD),
    Metric("offline_all_cnt", 4, OFFLINE),
    Metric("offline_pri_cnt", 16, OFFLINE),
    Metric("vcpu_ratio_cv", 0.5, STD),
    Metric("cpu_load_cv", 1, STD),
    Metric("mem_load_cv", 1, STD),
    Metric("disk_load_cv", 1, STD),
    Metric("net_load_cv", 1, STD),
    Metric("pri_tags_score", 2, SUM),
    Metric("spindles_cv", 0.5, STD),
    Metric("free_mem_cv_forth", 0.5, STD),
    Metric("free_disk_cv_forth", 0.5, STD),
    Metric("vcpu_ratio_cv_forth", 0.5, STD),
    Metric("spindles_cv_forth", 0.5, STD),
    Metric("location_score", 1, SUM),
    Metric("location_exclusion_score", 1, PAIRS),
    Metric("reserved_mem_rtotal", RESERVED_WEIGHT, SUM),
)

#: Columns of the per-node values behind the standard deviations, in the order of METRICS.
STD_NAMES: Final = tuple(metric.name for metric in METRICS if metric.kind == STD)
COLUMNS: Final = {name: column for column, name in enumerate(STD_NAMES)}
STD_WEIGHTS: Final = np.array([metric.weight for metric in METRICS if metric.kind == STD])
RESERVED: Final = COLUMNS["reserved_mem_cv"]


def ratio(amount: Ints | Floats, total: Floats) -> Floats:
    """Divide; nothing of nothing is nothing, as on a node without spindles."""
    if total.all():
        whole: Floats = amount / total
        return whole
    out = np.zeros(np.broadcast_shapes(amount.shape, total.shape))
    np.divide(amount, total, out=out, where=total != 0)
    return out


def disk_ratio(placement: Placement, nodes: Ints, disk: Ints, spindles: Ints) -> Floats:
    """Free disk as a part of all disk, or of spindles with exclusive storage; 1 without any."""
    frame = placement.frame
    exclusive = frame.exclusive[nodes]
    if not exclusive.any() and frame.total_disk[nodes].all():
        whole: Floats = disk / frame.total_disk[nodes]
        return whole
    free = np.where(exclusive, spindles, disk)
    total = np.where(exclusive, frame.spindles[nodes], frame.total_disk[nodes])
    out = np.ones(np.broadcast_shapes(free.shape, total.shape))
    np.divide(free, total, out=out, where=total != 0)
    return out


def values(placement: Placement, nodes: Ints) -> Floats:
    """Per-node values behind the standard deviations: one row per node, one column per metric."""
    frame, state = placement.frame, placement
    memory, cpus, speed = frame.total_memory[nodes], frame.cpus[nodes], frame.cpu_speed[nodes]
    limit = frame.high_spindles[nodes]
    out = np.empty((len(nodes), len(STD_NAMES)))
    columns = (
        ratio(state.unallocated[nodes], memory),
        disk_ratio(state, nodes, state.free_disk[nodes], state.free_spindles[nodes]),
        ratio(state.reserve[nodes], memory),
        ratio(ratio(state.used_cpus[nodes], cpus), speed),
        *state.load[nodes].T,
        ratio(state.inst_spindles[nodes], limit),
        ratio(state.free_memory_f[nodes], memory),
        disk_ratio(state, nodes, state.free_disk_f[nodes], state.free_spindles_f[nodes]),
        ratio(ratio(state.used_cpus_f[nodes], cpus), speed),
        ratio(state.inst_spindles_f[nodes], limit),
    )
    for column, found in enumerate(columns):
        out[:, column] = found
    return out


def deviations(per_node: Floats) -> tuple[Floats, Floats]:
    """Standard deviations and sums over axis 0, summed one after the other.

    `per_node` has at least two axes, and more than one column in the others.
    """
    count = len(per_node)
    total = np.add.reduce(per_node, axis=0)
    centred = per_node - total / count
    spread: Floats = np.sqrt(np.add.reduce(centred * centred, axis=0) / count)
    return spread, total


def n1_count(placement: Placement, online: Ints) -> int:
    """Instances on online nodes that fail N+1."""
    failing = online[placement.fails_n1(online)]
    return int((placement.primary_count[failing] + placement.secondary_count[failing]).sum())


def conflicts(placement: Placement, nodes: Ints) -> Ints:
    """Per node, primaries beyond the first of each exclusion tag."""
    counts = placement.tag_counts[nodes]
    beyond: Ints = counts.sum(axis=1) - np.count_nonzero(counts, axis=1)
    return beyond


def location_pairs(placement: Placement, online: Ints) -> Ints:
    """How many primaries of each exclusion tag sit in each failure domain."""
    located = placement.frame.located[online].astype(np.int64)
    pairs: Ints = located.T @ placement.real_tag_counts[online]
    return pairs


def split_online(placement: Placement, scope: Ints) -> tuple[Ints, Ints]:
    """The online and the offline nodes of a scope, in order."""
    offline = placement.frame.offline[scope]
    return scope[~offline], scope[offline]


def group_scope(placement: Placement, group: int) -> Ints:
    """The nodes of a group."""
    return np.flatnonzero(placement.frame.group == group)


def bad_items(placement: Placement, scope: Ints) -> tuple[Ints, set[int]]:
    """Online nodes that fail N+1, and the instances on them."""
    online, _ = split_online(placement, scope)
    bad = online[placement.fails_n1(online)]
    found: set[int] = set()
    for node in bad:
        found.update(placement.primaries[node], placement.secondaries[node])
    return bad, found


def detail(placement: Placement, scope: Ints) -> list[float]:
    """Every statistic, unweighted, in the order of METRICS.

    All are zero if no node is online: there is nothing to balance then.
    """
    online, offline = split_online(placement, scope)
    if not len(online):
        return [0.0] * len(METRICS)
    spread, total = deviations(values(placement, online))
    pairs = location_pairs(placement, online)
    primaries = int(placement.primary_count[offline].sum())
    sums = {
        "n1_cnt": n1_count(placement, online),
        "offline_all_cnt": primaries + int(placement.secondary_count[offline].sum()),
        "offline_pri_cnt": primaries,
        "pri_tags_score": int(conflicts(placement, online).sum()),
        "location_score": int(placement.location_score[online].sum()),
        "location_exclusion_score": int(pairs.sum() - np.count_nonzero(pairs)),
        "reserved_mem_rtotal": float(total[RESERVED]),
    }
    return [
        float(spread[COLUMNS[metric.name]] if metric.kind == STD else sums[metric.name])
        for metric in METRICS
    ]


def weighted(statistics: list[float]) -> float:
    """The score from all statistics, summed in their order."""
    score = 0.0
    for metric, value in zip(METRICS, statistics, strict=True):
        score += metric.weight * value
    return score


def score(placement: Placement, scope: Ints) -> float:
    """The score of the nodes in `scope`."""
    return weighted(detail(placement, scope))


def lower_bound(placement: Placement, scope: Ints) -> float:
    """What reserved memory costs at best: a cluster with DRBD never scores below this.

    With D the memory of all secondaries, T the total and M the largest node, each node would
    keep D / (T - M) at least in the mean: 0.25 * (D / (T - M) - D / T). 0 below two nodes.
    """
    memory = placement.frame.total_memory[scope]
    rest = memory.sum() - memory.max() if len(scope) > 1 else 0.0
    if rest <= 0:
        return 0.0
    kept = float(placement.peers[scope].sum())
    return RESERVED_WEIGHT * (kept / float(rest) - kept / float(memory.sum()))
