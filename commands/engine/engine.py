"""The job engine: committed records in, proposals out (no socket, no thread, no disk; clocks
and chance are handed in).

    on_committed   the projections have moved on; what they call for is proposed
    on_outcome     what became of a proposal
    on_tick        a time has come for which the engine asked
    on_promise     a node refuses older leaders from now on, so tasks may be sent to it
    on_result, on_feedback, submit, order      what the world tells (intake.py)

Each returns effects (effects.py), which the daemon carries out in order. Only the leader has an
engine, one for each reign, made when its no-op is committed. It holds nothing that matters: timers,
what is under way, and what was told and is not proposed yet. A new engine over the same state goes
on with every open plan; whoever told something that was not committed tells it again.

What keeps a step from being taken twice:

- one batch of a job is under way at a time, and it expects the version of the job's stream;
- all that is proposed is worked out from committed state: a batch that is refused for a clash is
  made anew, with what was told, from what is there then;
- after an outcome that is unknown the engine stops; the next reign makes a new one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from commands.api import JobOrder, JobOrderReply, PlanReply, Submit, Submitted
from commands.engine import duties, intake, scheduler
from commands.engine.context import Context
from commands.engine.deciding import locks_of
from commands.engine.draws import Draws, Look
from commands.engine.effects import Answer, Effect, Propose, WakeAt
from commands.engine.endings import fail
from commands.engine.flight import Flight, Told
from commands.engine.history import History, NoHistory
from commands.engine.preview import preview
from commands.engine.scratch import Scratch, State
from commands.engine.timers import Timers
from commands.engine.walking import walk
from commands.errors import INTERNAL_ERROR, WRONG_STATE
from commands.registry import Registry
from eventstore.packed import Packed
from eventstore.record import Batch
from eventstore.record import Record as LogRecord
from eventstore.replica import Committed, Outcome, Refused, Unknown
from nodeagent.calls import Feedback, TaskResult
from projections.cluster import Cluster
from projections.errors import CorruptHistory
from projections.events import jobs as ev
from projections.job_state import NEEDS_ATTENTION, STEP_SENT, WAITING, Job, Problem
from projections.jobs import Jobs
from projections.locks import LockTable, Request
from projections.plans import Wait

log = logging.getLogger(__name__)

MAX_RUNNING = 20  # jobs at a time; Ganeti's default
STOPPED = Unknown("this leader does not know what became of its last proposals, and has stopped")
AGAIN_S = 1.0  # until a batch that the log could not take (a full disk) is proposed again


class Engine:
    """The engine of one reign."""

    def __init__(
        self,
        *,
        cluster_id: str,
        state: State,
        registry: Registry,
        draws: Draws,
        look: Look,
        boot_s: Callable[[], float],
        log_ms: int,
        history: History | None = None,
        max_running: int = MAX_RUNNING,
    ) -> None:
        """Make an engine over committed state, at the beginning of a reign.

        `look` gives the last status of nodes that were heard; `boot_s` reads
        CLOCK_BOOTTIME; `log_ms` is the time of the last record of the log, ms since 1970 UTC. Call
        `begin` next.
        """
        self._state = state
        self._history: History = history or NoHistory()
        self._max_running = max_running
        self._log_ms = log_ms
        self._promised: set[str] = set()
        self._timers = Timers(boot_s)
        self._context = Context(cluster_id, registry, draws, look, self._timers, self._promised)
        self._candidates = scheduler.Candidates()
        self._running: set[int] = set()
        self._dirty: dict[int, None] = {}  # jobs to walk, in order
        self._deferred: set[int] = set()  # jobs whose decision waits for another one's commit
        self._told: dict[int, list[Told]] = {}
        self._flights: dict[int, Flight] = {}
        self._busy: dict[int, int] = {}  # job -> token
        self._refusals: dict[int, Problem] = {}
        self._retries: dict[int, float] = {}  # job -> when to try again
        self._orders: dict[int, intake.Order] = {}  # by ticket
        self._effects: list[Effect] = []
        self._conditional: set[int] = set()  # jobs that wait for a condition
        self._token = 0
        self._next_id = state.jobs.last_id + 1
        self._woken_s: float | None = None
        self._stopped = False

    # --- events -------------------------------------------------------------------------------

    def begin(self) -> list[Effect]:
        """Go on with every open job."""
        for job in sorted(self._state.jobs.open.values(), key=lambda job: job.id):
            self._look_at(job, log_ms=self._log_ms)
        return self._work()

    def on_committed(self, state: State, records: Iterable[LogRecord]) -> list[Effect]:
        """Take the state after a committed batch, and propose what it calls for."""
        before, self._state = self._state, state
        touched = sorted({record.job for record in records if record.job is not None})
        for job_id in touched:
            self._retries.pop(job_id, None)  # the log takes records about it again
            job = state.jobs.open.get(job_id)
            if job is not None:
                self._look_at(job)
            elif job_id in before.jobs.open:
                self._forget(job_id, before.jobs)
        freed = scheduler.given_back(before.jobs.locks, state.jobs.locks, touched)
        self._wake_waiters(freed)
        self._notice(before.cluster, state.cluster)
        return self._work()

    def on_outcome(self, token: int, outcome: Outcome) -> list[Effect]:
        """Note what became of a proposal; call it after `on_committed` of its batch."""
        flight = self._flights.pop(token)
        if flight.job is not None:
            del self._busy[flight.job]
        match outcome:
            case Committed():
                self._landed(flight, outcome)
            case Refused() if flight.job is not None:
                self._take_back(flight, outcome)
            case Refused() | Unknown():
                self._lost(flight, outcome)
        self._wake_waiters(flight.lock_names)
        if flight.reserves:
            self._dirty.update(dict.fromkeys(sorted(self._deferred)))
        if flight.job is not None and flight.job in self._state.jobs.open:
            self._look_at(self._state.jobs.open[flight.job])
        return self._work()

    def on_tick(self) -> list[Effect]:
        """It may be time for something; a tick may come early, late or twice."""
        self._woken_s = None
        now_s = self._timers.now_s
        due = self._timers.due()
        due |= {job for job, again_s in self._retries.items() if again_s <= now_s}
        for job_id in sorted(due):
            self._retries.pop(job_id, None)
            job = self._state.jobs.open.get(job_id)
            if job is not None:
                self._look_at(job)
        return self._work()

    def on_promise(self, node: str) -> list[Effect]:
        """A node has promised this epoch: tasks may be sent to it. May be repeated."""
        again = node in self._promised
        self._promised.add(node)
        self._dirty.update(dict.fromkeys(sorted(self._running)))
        if not again:
            self._remind(node)
        return self._work()

    # --- what the world tells -------------------------------------------------------------------

    def submit(
        self, actor: str, role: str, submit: Submit, *, ticket: int, key: str | None = None
    ) -> list[Effect]:
        """Propose the jobs; an `Answer` with `Submitted` follows. Raises commands.errors.Refused.

        With the same `key` of the same actor again, the answer names the jobs of the first time.
        """
        first = self._next_id
        batch = intake.submission(
            self._state.jobs, self._history, self._context.registry, actor, role, submit, key, first
        )
        self._next_id += len(batch.drafts)
        body = Submitted(jobs=tuple(range(first, self._next_id)))
        self._fly(Flight(batch, ticket=ticket, body=body), "submit")
        return self._work()

    def order(self, actor: str, order: JobOrder, *, ticket: int) -> list[Effect]:
        """Cancel, archive, re-prioritise or resolve jobs; an `Answer` with `JobOrderReply` follows.

        Raises commands.errors.Refused if the order makes no sense for any job.
        """
        taken = intake.order(self._state, self._history, actor, order, self._now_ms())
        self._orders[ticket] = taken
        for job_id, event in taken.open:
            self._tell(job_id, Told(event, f"job/{job_id}", actor, ticket))
        for batch in taken.batches:
            self._fly(Flight(batch, ticket=ticket), order.order)
        if not taken.outstanding:
            self._answer(ticket, intake.RECORDED)
        return self._work()

    def on_result(
        self, node: str, result: TaskResult, *, ticket: int | None = None
    ) -> list[Effect]:
        """An agent tells what came of a task. It may come twice, late, or for a job that is over.

        An `Answer` follows where there is a ticket: at once if it is known already.
        """
        taken = intake.result(self._state, node, result)
        match taken:
            case Batch():
                self._fly(Flight(taken, ticket=ticket), "late result")
            case intake.News() if self._is_told(taken):
                self._answer(ticket, intake.RECORDED)
            case intake.News():
                self._tell(taken.job, Told(taken.event, f"node/{node}", f"node:{node}", ticket))
            case _:
                self._answer(ticket, taken)
        return self._work()

    def on_feedback(
        self, node: str, feedback: Feedback, *, ticket: int | None = None
    ) -> list[Effect]:
        """An agent has a line for those who watch. One of a task that is over is dropped."""
        taken = intake.feedback(self._state, node, feedback)
        if taken is None or len(self._told.get(taken.job, ())) >= intake.MAX_TOLD:
            self._answer(ticket, intake.RECORDED)
        else:
            self._tell(taken.job, Told(taken.event, f"job/{taken.job}", f"node:{node}", ticket))
        return self._work()

    def plan_now(self, role: str, op: Packed, *, as_of: int) -> PlanReply:
        """Return what an opcode would do now (a dry run). Raises commands.errors.Refused."""
        opcode = self._context.registry.admit(op, role)
        return preview(self._context, self._state, opcode, as_of=as_of)

    # --- what to look at ------------------------------------------------------------------------

    def _look_at(self, job: Job, *, log_ms: int | None = None) -> None:
        """Something about this open job has changed, or its time has come."""
        self._next_id = max(self._next_id, job.id + 1)
        self._timers.watch(job, log_ms=log_ms)
        self._conditional.discard(job.id)
        self._running.discard(job.id)
        if scheduler.may_start(job):
            self._candidates.consider(job)
            if job.cancel or job.id in self._told:
                self._dirty[job.id] = None
            return
        self._dirty[job.id] = None
        if job.status != NEEDS_ATTENTION:
            self._running.add(job.id)
            if _waits_for_condition(job):
                self._conditional.add(job.id)

    def _forget(self, job_id: int, before: Jobs) -> None:
        """The job is over; those that depend on it may have their turn."""
        self._timers.forget(job_id)
        self._running.discard(job_id)
        self._conditional.discard(job_id)
        self._deferred.discard(job_id)
        self._retries.pop(job_id, None)
        self._refusals.pop(job_id, None)
        for told in self._told.pop(job_id, ()):
            self._answer(told.ticket, Refused(WRONG_STATE, f"job {job_id} has ended"))
        for dependent in before.dependents.get(job_id, ()):
            job = self._state.jobs.open.get(dependent)
            if job is not None:
                self._candidates.consider(job)

    def _notice(self, before: Cluster, after: Cluster) -> None:
        """Nodes may be lost or back, conditions may hold."""
        if before.nodes is not after.nodes:
            self._dirty.update(dict.fromkeys(sorted(self._running)))
            for node in {owed.node for owed in after.duties.values()}:
                if node in before.nodes and before.nodes[node].lost and not after.nodes[node].lost:
                    self._remind(node)
        elif before is not after:
            self._dirty.update(dict.fromkeys(sorted(self._conditional)))

    def _remind(self, node: str) -> None:
        """What the node owes and could not do, it may be able to do now."""
        batch = duties.again(self._state.cluster, node)
        if batch is not None:
            self._fly(Flight(batch), "duties")

    def _wake_waiters(self, names: Iterable[str]) -> None:
        """Locks may be free: look at those who wait for one of them and are behind nobody now."""
        jobs = self._state.jobs
        for waiter in jobs.locks.waiters_for(names):
            if jobs.locks.is_free(jobs.locks.waiting[waiter]):
                self._candidates.consider(jobs.open[waiter])

    def _tell(self, job_id: int, told: Told) -> None:
        if self._stopped:
            self._answer(told.ticket, STOPPED)
            return
        self._told.setdefault(job_id, []).append(told)
        self._dirty[job_id] = None

    def _is_told(self, news: intake.News) -> bool:
        """Whether the same fact is on its way already."""
        waiting = [told.event for told in self._told.get(news.job, ())]
        token = self._busy.get(news.job)
        if token is not None:
            waiting += [told.event for told in self._flights[token].told]
        return any(
            type(event) is type(news.event) and getattr(event, "task", "") == news.task
            for event in waiting
        )

    # --- the work -------------------------------------------------------------------------------

    def _work(self) -> list[Effect]:
        """Walk what has changed, start what may start, and return what is to be done."""
        while self._dirty and not self._stopped:
            job_id = next(iter(self._dirty))
            del self._dirty[job_id]
            self._advance(job_id)
        if not self._stopped:
            self._schedule()
            self._wake()
        effects, self._effects = self._effects, []
        return effects

    def _advance(self, job_id: int, start: ev.OpStarted | None = None) -> None:
        """Propose what follows for one job, unless something about it is under way."""
        job = self._state.jobs.open.get(job_id)
        if job is None or job_id in self._busy or job_id in self._retries:
            return
        scratch = Scratch(self._state, job, now_ms=self._now_ms(), first_job=self._next_id)
        told: tuple[Told, ...] = ()
        if start is None:
            told = self._tell_scratch(scratch, job_id)
        else:
            scratch.add(start)
        others_reserve = any(flight.reserves for flight in self._flights.values())
        deferred = walk(
            scratch,
            self._context,
            may_reserve=not others_reserve,
            will_reserve=job_id in self._deferred,
            refusal=self._refusals.pop(job_id, None),
        )
        if deferred:
            self._deferred.add(job_id)
        else:
            self._deferred.discard(job_id)
        self._next_id = scratch.next_job
        if scratch.drafts:
            flight = Flight(scratch.batch(), job=job_id, priority=job.priority, told=told)
            self._fly(flight, f"job {job_id}")

    def _tell_scratch(self, scratch: Scratch, job_id: int) -> tuple[Told, ...]:
        """Draft what was told about the job; what has come too late is answered so."""
        waiting = self._told.pop(job_id, [])
        taken: list[Told] = []
        while waiting and not scratch.full and scratch.job is not None:
            told = waiting.pop(0)
            try:
                intake.draft(scratch, told)
            except CorruptHistory as late:
                self._answer(told.ticket, Refused(WRONG_STATE, str(late)))
            else:
                taken.append(told)
        if waiting:
            self._told[job_id] = waiting
        return tuple(taken)

    def _schedule(self) -> None:
        """Start, block or fail the next opcodes of jobs, while there is room for one more."""
        if not self._candidates:
            return
        locks = self._locks()
        while self._has_room():
            job_id = self._candidates.take()
            if job_id is None:
                return
            if job_id in self._busy or job_id in self._retries:
                continue  # it is looked at again when that is over
            job = self._state.jobs.open.get(job_id)
            if job is not None and scheduler.may_start(job):
                locks = self._consider(job, locks)

    def _consider(self, job: Job, locks: LockTable) -> LockTable:
        """Start the job's next opcode if it may, and return the locks as they will be then."""
        waits, problem = scheduler.dependencies(job, self._state.jobs)
        at = job.current
        assert at is not None
        if waits or job.cancel:
            return locks
        op = job.ops[at]
        found = problem or locks_of(self._context, self._state.cluster, job.id, at, op)
        if isinstance(found, Problem):
            scratch = Scratch(self._state, job, now_ms=self._now_ms())
            fail(scratch, at, found)
            self._fly(Flight(scratch.batch(), job=job.id), f"job {job.id}")
            return locks
        handler, wanted = found
        request = Request(job.priority, job.id, wanted)
        behind = locks.behind(request)
        if not behind:
            self._advance(job.id, ev.OpStarted(op=at, handler=handler.version, locks=wanted))
            return locks.grant(job.id, wanted)
        if op.status != WAITING or op.locks != wanted:
            scratch = Scratch(self._state, job, now_ms=self._now_ms())
            scratch.add(ev.OpBlocked(op=at, locks=wanted, behind=behind))
            flight = Flight(scratch.batch(), job=job.id, priority=job.priority)
            self._fly(flight, f"job {job.id}")
        return locks.wait(request)

    def _has_room(self) -> bool:
        starting = {flight.job for flight in self._flights.values() if flight.starts}
        return len(self._running | starting) < self._max_running

    def _locks(self) -> LockTable:
        """Return the lock table with what is under way and not yet in the state."""
        locks = self._state.jobs.locks
        for flight in self._flights.values():
            if flight.is_current(self._state.jobs):
                locks = flight.on(locks)
        return locks

    # --- proposals and answers ------------------------------------------------------------------

    def _fly(self, flight: Flight, purpose: str) -> None:
        if self._stopped:
            self._answer(flight.ticket, STOPPED)
            return
        self._token += 1
        self._flights[self._token] = flight
        if flight.job is not None:
            self._busy[flight.job] = self._token
        self._effects.append(Propose(self._token, flight.batch, purpose))

    def _landed(self, flight: Flight, outcome: Committed) -> None:
        for told in flight.told:
            self._answer(told.ticket, outcome)
        body = flight.body
        if body is not None and outcome.repeated:
            body = Submitted(jobs=intake.jobs_of(outcome))
            self._number_again(flight)
        self._answer(flight.ticket, outcome, body)

    def _take_back(self, flight: Flight, outcome: Refused) -> None:
        """The batch was not appended: what was told in it is told again in the next one.

        The next one comes after a pause, unless the reason is gone already: what the batch clashed
        with is committed.
        """
        assert flight.job is not None
        if flight.told:
            self._told[flight.job] = [*flight.told, *self._told.get(flight.job, ())]
        if outcome.code == "too-large":
            self._refusals[flight.job] = _too_large(outcome)
        if outcome.code != "clash" or flight.is_current(self._state.jobs):
            log.warning("job %d: %s; trying again", flight.job, outcome.message)
            self._retries[flight.job] = self._timers.now_s + AGAIN_S

    def _lost(self, flight: Flight, outcome: Refused | Unknown) -> None:
        """It was refused for good, or nobody knows: then only the next reign can tell."""
        for told in flight.told:
            self._answer(told.ticket, outcome)
        self._answer(flight.ticket, outcome)
        if isinstance(outcome, Refused):
            self._number_again(flight)
        else:
            self._stop(outcome)

    def _stop(self, outcome: Refused | Unknown) -> None:
        self._stopped = True
        for waiting in self._told.values():
            for told in waiting:
                self._answer(told.ticket, outcome)
        self._told.clear()

    def _number_again(self, flight: Flight) -> None:
        """Give back the numbers of a submission that made no jobs, if they are the last ones."""
        if flight.body is not None and flight.body.jobs[-1] + 1 == self._next_id:
            self._next_id = flight.body.jobs[0]

    def _answer(
        self, ticket: int | None, outcome: Outcome, body: Submitted | JobOrderReply | None = None
    ) -> None:
        """Answer the request with this ticket, or one part of an order to several jobs."""
        if ticket is None:
            return
        order = self._orders.get(ticket)
        if order is not None:
            order.outstanding -= 1
            if isinstance(outcome, Committed):
                if order.outstanding > 0:
                    return
                body = order.reply
            del self._orders[ticket]
        self._effects.append(Answer(ticket, outcome, body))

    def _wake(self) -> None:
        times = [*self._retries.values()]
        if (next_s := self._timers.next_s) is not None:
            times.append(next_s)
        if times and min(times) != self._woken_s:
            self._woken_s = min(times)
            self._effects.append(WakeAt(self._woken_s))

    def _now_ms(self) -> int:
        return self._context.draws.now_ms()


def _waits_for_condition(job: Job) -> bool:
    at = job.current
    assert at is not None
    return any(
        isinstance(step, Wait) and step.until is not None and state.state == STEP_SENT
        for plan in job.ops[at].plans
        for step, state in zip(plan.plan.steps, plan.steps, strict=True)
    )


def _too_large(outcome: Refused) -> Problem:
    return Problem(
        code=INTERNAL_ERROR,
        message=f"what it wants to record does not fit: {outcome.message}",
        hint="split the opcode into several smaller ones",
    )
