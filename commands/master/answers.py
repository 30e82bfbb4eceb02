"""How an outcome of the log, or a refusal, goes back to the one who asked (edge)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, assert_never

from commands.errors import INTERNAL_ERROR, UNKNOWN_ENTITY, WRONG_INPUT
from commands.errors import Refused as OpRefused
from eventstore.errors import EventStoreError, NotLeader, Unreachable
from eventstore.replica import Committed, Leadership, Outcome, Refused, Unknown
from eventstore.serving.server import Handler, ReplyTo, Request
from eventstore.wire.faults import RemoteError
from projections.errors import NoSuchObject, ProjectionError
from projections.moments import NoSuchMoment
from projections.query.evaluate import UnknownTable
from projections.query.filters import BadFilter

_log = logging.getLogger(__name__)


def answer_outcome(reply: ReplyTo, outcome: Outcome, body: Any = None) -> None:
    """Answer with `body` if the proposal was committed, else with what became of it."""
    match outcome:
        case Committed():
            reply.done(body)
        case Refused(code="not-leader"):
            reply.fail(NotLeader(outcome.message, leader=outcome.hint))
        case Refused():
            reply.fail(RemoteError(outcome.code, outcome.message, hint=outcome.hint))
        case Unknown():
            reply.fail(Unreachable(outcome.message, hint="ask again with the same key"))
        case _:
            assert_never(outcome)


_LONGEST = 200  # of what an unforeseen error says
MAY_LAG = "this voter may lag"  # what it does not know, the leader may


def not_leader(leadership: Leadership, why: str = "this voter does not lead") -> NotLeader:
    """Return the refusal that sends whoever asks on to the leader, if one is known."""
    return NotLeader(why, leader=leadership.leader or "")


def guarded(handler: Handler) -> Handler:
    """Return `handler`, so that what it refuses is an error reply."""

    def answer(request: Request, reply: ReplyTo) -> None:
        with refusals_as_remote():
            handler(request, reply)

    return answer


def reading(handler: Handler) -> Handler:
    """Return `handler`, which only reads, so that also a bug in it is no more than an error reply.

    Nothing is half done by it that the daemon would have to end for (decision 0185).
    """

    def answer(request: Request, reply: ReplyTo) -> None:
        with refusals_as_remote(), bugs_as_remote(request.kind):
            handler(request, reply)

    return answer


@contextmanager
def bugs_as_remote(what: str) -> Iterator[None]:
    """Raise what nobody foresaw as the error that crosses the wire; the daemon's log has it all."""
    try:
        yield
    except (EventStoreError, OpRefused, ProjectionError):
        raise
    except Exception as bug:
        _log.exception("a question (%s) was not answered", what)
        raise RemoteError(
            INTERNAL_ERROR,
            f"{type(bug).__name__}: {bug}"[:_LONGEST],
            hint="this is a bug of Cairn; the master daemon's log shows where",
        ) from bug


@contextmanager
def refusals_as_remote() -> Iterator[None]:
    """Raise what the rooms below refuse as the error that crosses the wire."""
    try:
        yield
    except OpRefused as refused:
        raise RemoteError(refused.code, refused.message, hint=refused.hint) from None
    except NoSuchObject as missing:
        raise RemoteError(
            UNKNOWN_ENTITY, str(missing), hint=missing.hint, data={"name": missing.name}
        ) from None
    except (BadFilter, UnknownTable, NoSuchMoment) as wrong:
        raise RemoteError(WRONG_INPUT, str(wrong), hint=getattr(wrong, "hint", "")) from None
