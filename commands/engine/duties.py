"""What nodes owe after the job is over: the undo of something (pure).

    owed ------- the agent did it -----------------------------> done     (node.duty-done)
                 the agent could not --------------------------> failed   (node.duty-failed)
                 withdrawn before it ran ----------------------> owed, as a new task
    failed ----- the node returns, or follows a new leader,
                 or `gnt-job resolve --retry` -----------------> owed, as a new task
    owed, failed `gnt-job resolve --accept`: it is void -------> done

A duty is tried with the call of the undo, which is right however often it is made. Its first task
is the undo's own, in the stream of the node; a later one is a `node.duty-requested`, because the
job is over and takes no tasks any more. It is withdrawn before it ran only if the undo was given up
before its node was: then nothing speaks against it, so it is asked for again at once.

What fails is not tried again by the clock, nor with each promise, of which an agent may make many:
what would help (a node that was away for repair, a person) shows itself. `gnt-cluster verify` lists
what is owed, and why it failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import assert_never

from commands.engine.results import TaskFact
from eventstore.record import Batch, Draft, Event
from projections.cluster import Cluster
from projections.events.configuration import DutyDone, DutyFailed, DutyRequested
from projections.events.jobs import (
    TaskDone,
    TaskFailed,
    TaskRuns,
    TaskWithdrawn,
    TaskWithdrawRequested,
)
from projections.unsettled import Duty

ACTOR = "master"
WAITS = (
    "job {0} has ended; its nodes do what they owe when they return. What failed there can be "
    "tried again (--retry), what is owed be accepted as it is (--accept)"
)


def find(cluster: Cluster, node: str, task: str) -> tuple[str, Duty] | None:
    """Return the duty of a node whose present try this task is, with its id."""
    for duty, owed in cluster.duties.items():
        if owed.task == task and owed.node == node:
            return duty, owed
    return None


def what_follows(duty: str, owed: Duty, fact: TaskFact) -> Event | None:
    """Return what the end of a try means for the duty; None: it is still at it."""
    match fact:
        case TaskDone():
            return DutyDone(node=owed.node, duty=duty)
        case TaskFailed():
            return DutyFailed(node=owed.node, duty=duty, message=fact.message)
        case TaskWithdrawn():
            return _requested(duty, owed) or DutyFailed(
                node=owed.node, duty=duty, message="it was given up before it ran"
            )
        case TaskRuns():
            return None
    assert_never(fact)


def again(cluster: Cluster, node: str) -> Batch | None:
    """Return the next try of what the node could not do; None if there is nothing."""
    drafts = [
        _draft(owed, event, ACTOR, key=f"duty/{duty}/{event.attempt}")
        for duty, owed in sorted(cluster.duties.items())
        if owed.node == node and owed.failed and (event := _requested(duty, owed)) is not None
    ]
    return Batch(drafts=tuple(drafts)) if drafts else None


def of_job(cluster: Cluster, job: int) -> tuple[tuple[str, Duty], ...]:
    """Return what a job has left to be done, with the ids."""
    return tuple((duty, owed) for duty, owed in sorted(cluster.duties.items()) if owed.job == job)


def resolve(duties: Iterable[tuple[str, Duty]], how: str, actor: str) -> list[Draft]:
    """Return a person's word about duties of an ended job: try again, or accept what is.

    Nothing, if none of them has failed and is to be tried again, or if they are to be "undone".
    """
    drafts: list[Draft] = []
    for duty, owed in duties:
        if how == "retry" and owed.failed and (event := _requested(duty, owed)) is not None:
            drafts.append(_draft(owed, event, actor))
        elif how == "accept":
            if not owed.failed:  # its task stands in the stream, and would be done some day
                withdrawn = TaskWithdrawRequested(task=owed.task, reason="accepted")
                drafts.append(_draft(owed, withdrawn, actor))
            drafts.append(_draft(owed, DutyDone(node=owed.node, duty=duty), actor))
    return drafts


def _requested(duty: str, owed: Duty) -> DutyRequested | None:
    """Return the next try; None for a duty that was recorded without its call."""
    if owed.call is None:
        return None
    attempt = owed.attempt + 1
    return DutyRequested(
        node=owed.node,
        duty=duty,
        task=hashlib.sha256(f"{duty}\0{attempt}".encode()).hexdigest()[:32],
        attempt=attempt,
        call=owed.call,
        resource=owed.resource,
        timeout_s=owed.timeout_s,
    )


def _draft(owed: Duty, event: Event, actor: str, *, key: str | None = None) -> Draft:
    return Draft(stream=f"node/{owed.node}", event=event, actor=actor, job=owed.job, key=key)
