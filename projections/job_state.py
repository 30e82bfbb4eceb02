"""How a job stands: its opcodes, their plans, the steps (pure data).

All structs are frozen and plain, so that a snapshot is their MessagePack and a fold returns new
ones that share what did not change. None can refer to itself, so the cycle collector need not know
of them (`gc=False`): it does not walk open jobs, and folds do not pay for it.
`projections/plans.py` has the states of a step and who moves it on; `projections/jobs.py` is the
fold.
"""

from __future__ import annotations

import msgspec

from eventstore.packed import Packed
from projections.events.jobs import Dependency, Lock
from projections.plans import Call, Plan, Step

QUEUED = "queued"  # not started, nothing recorded that it waits for
WAITING = "waiting"  # not started: waits for locks
RUNNING = "running"
CANCELING = "canceling"  # goes back because somebody asked for it
CANCELED = "canceled"
SUCCESS = "success"
ERROR = "error"
NEEDS_ATTENTION = "needs-attention"  # parked, with its locks, until a person resolves it

NOT_STARTED = frozenset({QUEUED, WAITING})
ENDED = frozenset({CANCELED, SUCCESS, ERROR})

STEP_WAITING, STEP_READY, STEP_SENT, STEP_DONE, STEP_FAILED = (
    "waiting",
    "ready",
    "sent",
    "done",
    "failed",
)
UNDO_NONE, UNDO_SENT, UNDO_DONE, UNDO_FAILED, UNDO_DUTY = "", "sent", "done", "failed", "duty"

NIL = msgspec.Raw(b"\xc0")


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Why a step, an undo or an opcode did not do what it should. Codes: commands/errors.py."""

    code: str
    message: str
    hint: str = ""
    step: str = ""
    details: msgspec.Raw = NIL  # nodeagent/calls Failure, where an agent told it


class UndoState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The way back of one step. `duty`: its node is lost; it is done when the node returns."""

    state: str = UNDO_NONE
    attempt: int = 0  # how often it was sent
    base: int = 0  # `attempt` when it was last given new tries by a person
    task: str = ""
    sent_ms: int = 0
    withdraw: str = ""  # reason, once the leader has asked to give it up
    runs: bool = False  # the agent answered that it is too late to stop it
    problem: Problem | None = None


class StepState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One step. Times: ms since 1970 UTC, labels of records."""

    state: str = STEP_WAITING
    attempt: int = 0  # how often it was sent
    base: int = 0  # `attempt` when it was last given new tries by a person
    task: str = ""
    sent_ms: int = 0
    withdraw: str = ""
    runs: bool = False
    result: msgspec.Raw = NIL
    problem: Problem | None = None
    undo: UndoState = UndoState()


class PlanState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A plan and how far it is. `steps` stand in the order of `plan.steps`."""

    plan: Plan
    given: msgspec.Raw
    steps: tuple[StepState, ...]

    def position(self, step: str) -> int:
        """Return where a step stands. Raises KeyError if the plan has none of that id."""
        for at, known in enumerate(self.plan.steps):
            if known.id == step:
                return at
        raise KeyError(step)

    def satisfied(self, at: int) -> bool:
        """Say whether those that wait for this step may go on."""
        return is_satisfied(self.plan.steps[at], self.steps[at])

    @property
    def through(self) -> bool:
        """Whether every step is satisfied: the handler is to be asked again."""
        return all(map(is_satisfied, self.plan.steps, self.steps))


def is_satisfied(step: Step, state: StepState) -> bool:
    """Say whether a step has done what its successors wait for, or its failure is tolerated."""
    if state.state == STEP_DONE:
        return True
    return state.state == STEP_FAILED and isinstance(step, Call) and step.tolerate


class OpState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One opcode of a job."""

    op: Packed
    summary: str
    status: str = QUEUED
    handler: int = 0  # version, from `op.started` on
    locks: tuple[Lock, ...] = ()  # held, or waited for
    plans: tuple[PlanState, ...] = ()
    sent: tuple[
        tuple[int, str], ...
    ] = ()  # (plan, step) in the order in which they were first sent
    tasks: tuple[str, ...] = ()  # ids of all tasks ever requested for it
    final: bool = False  # a point of no return was sent
    undoing: bool = False
    problem: Problem | None = None  # why it goes back, failed, or is parked
    left: tuple[str, ...] = ()  # parked: what is left where, for people
    result: msgspec.Raw = NIL
    started_ms: int = 0
    ended_ms: int = 0

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.status in ENDED


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A feedback line. `serial` is the seq of its record."""

    serial: int
    time_ms: int
    op: int
    text: str
    step: str = ""
    percent: float | None = None
    eta_s: float | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A job. `serial` is the seq of the last record about it, `version` that of its stream."""

    id: int
    actor: str  # who submitted it
    ops: tuple[OpState, ...]
    priority: int = 0
    depends: tuple[tuple[Dependency, ...], ...] = ()
    dependencies: tuple[tuple[int, str], ...] = ()  # those that have ended, and how
    reason: tuple[tuple[str, str, int], ...] = ()
    cancel: bool = False
    archived: bool = False
    lines: tuple[Line, ...] = ()  # the last MAX_LINES
    received_ms: int = 0
    serial: int = 0
    version: int = 0

    @property
    def met(self) -> dict[int, str]:
        """The jobs it depends on that have ended, and how."""
        return dict(self.dependencies)

    @property
    def status(self) -> str:
        """Return the job's status, derived from its opcodes' as Ganeti does it.

        The first opcode that is not over decides; one that failed or was canceled decides for all.
        """
        for at, op in enumerate(self.ops):
            if op.status == SUCCESS:
                continue
            if op.status in NOT_STARTED and self.cancel:
                return CANCELING
            if op.status == QUEUED and at > 0:
                return WAITING  # between two opcodes: it has begun, and nothing runs
            return op.status
        return SUCCESS

    @property
    def current(self) -> int | None:
        """Return the index of the first opcode that is not over, None if all are."""
        for at, op in enumerate(self.ops):
            if not op.ended:
                return at
        return None

    @property
    def started_ms(self) -> int:
        """When its first opcode started, 0 if none has."""
        return self.ops[0].started_ms if self.ops else 0

    @property
    def ended_ms(self) -> int:
        """When its last opcode ended, 0 if one has not."""
        return max((op.ended_ms for op in self.ops), default=0) if self.current is None else 0
