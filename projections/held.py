"""What the configuration knows of open opcodes: the rules between the two projections (pure).

Decisions read the configuration and nothing else. What they must know of other opcodes therefore
stands there too, under (job, opcode), and nowhere else is the queue seen in it:

    op.planned               what the plan reserves, instead of what the one before it did
    op.parked                that it needs attention, and what is left where
    op.resolved              it goes on; if it is accepted as it is, `op.failed` follows at once
    op.succeeded, op.failed, op.canceled        nothing any more
"""

from __future__ import annotations

from typing import Any

from eventstore.record import Event, Record
from projections.cluster import Cluster
from projections.events import jobs as ev
from projections.job_table import Jobs, job_id_of
from projections.unsettled import Parked

ENDS: frozenset[type[Event]] = frozenset({ev.OpSucceeded, ev.OpFailed, ev.OpCanceled})
HOLDS: frozenset[type[Event]] = ENDS | {ev.OpPlanned, ev.OpParked, ev.OpResolved}


def with_held(cluster: Cluster, jobs: Jobs, event: Any, record: Record) -> Cluster:
    """Return the configuration after one of `HOLDS` was folded into `jobs`. Any: one of them.

    Raises CorruptHistory if a name is reserved that another opcode has reserved.
    """
    kind = type(event)
    if kind in ENDS and not cluster.reserved and not cluster.parked:
        return cluster  # nothing to free: the way of most replays
    job, op = job_id_of(record), event.op
    if kind is ev.OpPlanned:
        return cluster.reserve((job, op), event.plan.reserves)
    if kind is ev.OpParked:
        summary = jobs.open[job].ops[op].summary
        parked = Parked(summary=summary, message=event.message, left=event.left)
        return cluster.with_parked((job, op), parked)
    if kind is ev.OpResolved:
        return cluster.with_parked((job, op), None)
    return cluster.release((job, op)).with_parked((job, op), None)
