"""How far the syncs are that a job waits for: what nodes have told last, for a person (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nodeagent.calls import DiskSeen, NodeStatus
from projections.cluster import Cluster
from projections.job_state import STEP_SENT, Job
from projections.plans import Condition, Wait


class Sync(NamedTuple):
    """A sync that is under way. `eta_s`: None where nobody knows."""

    percent: float
    eta_s: float | None


def sync_of(job: Job, cluster: Cluster, seen: Mapping[str, NodeStatus]) -> Sync | None:
    """Return the sync that is furthest from its end; None if the job waits for none."""
    found = [
        Sync(disk.sync_percent, disk.sync_eta_s)
        for condition in _awaited(job)
        for disk in _disks(condition, cluster, seen)
        if disk.state == "syncing" and disk.sync_percent is not None
    ]
    return min(found, default=None, key=lambda sync: sync.percent)


def _awaited(job: Job) -> Iterator[Condition]:
    for op in job.ops:
        for plan in op.plans[-1:]:
            for step, state in zip(plan.plan.steps, plan.steps, strict=True):
                if isinstance(step, Wait) and step.until and state.state == STEP_SENT:
                    yield step.until


def _disks(
    condition: Condition, cluster: Cluster, seen: Mapping[str, NodeStatus]
) -> Iterator[DiskSeen]:
    instance = cluster.instances.get(condition.subject)
    if instance is None or condition.kind != "disk-synced":
        return
    wanted = {disk.uuid for disk in instance.disks}
    if condition.argument:
        wanted &= {condition.argument}
    for node in instance.nodes:
        status = seen.get(node)
        yield from (disk for disk in (status.disks if status else ()) if disk.uuid in wanted)
