"""Moments as people write them."""

from __future__ import annotations

import datetime

import pytest

from shell.failure import BadUsage
from shell.moments import parse_moment

ZONE = datetime.timezone(datetime.timedelta(hours=2))
NOW = datetime.datetime(2026, 3, 5, 12, 0, 0, tzinfo=ZONE)


def ms(text: str) -> int:
    """Return a time of the test's zone in ms since 1970 UTC."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("11:30", "2026-03-05T11:30"),
        ("11:30:05", "2026-03-05T11:30:05"),
        ("12:30", "2026-03-04T12:30"),
        ("-15m", "2026-03-05T11:45"),
        ("-2d", "2026-03-03T12:00"),
        ("2026-01-02 03:04", "2026-01-02T03:04"),
        ("2026-01-02", "2026-01-02T00:00"),
        ("2026-01-02T01:04Z", "2026-01-02T03:04"),
    ],
)
def test_times(text: str, when: str) -> None:
    """A clock time is the last one that was; a date may have a zone of its own."""
    assert parse_moment(text, NOW).time_ms == ms(when)


def test_seqs() -> None:
    """A number is the seq of a record."""
    assert parse_moment("90432", NOW).seq == 90432


@pytest.mark.parametrize(
    "text",
    [
        "",
        "25:00",
        "yesterday",
        "-",
        "-x",
        "12:61",
        "2026-13-01",
        "9" * 30,
        "-" + "9" * 30,
        "-99999999w",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadUsage):
        parse_moment(text, NOW)
