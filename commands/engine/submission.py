"""Jobs as they come in: validated, numbered, their dependencies made absolute (pure).

Whatever is wrong with one of several jobs, none of them is accepted. A dependency on a job that has
ended already is settled here: satisfied, it is left out; not satisfied, the submission is refused.
"""

from __future__ import annotations

from commands.api import JobSpec, Submit
from commands.engine.history import History, NoHistory
from commands.errors import UNKNOWN_ENTITY, WRONG_INPUT, WRONG_STATE, Refused
from commands.registry import Registry
from projections.events.jobs import Dependency, JobSubmitted
from projections.job_state import ENDED, SUCCESS
from projections.jobs import Jobs

HIGHEST, LOWEST = -20, 19  # priorities, as Ganeti's (and nice's): the lower number goes first
MAX_OPS = 1000

SpecDependency = tuple[int, tuple[str, ...]]


def admit(
    submit: Submit, *, role: str, registry: Registry, jobs: Jobs, history: History, first: int
) -> tuple[JobSubmitted, ...]:
    """Return the facts of a submission whose first job gets the id `first`. Raises Refused."""
    if not submit.jobs:
        raise Refused(WRONG_INPUT, "no job is submitted", hint="submit at least one")
    return tuple(
        _admit_one(spec, role, registry, _Numbers(jobs, history, first, first + offset))
        for offset, spec in enumerate(submit.jobs)
    )


def follow_ups(
    specs: tuple[JobSpec, ...], *, registry: Registry, jobs: Jobs, first: int
) -> tuple[JobSubmitted, ...]:
    """Return the facts of jobs that an opcode submits at its end. Raises Refused.

    They are admitted as an operator's, for an operator's opcode has decided on them.
    """
    wanted = Submit(jobs=specs)
    return admit(
        wanted, role="operator", registry=registry, jobs=jobs, history=NoHistory(), first=first
    )


class _Numbers:
    """What a dependency of one job of a submission may name."""

    def __init__(self, jobs: Jobs, history: History, first: int, own: int) -> None:
        self.jobs = jobs
        self.history = history
        self.first = first  # of this submission
        self.own = own  # of the job at hand

    def absolute(self, job: int) -> int:
        """Return the id that is meant; a negative one counts back in the same submission."""
        meant = self.own + job if job < 0 else job
        if job < 0 and meant < self.first:
            raise Refused(
                WRONG_INPUT,
                f"dependency {job} is before the first job of this submission",
                hint="-1 is the job before, in the same submission; older jobs go by their id",
            )
        if meant >= self.own or meant <= 0:
            raise Refused(
                WRONG_INPUT,
                f"a job cannot depend on job {meant}, which is not before it",
                hint="a job may depend on earlier ones only",
            )
        return meant

    def status(self, job: int) -> str | None:
        """Return how an earlier job stands. Raises Refused if there is no such job."""
        if job >= self.first:
            return None
        known = self.jobs.get(job)
        status = known.status if known is not None else self.history.status(job)
        if status is None:
            raise Refused(
                UNKNOWN_ENTITY,
                f"job {job} is not known, or archived",
                hint="gnt-job list shows the jobs that a job may depend on",
            )
        return status


def _admit_one(spec: JobSpec, role: str, registry: Registry, numbers: _Numbers) -> JobSubmitted:
    if not 0 < len(spec.ops) <= MAX_OPS:
        raise Refused(
            WRONG_INPUT, f"a job of {len(spec.ops)} opcodes", hint=f"it may have 1 to {MAX_OPS}"
        )
    check_priority(spec.priority)
    if len(spec.depends) > len(spec.ops):
        raise Refused(
            WRONG_INPUT,
            f"dependencies of {len(spec.depends)} opcodes, but the job has {len(spec.ops)}",
            hint="give at most one list of dependencies for each opcode",
        )
    opcodes = [registry.admit(packed, role) for packed in spec.ops]
    depends = tuple(
        tuple(kept for item in group if (kept := _dependency(item, numbers)) is not None)
        for group in spec.depends
    )
    return JobSubmitted(
        ops=spec.ops,
        summaries=tuple(opcode.summary() for opcode in opcodes),
        priority=spec.priority,
        depends=depends if any(depends) else (),
        reason=spec.reason,
    )


def check_priority(priority: int) -> None:
    """Raise Refused unless it is one of Ganeti's."""
    if not HIGHEST <= priority <= LOWEST:
        raise Refused(
            WRONG_INPUT, f"priority {priority}", hint=f"{HIGHEST} (first) to {LOWEST} (last)"
        )


def _dependency(item: SpecDependency, numbers: _Numbers) -> Dependency | None:
    job, wanted = numbers.absolute(item[0]), item[1]
    if unknown := set(wanted) - ENDED:
        raise Refused(
            WRONG_INPUT,
            f"a dependency on the status {', '.join(sorted(unknown))}",
            hint=f"one of {', '.join(sorted(ENDED))}",
        )
    status = numbers.status(job)
    dependency = Dependency(job, wanted)
    if status is None or status not in ENDED:
        return dependency
    if status in accepted(dependency):
        return None
    raise Refused(
        WRONG_STATE,
        f"it depends on job {job}, which ended as {status}",
        hint=f"it would have to end as {' or '.join(accepted(dependency))}",
    )


def accepted(dependency: Dependency) -> tuple[str, ...]:
    """Return the states in which the earlier job must have ended."""
    return dependency.status or (SUCCESS,)
