"""`-X` of hbal and hsqueeze: moves carried out as jobs, set by set (edge).

A set's jobs are submitted together, and all of them must succeed before the next set begins; where
one fails nothing more is submitted. SIGINT (Ctrl-C) ends after the set that runs; SIGTERM, or a
second SIGINT, at once, and the jobs go on by themselves. Either way it says what was done. A
submission bears a key, so one whose answer was lost is repeated and yet made once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from types import FrameType

import msgspec

from commands.api import JobSpec, Submit, Submitted
from commands.placement.balance import Step, job_sets
from commands.placement.state import Placement
from eventstore.errors import EventStoreError, Unreachable
from eventstore.packed import Packed
from shell.failure import Failure
from shell.following import follow
from shell.session import Session
from shell.submission import PRIORITIES
from tools.htools.choices import Choices
from tools.htools.errors import HtoolsError
from tools.htools.jobs import opcodes
from tools.htools.live import open_session, settings_of, told

PATIENCE_S = 60.0
AT_ONCE = 2  # exit status, as Ganeti's


class _Asked:
    """Whether somebody wants it to end."""

    def __init__(self) -> None:
        self.to_stop = False

    def on_interrupt(self, signum: int, frame: FrameType | None) -> None:
        """The first time: after this set. The second: now."""
        if self.to_stop:
            self.on_terminate(signum, frame)
        self.to_stop = True
        print(
            "Cancel request registered, will exit at the end of the current job set...",
            file=sys.stderr,
            flush=True,
        )

    def on_terminate(self, signum: int, frame: FrameType | None) -> None:
        """Now; what is submitted goes on."""
        print(
            "Exiting now; submitted jobs go on (gnt-job list shows them)",
            file=sys.stderr,
            flush=True,
        )
        raise SystemExit(AT_ONCE)


def execute(
    choices: Choices,
    placement: Placement,
    steps: Sequence[Step],
    *,
    program: str = "hbal",
    then: Sequence[dict[str, object]] = (),
) -> bool:
    """Carry out the moves; return whether that was all, or somebody ended it between two sets.

    `placement` names instances and nodes. `then` are opcodes, one job together, for when all
    moves are done. `program` is whose jobs they are.
    """
    sets = job_sets(list(steps))
    if choices.first_job_group:
        sets = sets[:1]
    with closing(open_session(settings_of(choices))) as session, _listening() as asked:
        for number, moves in enumerate(sets):
            if asked.to_stop:
                print(f"Stopped before job set {number + 1} of {len(sets)}: {number} are done.")
                return False
            try:
                _carry_out(session, choices, placement, moves, program)
            except (EventStoreError, Failure) as problem:
                done = f"{number} of {len(sets)} job sets are done"
                raise HtoolsError(f"{told(problem)}; {done}, no more are submitted") from problem
        if then and not choices.first_job_group:
            if asked.to_stop:
                print("Stopped after the last job set: what follows the moves is not done.")
                return False
            try:
                (job,) = _submit(session, Submit(jobs=(_job(choices, then, program),)))
                print(f"Got job IDs {job}", flush=True)
                follow(session, job, quiet=True)
            except (EventStoreError, Failure) as problem:
                raise HtoolsError(f"{told(problem)}; the moves are done") from problem
    return True


@contextmanager
def _listening() -> Iterator[_Asked]:
    asked = _Asked()
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, asked.on_interrupt),
        signal.SIGTERM: signal.signal(signal.SIGTERM, asked.on_terminate),
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _carry_out(
    session: Session, choices: Choices, placement: Placement, moves: Sequence[Step], program: str
) -> None:
    """Submit one set and wait for all of its jobs. Raises Failure if any fails."""
    names = [placement.instances[step.move.instance].name for step in moves]
    print(f"Executing jobset for instances {','.join(names)}", flush=True)
    specs = tuple(_spec(choices, placement, step, program) for step in moves)
    ids = _submit(session, Submit(jobs=specs))
    print(f"Got job IDs {','.join(map(str, ids))}", flush=True)
    problems = []
    for job, name in zip(ids, names, strict=True):
        try:
            follow(session, job, quiet=True)
        except Failure as failure:
            problems.append(f"job {job} ({name}): {' '.join(failure.message.split())}")
    if problems:
        raise Failure(f"Not all jobs completed successfully: {'; '.join(problems)}")


def _spec(choices: Choices, placement: Placement, step: Step, program: str) -> JobSpec:
    instance = placement.instances[step.move.instance]
    return _job(choices, opcodes(step.move, instance, placement.frame.names), program)


def _job(choices: Choices, ops: Sequence[dict[str, object]], program: str) -> JobSpec:
    reason = ((program, choices.reason or "Cluster balancing", time.time_ns()),)
    packed = tuple(map(_packed, ops))
    return JobSpec(ops=packed, priority=PRIORITIES[choices.priority or "normal"], reason=reason)


def _packed(op: dict[str, object]) -> Packed:
    fields = {key: value for key, value in op.items() if key != "OP_ID"}
    return Packed(str(op["OP_ID"]), 1, msgspec.Raw(msgspec.msgpack.encode(fields)))


def _submit(session: Session, jobs: Submit) -> tuple[int, ...]:
    key = os.urandom(16).hex()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return session.ask("submit", jobs, Submitted, key=key).jobs
        except Unreachable:
            if time.monotonic() >= deadline:
                raise
