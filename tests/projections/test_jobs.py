"""The fold of the queue: states, contradictions, what is kept and what is forgotten."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from eventstore.packed import Packed
from eventstore.record import FORMAT, Event
from eventstore.record import Record as LogRecord
from projections.errors import CorruptHistory
from projections.events import jobs as ev
from projections.events.jobs import Dependency, Lock
from projections.job_state import Job
from projections.jobs import Jobs, ended_by, fold_jobs
from projections.op_folds import MAX_LINES, RECENT
from projections.plans import Call, Plan, Record, Reservations, Undo, Wait

NIL = msgspec.Raw(b"\xc0")
OP = Packed("OP_TEST_DELAY", 1, NIL)
CALL = Packed("probe", 1, NIL)
PLAN = Plan(
    steps=(
        Call(id="a", node="n1", call=CALL, attempts=2, undo=Undo(call=CALL)),
        Call(id="b", node="n2", call=CALL, after=("a",), tolerate=True),
        Record(id="c", facts=(), after=("a",)),
        Wait(id="d", after=("b", "c")),
    ),
    reserves=Reservations(names=("instance/x",)),
)


class Story:
    """A queue, and the records that made it."""

    def __init__(self) -> None:
        self.jobs = Jobs()
        self.before = Jobs()
        self.seq = 0
        self.versions: dict[str, int] = {}

    def say(self, event: Event, *, job: int = 1, stream: str = "") -> Jobs:
        record = self.place(event, job, stream)
        self.before = self.jobs
        self.jobs = fold_jobs(self.jobs, event, record)  # type: ignore[arg-type] # one of them
        return self.jobs

    def place(self, event: Event, job: int = 1, stream: str = "") -> LogRecord:
        self.seq += 1
        stream = stream or f"job/{job}"
        self.versions[stream] = self.versions.get(stream, 0) + 1
        return LogRecord(
            v=FORMAT, seq=self.seq, gen=1, term=1, time=self.seq << 16, event_id=b"",
            kind=event.KIND, schema=1, stream=stream, version=self.versions[stream],
            actor="operator:alice", origin="", job=job, cause=None, key=None, data=NIL,
        )  # fmt: skip

    def submit(self, job: int = 1, ops: int = 1, **more: object) -> Jobs:
        submitted = ev.JobSubmitted(ops=(OP,) * ops, summaries=("TEST_DELAY",) * ops, **more)  # type: ignore[arg-type]
        return self.say(submitted, job=job)

    def plan(self) -> None:
        self.submit()
        self.say(ev.OpStarted(op=0, handler=1, locks=(Lock("cluster"),)))
        self.say(ev.OpPlanned(op=0, number=0, plan=PLAN, given=NIL))

    def request(self, step: str, *, attempt: int = 1, undo: bool = False, task: str = "") -> Jobs:
        node = "n1" if step == "a" else "n2"
        event = ev.TaskRequested(
            task=task or f"{step}{'u' if undo else ''}{attempt}", op=0, plan=0, step=step,
            call=CALL, resource="", timeout_s=1, undo=undo, attempt=attempt,
        )  # fmt: skip
        return self.say(event, stream=f"node/{node}")

    def end(self, task: str, *, good: bool = True) -> Jobs:
        event = ev.TaskDone(task=task) if good else ev.TaskFailed(task=task, code="x", message="y")
        return self.say(event, stream="node/n1")

    def steps(self) -> list[str]:
        return [state.state for state in self.jobs.open[1].ops[0].plans[0].steps]


@pytest.fixture
def story() -> Story:
    return Story()


def test_steps_become_ready_as_those_before_them_are_done(story: Story) -> None:
    """Ready, sent, ready again while attempts are left, done; then its successors are ready."""
    story.plan()
    assert story.steps() == ["ready", "waiting", "waiting", "waiting"]
    story.request("a")
    assert story.steps()[0] == "sent"
    story.end("a1", good=False)
    assert story.steps()[0] == "ready"
    story.request("a", attempt=2)
    story.end("a2")
    assert story.steps() == ["done", "ready", "ready", "waiting"]
    story.say(ev.StepRecorded(op=0, plan=0, step="c"))
    story.request("b")
    story.end("b1", good=False)
    assert story.steps() == ["done", "failed", "done", "ready"], "a tolerated failure"
    story.say(ev.WaitStarted(op=0, plan=0, step="d"))
    story.say(ev.WaitFired(op=0, plan=0, step="d"))
    op = story.jobs.open[1].ops[0]
    assert op.plans[0].through
    assert op.sent == ((0, "a"), (0, "c"), (0, "b")), "what may have to be undone, in order"


def test_the_end_frees_locks_and_forgets_tasks(story: Story) -> None:
    """After its last opcode a job is handed over once, without its plans, and leaves memory."""
    story.plan()
    story.request("a")
    assert set(story.jobs.tasks) == {"a1"}
    story.end("a1", good=False)
    story.say(ev.OpUndoing(op=0, code="x", message="y"))
    jobs = story.say(ev.OpFailed(op=0, code="x", message="y"))
    assert not jobs.open
    assert not jobs.tasks
    assert not jobs.locks.held
    ended = ended_by(story.before, jobs)
    assert ended is not None
    assert (ended.id, ended.status, ended.ops[0].plans) == (1, "error", ())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ended), type=Job) == ended
    story.say(ev.JobArchived())
    assert ended_by(story.before, story.jobs) is None


CONTRADICTIONS: dict[str, Callable[[Story], object]] = {
    "a step taken twice": lambda s: (s.request("a"), s.request("a", attempt=2)),
    "a task id used twice": lambda s: (s.request("a"), s.end("a1", good=False),
                                       s.request("a", attempt=2, task="a1")),
    "a step before its turn": lambda s: s.request("b"),
    "a record before its turn": lambda s: s.say(ev.StepRecorded(op=0, plan=0, step="c")),
    "a wait that was not started": lambda s: s.say(ev.WaitFired(op=0, plan=0, step="d")),
    "an end told twice": lambda s: (s.request("a"), s.end("a1"), s.end("a1")),
    "a second plan too early": lambda s: s.say(
        ev.OpPlanned(op=0, number=1, plan=PLAN, given=NIL)),
    "a success in mid-plan": lambda s: s.say(ev.OpSucceeded(op=0)),
    "an undo while going forward": lambda s: (s.request("a"), s.end("a1"),
                                              s.request("a", undo=True)),
    "a do while going back": lambda s: (s.say(ev.OpUndoing(op=0, code="x", message="y")),
                                        s.request("a")),
    "an unknown step": lambda s: s.say(ev.StepRecorded(op=0, plan=0, step="z")),
    "a call recorded as a fact": lambda s: s.say(ev.StepRecorded(op=0, plan=0, step="a")),
    "a start while it runs": lambda s: s.say(ev.OpStarted(op=0, handler=1)),
    "an end of another opcode": lambda s: s.say(ev.OpSucceeded(op=1)),
    "a job number twice": lambda s: s.submit(),
    "a job that is not open": lambda s: s.say(ev.OpSucceeded(op=0), job=7),
    "archived while open": lambda s: s.say(ev.JobArchived()),
    "a lock that is held": lambda s: (s.submit(2), s.say(
        ev.OpStarted(op=0, handler=1, locks=(Lock("cluster"),)), job=2)),
}  # fmt: skip


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_contradictions_are_corrupt_history(story: Story, what: str) -> None:
    """What breaks the state machine is refused by the fold, not repaired."""
    story.plan()
    with pytest.raises(CorruptHistory):
        CONTRADICTIONS[what](story)


def test_a_late_result_changes_nothing(story: Story) -> None:
    """An agent that tells the end of a task whose job is over contradicts nothing."""
    story.plan()
    story.request("a")
    story.say(ev.OpUndoing(op=0, code="canceled", message=""))
    story.say(ev.StepGivenUp(op=0, plan=0, step="a", code="x", message="lost"))
    before = story.jobs.open[1].ops
    story.end("a1")
    assert story.jobs.open[1].ops == before
    story.say(ev.OpCanceled(op=0))
    jobs = story.jobs
    assert story.end("a1") is jobs


def test_the_status_of_a_job_follows_from_its_opcodes(story: Story) -> None:
    """Queued, waiting for locks, running, between opcodes, ended."""
    status = []
    story.submit(ops=2)
    for event in (
        None,
        ev.OpBlocked(op=0, locks=(Lock("a"),), behind=(9,)),
        ev.OpStarted(op=0, handler=1, locks=(Lock("a"),)),
        ev.OpSucceeded(op=0),
        ev.OpStarted(op=1, handler=1),
        ev.OpUndoing(op=1, code="canceled", message=""),
        ev.OpParked(op=1, code="x", message="y", left=("a",)),
        ev.OpResolved(op=1, how="retry"),
        ev.OpCanceled(op=1),
    ):
        if event is not None:
            story.say(event)
        job = story.jobs.get(1)
        assert job is not None
        status.append(job.status)
    assert status == [
        "queued", "waiting", "running", "waiting", "running",
        "canceling", "needs-attention", "canceling", "canceled",
    ]  # fmt: skip


def test_dependents_hear_of_the_end(story: Story) -> None:
    """A job keeps how those that it depends on ended, also if that was before it was submitted."""
    depends = ((Dependency(1),),)
    story.submit(1)
    story.submit(2, depends=depends)
    story.say(ev.OpFailed(op=0, code="x", message="y"))
    assert story.jobs.open[2].met == {1: "error"}
    story.submit(3, depends=depends)
    assert story.jobs.open[3].met == {1: "error"}
    assert not story.jobs.dependents


def test_memory_is_bounded(story: Story) -> None:
    """So many ended jobs and feedback lines are kept, the newest, whatever came before."""
    story.submit(1)
    for number in range(MAX_LINES + 5):
        story.say(ev.OpFeedback(op=0, text=str(number)))
    assert [line.text for line in story.jobs.open[1].lines][-1] == str(MAX_LINES + 4)
    assert len(story.jobs.open[1].lines) == MAX_LINES
    for job in range(2, RECENT + 10):
        story.submit(job)
        story.say(ev.OpStarted(op=0, handler=1), job=job)
        story.say(ev.OpSucceeded(op=0), job=job)
    assert len(story.jobs.recent) == len(story.jobs.endings) == RECENT
    assert max(story.jobs.recent) == RECENT + 9
    assert set(story.jobs.open) == {1}


def test_a_priority_moves_a_waiting_job(story: Story) -> None:
    """A job that waits for locks takes its new place in the order of requests."""
    for job in (1, 2):
        story.submit(job)
        story.say(ev.OpBlocked(op=0, locks=(Lock("a"),), behind=(9,)), job=job)
    story.say(ev.JobPrioritySet(priority=-5), job=2)
    assert [request.job for request in story.jobs.locks.in_order()] == [2, 1]
