"""Placing batches at the end of the log: against the definition, one record after the other."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.clock import HybridClock
from eventstore.codec import decode_record
from eventstore.record import (
    MAX_BATCH_BYTES,
    MAX_RECORD_BYTES,
    Batch,
    Draft,
    Epoch,
    Event,
    chain_hash,
)
from eventstore.replica import Refused
from eventstore.voter.appended import Appended, Placed

EPOCH = Epoch(2, 5)
START = b"\x07" * 32
streams = st.sampled_from(["a", "b", "job/1"])
drafted = st.lists(st.lists(streams, min_size=1, max_size=8), max_size=5)


class Noted(Event, frozen=True, kw_only=True):
    """Something with a text of any length."""

    KIND: ClassVar[str] = "test.noted"

    text: str = ""


def an_end() -> Appended:
    """Return the end of a log of ten records, two of them in stream "a"."""
    drawn = iter(range(1, 1_000_000))
    return Appended(
        seq=10,
        last_hash=START,
        versions={"a": 2},
        clock=HybridClock(77 << 16),
        origin="v1",
        draw_bytes=lambda size: b"".join(
            next(drawn).to_bytes(16, "big") for _ in range(size // 16)
        ),
    )


def a_batch(names: list[str], *, text: str = "", actor: str = "op:x") -> Batch:
    """Return a batch with an event in each of these streams."""
    return Batch(
        drafts=tuple(
            Draft(stream=name, event=Noted(text=f"{text}{n}"), actor=actor, job=n, key=f"k{n}")
            for n, name in enumerate(names)
        )
    )


def placed(end: Appended, batch: Batch, now_ms: int = 80) -> Placed:
    """Place a batch that is good."""
    done = end.place(batch, EPOCH, now_ms)
    assert isinstance(done, Placed)
    return done


@pytest.mark.property
@given(drafted)
def test_every_record_is_where_the_definition_puts_it(batches: list[list[str]]) -> None:
    """Seqs and stream versions are dense, ids differ, times rise, each hash chains the bytes."""
    end = an_end()
    seq, last_hash, versions, times, ids = 10, START, {"a": 2}, [77 << 16], set[bytes]()
    for names in batches:
        done = placed(end, a_batch(names))
        assert done.entry.previous == last_hash
        assert done.entry.size == sum(len(stored.encoded) for stored in done.entry.records)
        for index, (name, stored, row) in enumerate(
            zip(names, done.entry.records, done.entry.rows(), strict=True)
        ):
            seq, versions[name] = seq + 1, versions.get(name, 0) + 1
            last_hash = chain_hash(last_hash, stored.encoded)
            record = stored.record
            assert decode_record(stored.encoded) == record
            assert (record.seq, record.stream, record.version) == (seq, name, versions[name])
            assert (record.index, record.count, record.job) == (index, len(names), index)
            assert (record.key, record.actor, record.origin) == (f"k{index}", "op:x", "v1")
            assert stored.hash == last_hash
            assert row == (seq, *EPOCH, last_hash, stored.encoded)
            times.append(record.time)
            ids.add(record.event_id)
        assert (end.seq, end.hash) == (seq, last_hash)
    assert times == sorted(set(times))
    assert len(ids) == seq - 10
    assert {name: end.version(name) for name in versions} == versions


@pytest.mark.property
@given(drafted)
def test_what_is_taken_back_last_first_was_never_there(batches: list[list[str]]) -> None:
    """After all of it is taken back, the end and the versions are as they were."""
    end = an_end()
    for done in reversed([placed(end, a_batch(names)) for names in batches]):
        end.take_back(done)
    assert (end.seq, end.hash) == (10, START)
    assert [end.version(name) for name in ("a", "b", "job/1")] == [2, 0, 0]


@pytest.mark.parametrize(
    ("batch", "told", "limit"),
    [
        (a_batch(["a", "b"], text="x" * (600 << 10)), "a record of", MAX_RECORD_BYTES),
        (a_batch(["a", "b", "a"], text="x" * (400 << 10)), "a batch of", MAX_BATCH_BYTES),
    ],
)
def test_a_batch_that_is_too_large_changes_nothing(batch: Batch, told: str, limit: int) -> None:
    """One record too large, or all of them together: refused, and the end is where it was."""
    end = an_end()
    refused = end.place(batch, EPOCH, 80)
    assert isinstance(refused, Refused)
    assert refused.code == "too-large"
    assert refused.message.startswith(told)
    assert f"{limit} bytes" in refused.hint
    assert (end.seq, end.hash, end.version("a"), end.version("b")) == (10, START, 2, 0)


@pytest.mark.parametrize(
    "draft",
    [
        Draft(stream="", event=Noted(), actor="op:x"),
        Draft(stream="b\0", event=Noted(), actor="op:x"),
        Draft(stream="b" * 256, event=Noted(), actor="op:x"),
        Draft(stream="b", event=Noted(), actor="op:\0"),
        Draft(stream="b", event=Noted(), actor="op:x", key="k\0"),
    ],
)
def test_names_that_would_break_a_frame_are_refused_wherever_they_stand(draft: Draft) -> None:
    """NUL, too long or no stream at all, in any draft of a batch: ValueError, nothing placed."""
    end = an_end()
    good = Draft(stream="a", event=Noted(), actor="op:x")
    with pytest.raises(ValueError, match=r"name has at most|needs a stream"):
        end.place(Batch(drafts=(good, draft)), EPOCH, 80)
    assert (end.seq, end.version("a"), end.version("b")) == (10, 2, 0)
