"""Following a job until it ends: its lines as they come, progress where a person looks (edge).

What ends the watching never ends the job. A master that restarts in the middle is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from commands.api import JobNews, OpNews, WaitJob
from eventstore.errors import Unreachable
from shell.failure import Failure, Status, refused
from shell.render.cells import printable
from shell.session import Session

POLL_S = 5.0
_SLACK_S = 3.0  # beyond it, an answer to a poll is late: the master is gone or busy
PATIENCE_S = 300.0  # how long a master that is gone is waited for

PARKED = "needs-attention"


@dataclass(frozen=True, slots=True)
class Result:
    """A job that succeeded, and what its opcodes brought."""

    job: int
    values: tuple[object, ...]


def listed(result: object) -> list[Any]:  # Any: rows as the opcode's module describes them
    """Return a result that is a list. Raises Failure: a master of another version may differ."""
    if isinstance(result, list):
        return result
    raise _strange(result)


def mapped(result: object) -> Mapping[str, Any]:  # Any: as the opcode's module describes them
    """Return a result that is a mapping. Raises Failure as `listed` does."""
    if isinstance(result, Mapping):
        return result
    raise _strange(result)


def _strange(result: object) -> Failure:
    return Failure(
        f"the result is not understood: {result!r}",
        hint="this command and the master may be of different versions; see gnt-cluster version",
    )


def follow(session: Session, job: int, *, quiet: bool = False) -> Result:
    """Print a job's feedback as it comes and return its result.

    Raises Failure if it fails, is canceled or parked, with why; and on Ctrl-C, with how to go on.
    """
    screen = _Progress(session)
    serial = 0
    told: tuple[str, ...] = ()
    try:
        while True:
            news = _news(session, job, serial)
            serial = news.serial
            for line in () if quiet else news.lines:
                screen.clear()
                session.say(f"{time.ctime(line.time_ms // 1000)} {printable(line.text)}")
                session.out.flush()
            if news.ended or news.status == PARKED:
                screen.clear()
                return _result(news)
            if news.waits_for and news.waits_for != told:
                screen.clear()
                session.note(f"Job {job} waits for {', '.join(news.waits_for)}")
                told = news.waits_for
            if not quiet:
                screen.show(news)
    except KeyboardInterrupt:
        screen.clear()
        raise Failure(
            f"Job {job} goes on by itself.",
            hint=f"gnt-job watch {job} follows it; gnt-job cancel {job} stops it",
            status=Status.INTERRUPTED,
        ) from None


def _news(session: Session, job: int, since: int) -> JobNews:
    deadline = time.monotonic() + PATIENCE_S
    told = False
    while True:
        try:
            body = WaitJob(job=job, since=since, timeout_s=POLL_S)
            news = session.ask("wait-job", body, JobNews, timeout_s=POLL_S + _SLACK_S)
        except Unreachable as error:
            if time.monotonic() >= deadline:
                raise Failure(
                    f"Cannot communicate with the master daemon: {error}",
                    hint=f"job {job} is in the log and goes on; gnt-job watch {job} looks again",
                ) from None
            if not told:
                session.note(f"The master daemon does not answer; job {job} is safe. Waiting.")
                told = True
            continue
        if told:
            session.note("The master daemon is back.")
        return news


def _result(news: JobNews) -> Result:
    if news.status == "success":
        return Result(news.job, tuple(msgspec.msgpack.decode(op.result) for op in news.ops))
    if news.status == "canceled":
        raise Failure(f"Job {news.job} was canceled; what it had done was undone.")
    failed = next((op for op in news.ops if op.status in ("error", PARKED)), None)
    assert failed is not None, news
    raise _failure(news.job, failed)


def _failure(job: int, op: OpNews) -> Failure:
    if op.status == PARKED:
        return Failure(  # what would have helped the step is no help with what is left of it
            f"Job {job} needs attention: {op.summary}: {op.message}",
            hint=f"gnt-job info {job} shows what is left where; then gnt-job resolve"
            f" --retry|--accept|--undo {job}",
        )
    return refused(op.code, op.message, op.hint, step=op.step)


class _Progress:
    """One line that is written over itself, on a terminal only."""

    def __init__(self, session: Session) -> None:
        self._stream = session.err if session.is_terminal else None
        self._shown = False

    def show(self, news: JobNews) -> None:
        op = next((op for op in news.ops if op.status in ("running", "canceling")), None)
        if self._stream is None or op is None or not op.steps:
            return
        last = next((line for line in reversed(news.lines) if line.percent is not None), None)
        parts = [f"job {news.job}", f"[{op.steps_done}/{op.steps}]", op.step]
        if news.sync_percent is not None:
            parts.append(f"{news.sync_percent:.1f} % in sync")
            if news.sync_eta_s is not None:
                parts.append(f"{news.sync_eta_s:.0f} s left")
        elif last is not None:
            parts.append(f"{last.percent:.0f} %")
            if last.eta_s is not None:
                parts.append(f"{last.eta_s:.0f} s left")
        self._stream.write("\r\x1b[K" + "  ".join(filter(None, parts)))
        self._stream.flush()
        self._shown = True

    def clear(self) -> None:
        if self._stream is not None and self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False
