"""Why an instance went where it went, or nowhere: every limit of every node, and the scores.

The result is plain data for programs and for the log; with the request and the state that it names,
a past decision can be made again and compared.
"""

from __future__ import annotations

import msgspec
import numpy as np

from commands.placement import metrics
from commands.placement.admission import admit_primary, admit_secondary
from commands.placement.frame import UNLIMITED, Demand, Ints
from commands.placement.insertion import PairScorer, single_scores
from commands.placement.model import FailMode, Instance, policy_violation
from commands.placement.state import Placement


class Limit(msgspec.Struct, frozen=True):
    """One limit of a node: what was asked, what was there, and how much was lacking (0: fits)."""

    name: str
    needed: float
    available: float
    lacking: float
    hard: bool  # holds even when soft errors are ignored


class Candidate(msgspec.Struct, frozen=True):
    """One node in one role."""

    node: str
    role: str  # primary, secondary
    fits: bool
    reason: str | None  # the first limit that failed, as Ganeti names it
    limits: tuple[Limit, ...]
    score: float | None  # of the cluster with the instance here, at best


class Explanation(msgspec.Struct, frozen=True):
    """All that a decision about one instance rests on."""

    instance: str
    memory_mib: int
    disk_mib: int
    vcpus: int
    template: str
    score_before: float
    score_after: float | None
    chosen: tuple[str, ...]
    candidates: tuple[Candidate, ...]


def explain(
    placement: Placement,
    scope: Ints,
    instance: Instance,
    nodes: Ints,
    chosen: tuple[int, ...],
) -> Explanation:
    """Explain the choice of `chosen` (empty: none) among `nodes`, in the state before it."""
    demand = placement.frame.demand(instance)
    best = _best_scores(placement, scope, instance, demand, nodes)
    found = [_primary(placement, instance, demand, int(node)) for node in nodes]
    candidates = [
        msgspec.structs.replace(one, score=best.get(int(node)) if one.fits else None)
        for node, one in zip(nodes, found, strict=True)
    ]
    if instance.mirrored:
        primary = chosen[0] if chosen else None
        candidates += [
            _secondary(placement, demand, int(node), primary) for node in nodes if node != primary
        ]
    after = None
    if chosen:
        trial = placement.copy()
        trial.add(instance, *chosen)
        after = metrics.score(trial, scope)
    return Explanation(
        instance=instance.name,
        memory_mib=instance.memory,
        disk_mib=instance.disk,
        vcpus=instance.vcpus,
        template=instance.template,
        score_before=metrics.score(placement, scope),
        score_after=after,
        chosen=tuple(placement.frame.names[node] for node in chosen),
        candidates=tuple(candidates),
    )


def _best_scores(
    placement: Placement, scope: Ints, instance: Instance, demand: Demand, nodes: Ints
) -> dict[int, float]:
    """The best score with each node as primary, whatever the limits of its partner."""
    if not len(nodes):
        return {}
    if not instance.mirrored:
        scores = single_scores(placement, scope, demand, nodes)
        return {int(node): float(score) for node, score in zip(nodes, scores, strict=True)}
    if len(nodes) < 2:
        return {}
    pairs = PairScorer(placement, scope).scores(demand, nodes)
    np.fill_diagonal(pairs, np.inf)
    return {int(node): float(row.min()) for node, row in zip(nodes, pairs, strict=True)}


def _limit(name: str, needed: float, available: float, *, hard: bool) -> Limit:
    lacking = max(0.0, float(needed) - float(available))
    return Limit(name, float(needed), float(available), lacking, hard)


def _storage(placement: Placement, demand: Demand, node: int) -> list[Limit]:
    if not demand.local:
        return []
    state, frame = placement, placement.frame
    free = int(min(state.free_disk[node], state.free_disk_f[node]))
    low = int(frame.low_disk[node])
    found = [_limit("disk MiB", demand.disk + 1, free, hard=True)]
    if low:
        found.append(_limit("disk MiB above the reserve", demand.disk, free - low, hard=False))
    if frame.exclusive[node]:
        spindles = int(min(state.free_spindles[node], state.free_spindles_f[node]))
        found.append(_limit("spindles", demand.spindles or 0, spindles, hard=True))
    else:
        used = max(float(state.inst_spindles[node]), float(state.inst_spindles_f[node]))
        left = float(frame.high_spindles[node]) - used
        found.append(_limit("spindle use", demand.spindle_use, left, hard=False))
    return found


def _primary(placement: Placement, instance: Instance, demand: Demand, node: int) -> Candidate:
    state, frame = placement, placement.frame
    free = int(state.unallocated[node])
    found = [_limit("memory MiB", demand.held + 1, free, hard=True)]
    if free > state.reserve[node]:
        kept = int(state.reserve[node])
        found.append(
            _limit("memory MiB above the N+1 reserve", demand.held + 1, free - kept, hard=False)
        )
    promised = int(state.free_memory_f[node])
    found.append(_limit("memory MiB not promised", demand.memory + 1, promised, hard=False))
    found += _storage(placement, demand, node)
    if frame.max_vcpus[node] < UNLIMITED:
        used = int(max(state.used_cpus[node], state.used_cpus_f[node]))
        left = int(frame.max_vcpus[node]) - used
        found.append(_limit("virtual CPUs", demand.vcpus, left, hard=False))
    clashing = sum(int(state.tag_counts[node, tag]) > 0 for tag in demand.tags)
    if demand.tags:
        found.append(_limit("exclusion tags in common", clashing, 0, hard=False))
    reason = policy_violation(
        instance, frame.policy(node), exclusive_storage=bool(frame.exclusive[node])
    )
    if reason is not None:
        found.append(_limit(f"policy of the group ({reason.label})", 1, 0, hard=True))
    else:
        reason = admit_primary(placement, node, demand)
    return _candidate(placement, node, "primary", found, reason)


def _secondary(placement: Placement, demand: Demand, node: int, primary: int | None) -> Candidate:
    state = placement
    free = int(state.unallocated[node])
    kept = int(state.reserve[node])
    with_primary = 0 if primary is None else int(state.peers[node, primary])
    found = [_limit("memory MiB", demand.reserved + 1, free, hard=False)]
    if free > kept:
        needed = max(kept, with_primary + demand.reserved) + 1
        found.append(_limit("memory MiB to be kept for N+1", needed, free, hard=False))
    found += _storage(placement, demand, node)
    reason = admit_secondary(placement, node, demand, node if primary is None else primary)
    return _candidate(placement, node, "secondary", found, reason)


def _candidate(
    placement: Placement, node: int, role: str, limits: list[Limit], reason: FailMode | None
) -> Candidate:
    label = None if reason is None else reason.label
    return Candidate(placement.frame.names[node], role, reason is None, label, tuple(limits), None)


def text_of(found: Explanation) -> str:
    """An explanation for people: one line per node and role."""
    size = f"{found.memory_mib} MiB memory, {found.disk_mib} MiB disk, {found.vcpus} vcpus"
    lines = [f"{found.instance} ({found.template}): {size}"]
    for one in found.candidates:
        short = [_lacking(limit) for limit in one.limits if limit.lacking]
        verdict = "fits" if one.fits else f"refused, {one.reason}"
        score = "" if one.score is None else f", score {one.score:.8f}"
        detail = f" ({'; '.join(short)})" if short else ""
        lines.append(f"  {one.node} as {one.role}: {verdict}{detail}{score}")
    chosen = "/".join(found.chosen) or "nowhere"
    after = "" if found.score_after is None else f" -> {found.score_after:.8f}"
    lines.append(f"  chosen: {chosen}, score {found.score_before:.8f}{after}")
    return "\n".join(lines) + "\n"


def _lacking(limit: Limit) -> str:
    if limit.available == 0 and limit.name.startswith(("exclusion", "policy")):
        return f"{limit.name}: {limit.needed:g} where none is allowed"
    return f"{limit.name}: {limit.lacking:g} too few"
