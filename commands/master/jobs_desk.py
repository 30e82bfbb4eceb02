"""What clients ask about jobs: submit, dry run, orders, news (edge).

`wait-job` is a long poll: it is answered when there is news after the serial that the client has
seen, or with none when its time is over. Those who wait are told after each committed batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from commands import api
from commands.errors import UNKNOWN_ENTITY
from commands.errors import Refused as OpRefused
from commands.master.answers import MAY_LAG, answer_outcome, guarded, not_leader
from commands.master.history import EndedJobs
from commands.master.reign import Reign
from commands.master.syncing import Sync, sync_of
from eventstore.reactor import Reactor, Timer
from eventstore.record import Record
from eventstore.serving.server import LONGEST_WAIT_S, ReplyTo, Request, RequestServer
from eventstore.wire.faults import RemoteError
from nodeagent.calls import NodeStatus
from projections.job_state import ENDED, NEEDS_ATTENTION, STEP_DONE, STEP_SENT, Job, OpState
from projections.job_table import Jobs
from projections.query.lock_fields import readable
from projections.query.table import World
from projections.state import State

ORDERS = ("operator", "gateway")
READERS = ("operator", "gateway", "auditor")
_MOST_NAMED = 5  # jobs, and locks of each, that a waiting person is told


class JobsDesk:
    """Answers clients about jobs."""

    def __init__(
        self,
        reactor: Reactor,
        reign: Reign,
        ended: EndedJobs,
        *,
        state: Callable[[], State],
        seen: Callable[[], Mapping[str, NodeStatus]],
    ) -> None:
        self._reactor = reactor
        self._reign = reign
        self._ended = ended
        self._state, self._seen = state, seen
        self._waiting: dict[int, dict[ReplyTo, tuple[api.WaitJob, Timer]]] = {}

    def register(self, server: RequestServer) -> None:
        """Serve the kinds about jobs."""
        server.register("submit", ORDERS, guarded(self._submit))
        server.register("plan", ORDERS, guarded(self._plan))
        server.register("job-order", ORDERS, guarded(self._order))
        server.register("wait-job", READERS, guarded(self._wait))

    def on_committed(self, records: Iterable[Record]) -> None:
        """Tell those who wait for the jobs that these records are about."""
        if not self._waiting:
            return
        for job in {record.job for record in records if record.job in self._waiting}:
            assert job is not None
            self._tell(job)

    # --- orders -------------------------------------------------------------------------------

    def _submit(self, request: Request, reply: ReplyTo) -> None:
        submit = request.decode(api.Submit)
        engine = self._reign.engine
        ticket = self._ticket(reply)
        try:
            effects = engine.submit(
                request.actor, request.role, submit, ticket=ticket, key=request.key
            )
        except OpRefused:
            self._reign.forget(ticket)
            raise
        self._reign.carry_out(effects)

    def _plan(self, request: Request, reply: ReplyTo) -> None:
        wanted = request.decode(api.PlanRequest)
        as_of = self._state().seq
        reply.done(self._reign.engine.plan_now(request.role, wanted.op, as_of=as_of))

    def _order(self, request: Request, reply: ReplyTo) -> None:
        order = request.decode(api.JobOrder)
        engine = self._reign.engine
        ticket = self._ticket(reply)
        try:
            effects = engine.order(request.actor, order, ticket=ticket)
        except OpRefused:
            self._reign.forget(ticket)
            raise
        self._reign.carry_out(effects)

    def _ticket(self, reply: ReplyTo) -> int:
        return self._reign.ticket(lambda outcome, body: answer_outcome(reply, outcome, body))

    # --- news ---------------------------------------------------------------------------------

    def _wait(self, request: Request, reply: ReplyTo) -> None:
        wanted = request.decode(api.WaitJob)
        job = self._find(wanted.job)
        if job.serial > wanted.since or job.current is None or wanted.timeout_s <= 0:
            reply.done(news_of(job, wanted.since, self._waits_for(job), self._sync(job)))
            return
        timeout_s = min(wanted.timeout_s, LONGEST_WAIT_S)
        timer = self._reactor.call_later(timeout_s, lambda: self._time_over(wanted.job, reply))
        self._waiting.setdefault(wanted.job, {})[reply] = (wanted, timer)
        reply.on_closed = lambda: self._forget(wanted.job, reply)

    def _find(self, number: int) -> Job:
        job = self._state().jobs.open.get(number) or self._ended.get(number)
        if job is None:
            last = self._state().jobs.last_id
            leadership = self._reign.leadership
            if number > last and not leadership.level:
                raise not_leader(leadership, MAY_LAG)
            hint = f"the last one is {last}" if last else "no job was submitted yet"
            raise RemoteError(UNKNOWN_ENTITY, f"there is no job {number}", hint=hint)
        return job

    def _tell(self, number: int) -> None:
        job = self._find(number)
        waits_for, sync = self._waits_for(job), self._sync(job)
        for reply, (wanted, timer) in self._waiting.pop(number).items():
            timer.cancel()
            reply.done(news_of(job, wanted.since, waits_for, sync))

    def _time_over(self, number: int, reply: ReplyTo) -> None:
        wanted, _ = self._waiting[number][reply]
        self._forget(number, reply)
        job = self._find(number)
        reply.done(news_of(job, wanted.since, self._waits_for(job), self._sync(job)))

    def _sync(self, job: Job) -> Sync | None:
        return sync_of(job, self._state().cluster, self._seen())

    def _forget(self, number: int, reply: ReplyTo) -> None:
        """Whoever waits has gone, or has waited long enough."""
        waiting = self._waiting.get(number, {})
        if reply in waiting:
            _, timer = waiting.pop(reply)
            timer.cancel()
            if not waiting:
                del self._waiting[number]

    def _waits_for(self, job: Job) -> tuple[str, ...]:
        """Say in words what an open job waits for."""
        state = self._state()
        locks, world = state.jobs.locks, World(state.cluster)
        request = locks.waiting.get(job.id)
        if request is not None:
            return _some(
                f"job {other} ({', '.join(_some(readable(world, name) for name in names))})"
                f"{_parked(state.jobs, other)}"
                for other, names in locks.in_the_way(request).items()
            )
        at = job.current
        if at is None or at >= len(job.depends):
            return ()
        return tuple(
            f"job {each.job} to end{_parked(state.jobs, each.job)}"
            for each in job.depends[at]
            if each.job not in job.met
        )


def _some(words: Iterable[str]) -> tuple[str, ...]:
    """Return as many as a person reads, and how many there are beside."""
    told = tuple(words)
    more = len(told) - _MOST_NAMED
    return told if more <= 0 else (*told[:_MOST_NAMED], f"{more} more")


def news_of(
    job: Job, since: int, waits_for: tuple[str, ...], sync: Sync | None = None
) -> api.JobNews:
    """Return how a job stands, with the lines after the serial `since`."""
    return api.JobNews(
        job=job.id,
        serial=job.serial,
        status=job.status,
        ended=job.status in ENDED,
        ops=tuple(_op_news(op) for op in job.ops),
        lines=tuple(
            api.Line(
                time_ms=line.time_ms,
                op=line.op,
                text=line.text,
                step=line.step,
                percent=line.percent,
                eta_s=line.eta_s,
            )
            for line in job.lines
            if line.serial > since
        ),
        waits_for=waits_for,
        sync_percent=sync.percent if sync else None,
        sync_eta_s=sync.eta_s if sync else None,
    )


def _op_news(op: OpState) -> api.OpNews:
    plan = op.plans[-1] if op.plans else None
    states = plan.steps if plan is not None else ()
    problem = op.problem
    return api.OpNews(
        summary=op.summary,
        status=op.status,
        code=problem.code if problem else "",
        message=problem.message if problem else "",
        hint=problem.hint if problem else "",
        result=op.result,
        steps_done=sum(step.state == STEP_DONE for step in states),
        steps=len(states),
        step=_step_of(op),
    )


def _step_of(op: OpState) -> str:
    """Return the step that runs now, or the one that failed; "" where there is none."""
    if op.problem is not None:
        return op.problem.step
    for plan in op.plans[-1:]:
        for step, state in zip(plan.plan.steps, plan.steps, strict=True):
            if state.state == STEP_SENT:
                return step.id
    return ""


def _parked(jobs: Jobs, number: int) -> str:
    """Say of a job that goes on only when somebody decides about it that it does."""
    job = jobs.open.get(number)
    return ", which needs attention" if job is not None and job.status == NEEDS_ATTENTION else ""
