"""Earlier states are worked out beside the daemon's thread, and answered on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from commands.api import Moment
from commands.master.past import Past
from eventstore.errors import EventStoreError, NotLeader
from eventstore.reactor import Reactor
from eventstore.record import Stored
from eventstore.replica import Leadership, Replica
from eventstore.serving.server import ReplyTo
from projections.moments import NoSuchMoment
from projections.state import Projector, State, digest_of
from tests.projections.log_on_disk import snapshots, write_log
from tests.projections.stories import Story


@dataclass
class Reply:
    """The way back to somebody who asks."""

    closed: bool = False
    failed: list[EventStoreError] = field(default_factory=list)

    def fail(self, error: EventStoreError) -> None:
        self.failed.append(error)


@dataclass
class Asked:
    """A past over a log on disk, and what came of asking it."""

    reactor: Reactor
    past: Past
    records: list[Stored]
    present: State
    answers: list[State] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)

    def at(self, moment: Moment | None, reply: Reply | None = None) -> Reply:
        reply = reply or Reply()
        self.past.at(moment, cast(ReplyTo, reply), self._make, self.answers.append)
        return reply

    def _make(self, state: State) -> State:
        self.threads.append(threading.current_thread().name)
        return state


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    story = Story()
    story.found(3)
    story.create("a.example.net", primary=story.nodes[0], secondary=story.nodes[1])
    records = story.log.records
    write_log(tmp_path, records)
    projector = Projector()
    projector.apply(records)
    reactor = Reactor()
    here = Leadership((1, 1), "node1", here=True, ready=True)
    replica = cast(Replica, SimpleNamespace(committed=len(records), leadership=here))
    store = snapshots(tmp_path)
    past = Past(reactor, tmp_path, replica, store, lambda: projector.state)
    reactor.on_close(store.close)
    reactor.on_close(past.close)
    yield Asked(reactor, past, records, projector.state)
    reactor.close()


def test_an_earlier_state_is_worked_out_on_another_thread(asked: Asked) -> None:
    """Whoever asks is answered later, on the reactor's thread, with the state as it was."""
    asked.at(Moment(seq=9))
    assert not asked.answers, "the daemon's thread has not waited"
    asked.reactor.run_until(lambda: bool(asked.answers), timeout_s=10.0)
    (state,) = asked.answers
    assert state.seq >= 9
    before = Projector()
    before.apply(asked.records[: state.seq])
    assert digest_of(state) == before.digest()
    assert asked.threads == ["past_0"]


def test_the_present_is_answered_at_once(asked: Asked) -> None:
    """Now, by seq or by a time since the last record: nothing has to be folded."""
    later_ms = asked.present.unix_ms + 1
    for moment in (None, Moment(), Moment(seq=asked.present.seq), Moment(time_ms=later_ms)):
        asked.at(moment)
    assert all(state is asked.present for state in asked.answers)
    assert len(asked.answers) == 4
    assert set(asked.threads) == {"MainThread"}


def test_what_is_still_to_come_is_refused_with_where_the_log_ends(asked: Asked) -> None:
    """A record that is not there yet, none, a time in the future."""
    head = asked.present.seq
    hour_ms = 3_600_000
    for moment, message in (
        (Moment(seq=head + 1), f"no record {head + 1} yet"),
        (Moment(seq=0), "count from 1"),
        (Moment(time_ms=time.time_ns() // 1_000_000 + hour_ms), "still to come"),
        (Moment(time_ms=1 << 62), "still to come"),
    ):
        with pytest.raises(NoSuchMoment, match=message) as refused:
            asked.at(moment)
        assert f"ends with record {head}, of 20" in refused.value.hint
    asked.at(Moment(time_ms=time.time_ns() // 1_000_000 + 1000))  # clocks differ a little
    assert asked.answers == [asked.present]


@pytest.mark.parametrize(
    "leadership",
    [
        Leadership((1, 1), "node2", here=False, ready=False),
        Leadership((1, 1), "node2", here=True, ready=False),
    ],
)
def test_a_voter_that_may_lag_leaves_newer_records_to_the_leader(
    asked: Asked, leadership: Leadership
) -> None:
    """A follower, and a leader that has not committed yet; who asks goes on to whoever has."""
    cast(Any, asked.past)._replica.leadership = leadership
    with pytest.raises(NotLeader) as told:
        asked.at(Moment(seq=asked.present.seq + 1))
    assert told.value.leader == "node2"


def test_a_time_before_the_first_record_is_refused(asked: Asked) -> None:
    """With the time at which the log begins."""
    reply = asked.at(Moment(time_ms=-86_400_000))
    asked.reactor.run_until(lambda: bool(reply.failed), timeout_s=10.0)
    (refused,) = reply.failed
    assert "nothing as old as 1969-12-31" in str(refused)
    assert refused.hint.startswith("it begins at 20")


def test_a_moment_by_its_time(asked: Asked) -> None:
    """The state after the last record that is not younger."""
    time_ms = asked.records[8].record.unix_ms
    asked.at(Moment(time_ms=time_ms))
    asked.reactor.run_until(lambda: bool(asked.answers), timeout_s=10.0)
    assert asked.answers[0].unix_ms <= time_ms


def test_a_state_that_was_asked_for_is_at_hand_for_a_while(asked: Asked) -> None:
    """The last three are kept."""
    for seq in (3, 5, 7, 9):
        count = len(asked.answers)
        asked.at(Moment(seq=seq))
        asked.reactor.run_until(lambda: len(asked.answers) > count, timeout_s=10.0)  # noqa: B023
    asked.at(Moment(seq=9))
    assert len(asked.answers) == 5
    asked.at(Moment(seq=3))
    assert len(asked.answers) == 5, "the oldest has to be worked out again"


def test_nothing_is_worked_out_for_somebody_who_has_gone(asked: Asked) -> None:
    """A closed reply is passed over, and those behind it are answered."""
    asked.at(Moment(seq=5), Reply(closed=True))
    asked.at(Moment(seq=7))
    asked.reactor.run_until(lambda: bool(asked.answers), timeout_s=10.0)
    assert len(asked.threads) == len(asked.answers) == 1


def test_a_log_that_cannot_be_read_is_an_error_of_the_request(asked: Asked) -> None:
    """The daemon goes on."""
    cast(Any, asked.past)._log = Path("/nowhere")
    reply = asked.at(Moment(seq=5))
    asked.reactor.run_until(lambda: bool(reply.failed), timeout_s=10.0)
    assert not asked.answers
