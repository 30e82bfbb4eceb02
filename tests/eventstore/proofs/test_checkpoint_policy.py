from __future__ import annotations

from eventstore.proofs.checkpoint_policy import EVERY_RECORDS, EVERY_S, CheckpointPolicy
from eventstore.record import Stored
from tests.eventstore.test_codec import a_record


def committed(seq: int, kind: str = "test.happened") -> list[Stored]:
    return [Stored(a_record(seq=seq, kind=kind), b"", b"")]


def test_an_idle_log_gets_no_checkpoints() -> None:
    """A checkpoint is no news, so it is not followed by another."""
    policy = CheckpointPolicy(covered=3, news=3)
    assert not policy.due(100.0)
    policy.on_committed(committed(4, "log.checkpoint"))
    assert not policy.due(1000.0)


def test_news_are_covered_after_five_seconds() -> None:
    """One record is enough, five seconds after it was noticed."""
    policy = CheckpointPolicy()
    policy.on_committed(committed(1))
    assert not policy.due(10.0)
    assert not policy.due(10.0 + EVERY_S - 0.1)
    assert policy.due(10.0 + EVERY_S)
    policy.made(1)
    assert not policy.due(99.0)


def test_a_thousand_records_are_covered_at_once() -> None:
    """Under load there is a checkpoint for each 1,000 records."""
    policy = CheckpointPolicy()
    policy.on_committed(committed(EVERY_RECORDS - 1))
    assert not policy.due(0.0)
    policy.on_committed(committed(EVERY_RECORDS))
    assert policy.due(0.0)
