"""How far a sync is, for whoever waits for the job that waits for it."""

from __future__ import annotations

import msgspec
import pytest

from commands.disks import wait_synced
from commands.master.syncing import Sync, sync_of
from eventstore.packed import Packed
from nodeagent.calls import DiskSeen
from projections.job_state import NIL, STEP_DONE, STEP_SENT, Job, OpState, PlanState, StepState
from projections.plans import Plan
from tests.commands.building import Town, node_uuid


@pytest.fixture
def town() -> Town:
    town = Town()
    town.add_instance(1, nodes=(2, 3), template="drbd", sizes_mib=(1024, 2048))
    return town


def job(town: Town, state: str = STEP_SENT) -> Job:
    """A job that waits for both disks of the instance."""
    plan = Plan(steps=wait_synced(town.cluster, town.instance(), (), indices=(0, 1)))
    states = tuple(StepState(state=state) for _ in plan.steps)
    op = OpState(
        op=Packed("OP_TEST", 1, NIL), summary="TEST", status="running",
        plans=(PlanState(plan=plan, given=NIL, steps=states),),
    )  # fmt: skip
    return Job(id=1, actor="operator:test", ops=(op,))


def test_the_sync_that_is_furthest_from_its_end_is_told(town: Town) -> None:
    """Of the disks that are waited for, on any node; what others sync is no matter."""
    first, second = town.instance().disks
    seen = {
        node_uuid(number): msgspec.structs.replace(
            town.status(node_uuid(number)),
            disks=(
                DiskSeen(first.uuid, "syncing", "", 80.0, 9.0),
                DiskSeen(second.uuid, "syncing", "", 40.5, 61.0),
                DiskSeen("another", "syncing", "", 1.0, 999.0),
            ),
        )
        for number in (2, 3)
    }
    assert sync_of(job(town), town.cluster, seen) == Sync(40.5, 61.0)
    assert sync_of(job(town, STEP_DONE), town.cluster, seen) is None
    assert sync_of(job(town), Town().cluster, seen) is None  # there is no such instance


def test_what_nobody_knows_is_not_told(town: Town) -> None:
    """A node that was not heard, a disk that does not sync yet, a sync without a number."""
    assert sync_of(job(town), town.cluster, {}) is None
    first, second = town.instance().disks
    disks = (DiskSeen(first.uuid, "degraded", "primary"), DiskSeen(second.uuid, "syncing", ""))
    status = msgspec.structs.replace(town.status(node_uuid(2)), disks=disks)
    assert sync_of(job(town), town.cluster, {node_uuid(2): status}) is None
