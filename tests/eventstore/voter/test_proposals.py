"""What becomes of what is proposed, on a real log with one voter."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore.clock import COUNTER_BITS
from eventstore.record import ANY_VERSION, Batch
from eventstore.replica import Committed, Outcome, Refused, Unknown
from eventstore.voter.idempotency import KEPT_MS
from tests.eventstore.storage_lab import Lab, batch


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "log")


def test_proposals_are_pipelined_against_what_is_appended(lab: Lab) -> None:
    """The second of two appends may expect the version that the first one makes."""
    replica = lab.open()
    good = [batch("a", expected={"a": n}) for n in range(20)]
    outcomes = lab.ask(replica, *good, batch("a", expected={"a": 7}))
    assert all(isinstance(outcome, Committed) for outcome in outcomes[:-1])
    clash = outcomes[-1]
    assert isinstance(clash, Refused)
    assert (clash.code, clash.stream, clash.expected, clash.actual) == ("clash", "a", 7, 20)
    replica.close()


def test_a_clash_in_any_stream_refuses_the_whole_batch(lab: Lab) -> None:
    """All or none: one stream at another version and nothing is appended."""
    replica = lab.open()
    before = replica.committed
    expected = {"a": 0, "b": 1, "c": ANY_VERSION}
    (outcome,) = lab.ask(replica, batch("a", "b", "c", expected=expected))
    assert isinstance(outcome, Refused)
    assert outcome.stream == "b"
    assert (replica.committed, replica.version("a")) == (before, 0)
    replica.close()


def test_a_repeated_key_finds_what_it_did_the_first_time(lab: Lab) -> None:
    """At once, after commit, after a restart: the same records, marked as a repetition."""
    replica = lab.open()
    asked = batch("a", "b", key="k1", expected={"a": 0})
    first, second = lab.ask(replica, asked, asked)
    (third,) = lab.ask(replica, asked)
    replica.close()
    replica = lab.open()
    (fourth,) = lab.ask(replica, asked)
    assert isinstance(first, Committed)
    assert not first.repeated
    for later in (second, third, fourth):
        assert later == Committed(first.records, repeated=True)
    assert replica.version("a") == 1
    replica.close()


def test_a_key_belongs_to_its_actor(lab: Lab) -> None:
    """Nobody can take away another's request by using its key first."""
    replica = lab.open()
    mine, yours = lab.ask(
        replica, batch("a", key="k", actor="node:1"), batch("a", key="k", actor="node:2")
    )
    assert isinstance(mine, Committed)
    assert isinstance(yours, Committed)
    assert not yours.repeated
    replica.close()


def test_a_key_of_last_week_is_expired(lab: Lab) -> None:
    """After seven days by record time a key is refused; until then it is known."""
    replica = lab.open()
    lab.ask(replica, batch("a", key="k"))
    lab.now_ms += KEPT_MS - 1000
    (known,) = lab.ask(replica, batch("a", key="k"))
    lab.now_ms += 2000
    (expired,) = lab.ask(replica, batch("a", key="k"))
    assert isinstance(known, Committed)
    assert isinstance(expired, Refused)
    assert expired.code == "key-expired"
    assert expired.hint
    replica.close()


def test_batches_beyond_the_limits_are_refused(lab: Lab) -> None:
    """A record over 512 KiB and a batch over 1 MiB are refused with what the limit is."""
    replica = lab.open()
    large, many, fine = lab.ask(
        replica,
        batch("a", text="x" * (512 << 10)),
        batch(*["a"] * 3, text="x" * (400 << 10)),
        batch("a", expected={"a": 0}),
    )
    assert isinstance(large, Refused)
    assert isinstance(many, Refused)
    assert (large.code, many.code) == ("too-large", "too-large")
    assert isinstance(fine, Committed), "nothing of what was refused is appended"
    replica.close()


@pytest.mark.parametrize("bad", [Batch(drafts=()), batch(""), batch("a\0b"), batch("x" * 256)])
def test_a_batch_that_no_caller_may_make_is_an_error(lab: Lab, bad: Batch) -> None:
    """Our own mistakes raise at once and change nothing."""
    replica = lab.open()
    with pytest.raises(ValueError):
        replica.propose(bad, lambda _outcome: None)
    assert isinstance(lab.ask(replica, batch("a", expected={"a": 0}))[0], Committed)
    replica.close()


def test_time_in_the_log_does_not_follow_a_clock_that_is_set_back(lab: Lab) -> None:
    """Also across a restart, each record's time is after the one before."""
    replica = lab.open()
    lab.ask(replica, batch("a"))
    replica.close()
    lab.now_ms -= 3_600_000
    replica = lab.open()
    lab.ask(replica, batch("a"), batch("a"))
    times = [stored.record.time for stored in replica.read(1, replica.committed)]
    assert times == sorted(set(times))
    assert times[-1] >> COUNTER_BITS > lab.now_ms
    replica.close()


def test_closing_leaves_no_proposal_without_an_answer(lab: Lab) -> None:
    """What was proposed is durable after close, and its proposer is told, or told unknown."""
    replica = lab.open()
    outcomes: list[Outcome] = []
    replica.propose(batch("a"), outcomes.append)
    replica.close()
    lab.run_until(lambda: bool(outcomes))
    assert len(outcomes) == 1
    assert isinstance(outcomes[0], Unknown)
    again = lab.open()
    assert again.version("a") == 1
    again.close()
