"""The records of a node's stream that its agent acts on, and what it reads of them (pure)."""

from __future__ import annotations

import msgspec

from eventstore.packed import Packed

TASK_REQUESTED = "task.requested"  # kinds of records in the node's stream that the agent acts on
DUTY_REQUESTED = "node.duty-requested"  # an undo of a job that is over, once more; read as a task
TASK_WITHDRAW_REQUESTED = "task.withdraw-requested"
TASK_ENDS = ("task.done", "task.failed", "task.withdrawn")  # the outbox may forget the result


class TaskOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent reads of a `task.requested`; its other fields are the leader's business."""

    task: str
    call: Packed
    resource: str
    timeout_s: float


class TaskNamed(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent reads of the other `task.` records."""

    task: str
