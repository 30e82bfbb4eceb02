"""What goes wrong while somebody is answered, and to whom it is told."""

from __future__ import annotations

import logging
from typing import cast

import msgspec
import pytest

from commands.errors import WRONG_INPUT, Refused
from commands.master.answers import guarded, reading
from eventstore.serving.server import Handler, ReplyTo, Request
from eventstore.wire.faults import RemoteError
from projections.query.filters import BadFilter

REQUEST = Request(
    kind="query",
    actor="operator:alice",
    role="operator",
    curve_key="",
    key=None,
    deadline=0.0,
    body=msgspec.Raw(b""),
)


def failing(error: Exception) -> Handler:
    def handler(request: Request, reply: ReplyTo) -> None:
        raise error

    return handler


def test_a_bug_in_a_question_is_told_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever asks hears of it, the daemon's log has its trace, and nothing else is raised."""
    with caplog.at_level(logging.ERROR), pytest.raises(RemoteError) as told:
        reading(failing(KeyError(2312)))(REQUEST, cast(ReplyTo, None))
    assert (told.value.code, str(told.value)) == ("internal_error", "KeyError: 2312")
    assert "KeyError" in caplog.text


def test_a_bug_in_an_order_is_raised() -> None:
    """What is half done must not be gone on with: it ends the daemon."""
    with pytest.raises(KeyError):
        guarded(failing(KeyError(2312)))(REQUEST, cast(ReplyTo, None))


@pytest.mark.parametrize("refused", [Refused(WRONG_INPUT, "no", hint="yes"), BadFilter("no")])
def test_a_refusal_is_one_whoever_is_asked(
    refused: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """With its code; it is no bug, and not recorded as one."""
    for way in (reading, guarded):
        with pytest.raises(RemoteError) as told:
            way(failing(refused))(REQUEST, cast(ReplyTo, None))
        assert told.value.code == WRONG_INPUT
    assert not caplog.records
