"""Facts about jobs: submitted, started, planned, each step, the end.

Stream `job/<id>`; tasks stand in the stream of their node (`node/<uuid>`), which its agent follows,
and bear the job's id.

An opcode of a job ends in exactly one of: succeeded, failed, canceled, or it is parked and waits
for a person. The job's own status is derived from its opcodes' (`projections/jobs.py`).
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from eventstore.packed import Packed
from eventstore.record import Event
from nodeagent.calls import TASK_REQUESTED, TASK_WITHDRAW_REQUESTED
from projections.plans import Plan


class Lock(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A lock: `cluster`, `group/<uuid>`, `node/<uuid>`, `instance/<uuid>`, `name/<name>`."""

    name: str
    shared: bool = False


class Dependency(msgspec.Struct, frozen=True, array_like=True):
    """An earlier job that must have ended in one of these states (empty: success)."""

    job: int
    status: tuple[str, ...] = ()


class JobSubmitted(Event, frozen=True, kw_only=True):
    """A job is in the queue."""

    KIND: ClassVar[str] = "job.submitted"
    ops: tuple[Packed, ...]
    summaries: tuple[str, ...]  # for people, one per opcode: INSTANCE_CREATE(web1)
    priority: int = 0  # as Ganeti's: -20 highest, 19 lowest
    depends: tuple[tuple[Dependency, ...], ...] = ()  # per opcode; () = none anywhere
    reason: tuple[tuple[str, str, int], ...] = ()  # Ganeti's trail: source, text, unix ns


class JobPrioritySet(Event, frozen=True, kw_only=True):
    """The job's opcodes that have not started have another priority."""

    KIND: ClassVar[str] = "job.priority-set"
    priority: int


class JobCancelRequested(Event, frozen=True, kw_only=True):
    """Someone wants the job to end. What runs is withdrawn or drained, then undone."""

    KIND: ClassVar[str] = "job.cancel-requested"


class JobArchived(Event, frozen=True, kw_only=True):
    """The ended job is no longer listed; the log keeps it."""

    KIND: ClassVar[str] = "job.archived"


class OpBlocked(Event, frozen=True, kw_only=True):
    """The opcode waits for locks that others hold or have asked for before it."""

    KIND: ClassVar[str] = "op.blocked"
    op: int
    locks: tuple[Lock, ...]
    behind: tuple[int, ...]  # jobs


class OpStarted(Event, frozen=True, kw_only=True):
    """The opcode has its locks, all of them. A replay never computes them again."""

    KIND: ClassVar[str] = "op.started"
    op: int
    handler: int  # version of the handler that decides from here on
    locks: tuple[Lock, ...] = ()


class OpPlanned(Event, frozen=True, kw_only=True):
    """The handler has decided: this plan, from these given values (commands/given.py)."""

    KIND: ClassVar[str] = "op.planned"
    op: int
    number: int  # 0 for the first plan of the opcode
    plan: Plan
    given: msgspec.Raw


class StepRecorded(Event, frozen=True, kw_only=True):
    """The facts of a record step (or of its undo) stand in the same batch as this."""

    KIND: ClassVar[str] = "step.recorded"
    op: int
    plan: int
    step: str
    undo: bool = False


class WaitStarted(Event, frozen=True, kw_only=True):
    """A wait step began. Time within a reign is CLOCK_BOOTTIME's; see architecture.md, 6."""

    KIND: ClassVar[str] = "wait.started"
    op: int
    plan: int
    step: str


class WaitFired(Event, frozen=True, kw_only=True):
    """A wait step ended: its time is over, or its condition holds; or it ran out (not `held`)."""

    KIND: ClassVar[str] = "wait.fired"
    op: int
    plan: int
    step: str
    held: bool = True


class TaskRequested(Event, frozen=True, kw_only=True):
    """A node is to carry out a call. Stream of that node."""

    KIND: ClassVar[str] = TASK_REQUESTED
    task: str  # plans.task_id
    op: int
    plan: int
    step: str
    call: Packed
    resource: str
    timeout_s: float
    undo: bool = False
    attempt: int = 1


class TaskWithdrawRequested(Event, frozen=True, kw_only=True):
    """The leader gives the task up (timeout, cancel) and wants to know what became of it."""

    KIND: ClassVar[str] = TASK_WITHDRAW_REQUESTED
    task: str
    reason: str  # timeout, cancel


class TaskDone(Event, frozen=True, kw_only=True):
    """The call's wanted result holds. `result` at most 64 KiB; the rest stays on the node."""

    KIND: ClassVar[str] = "task.done"
    task: str
    result: msgspec.Raw = msgspec.Raw(b"\xc0")
    duration_ms: int = 0


class TaskFailed(Event, frozen=True, kw_only=True):
    """The call failed: `failure` is nodeagent/calls `Failure`, as MessagePack."""

    KIND: ClassVar[str] = "task.failed"
    task: str
    code: str
    message: str
    retry: bool = False
    failure: msgspec.Raw = msgspec.Raw(b"\xc0")
    duration_ms: int = 0


class TaskRuns(Event, frozen=True, kw_only=True):
    """The agent's answer to a withdrawal: too late to stop it; the end follows."""

    KIND: ClassVar[str] = "task.runs"
    task: str


class TaskWithdrawn(Event, frozen=True, kw_only=True):
    """The agent's answer to a withdrawal: the task never ran and never will."""

    KIND: ClassVar[str] = "task.withdrawn"
    task: str


class StepGivenUp(Event, frozen=True, kw_only=True):
    """Nobody answers for a step (or for its undo): its node is lost, offline or gone.

    A do that was sent may have had an effect, so it has failed and counts for the undo; one that
    was never sent has failed too. An undo has become a duty of its node (`node.duty-recorded`).
    """

    KIND: ClassVar[str] = "step.given-up"
    op: int
    plan: int
    step: str
    code: str
    message: str
    undo: bool = False
    hint: str = ""


class OpUndoing(Event, frozen=True, kw_only=True):
    """The opcode goes back: a step failed for good, or it was canceled."""

    KIND: ClassVar[str] = "op.undoing"
    op: int
    code: str  # of the failure; "canceled"
    message: str
    step: str = ""
    hint: str = ""
    details: msgspec.Raw = msgspec.Raw(b"\xc0")  # nodeagent/calls Failure, if a node told it


class OpFeedback(Event, frozen=True, kw_only=True):
    """A line for the person who waits; at most one a second a step, 4 KiB."""

    KIND: ClassVar[str] = "op.feedback"
    op: int
    text: str
    step: str = ""
    percent: float | None = None
    eta_s: float | None = None


class OpSucceeded(Event, frozen=True, kw_only=True):
    """The opcode is done; its locks are free."""

    KIND: ClassVar[str] = "op.succeeded"
    op: int
    result: msgspec.Raw = msgspec.Raw(b"\xc0")


class OpFailed(Event, frozen=True, kw_only=True):
    """The opcode was refused, or failed and was undone; its locks are free."""

    KIND: ClassVar[str] = "op.failed"
    op: int
    code: str
    message: str
    hint: str = ""
    details: msgspec.Raw = msgspec.Raw(b"\xc0")
    step: str = ""  # that failed; "": it was refused


class OpCanceled(Event, frozen=True, kw_only=True):
    """The opcode ended because someone asked for it; what it had done was undone."""

    KIND: ClassVar[str] = "op.canceled"
    op: int


class OpParked(Event, frozen=True, kw_only=True):
    """An undo failed, or there is no way back: the opcode keeps its locks, waits for a person."""

    KIND: ClassVar[str] = "op.parked"
    op: int
    code: str
    message: str
    left: tuple[str, ...] = ()  # what is left where, for people


class OpResolved(Event, frozen=True, kw_only=True):
    """A person decided about a parked opcode."""

    KIND: ClassVar[str] = "op.resolved"
    op: int
    how: str  # retry, accept, undo


JobEvent = (
    JobSubmitted
    | JobPrioritySet
    | JobCancelRequested
    | JobArchived
    | OpBlocked
    | OpStarted
    | OpPlanned
    | StepRecorded
    | WaitStarted
    | WaitFired
    | TaskRequested
    | TaskWithdrawRequested
    | TaskDone
    | TaskFailed
    | TaskRuns
    | TaskWithdrawn
    | StepGivenUp
    | OpUndoing
    | OpFeedback
    | OpSucceeded
    | OpFailed
    | OpCanceled
    | OpParked
    | OpResolved
)
