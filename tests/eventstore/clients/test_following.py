"""Following the log: each record once and in order, whatever is lost, repeated or reordered."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.clients.following import Follower, Log, Streams
from eventstore.errors import CorruptLog
from eventstore.record import Stored
from tests.eventstore.wire_voter import CLUSTER, MemoryReplica

batches = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=15)


def log_of(shape: list[list[str]]) -> MemoryReplica:
    replica = MemoryReplica()
    for batch in shape:
        replica.append(*batch)
    return replica


def fetch(follower: Follower, replica: MemoryReplica, limit: int) -> list[Stored]:
    """Answer what the follower wants, `limit` records at a time, until it wants no more."""
    got: list[Stored] = []
    for _ in range(1000):
        wanted = follower.wanted()
        if wanted is None or not (follower.gap or wanted.stream):
            return got
        if wanted.stream:
            found = replica.read_stream(wanted.stream, wanted.first, limit + 1)
        else:
            found = replica.read(wanted.first, wanted.first + limit)
        more = len(found) > limit
        got += follower.fetched(
            wanted, found[:limit], more=more, as_of=replica.committed, leads=True
        )
    raise AssertionError("the follower never had enough")


def publish_badly(follower: Follower, records: list[Stored], chance: random.Random) -> list[Stored]:
    """Publish with losses, repetitions and some disorder."""
    sent = [r for r in records for _ in range(chance.choice([0, 1, 1, 2]))]
    if chance.random() < 0.3:
        chance.shuffle(sent)
    got: list[Stored] = []
    while sent:
        cut = chance.randint(1, 4)
        # A voter's publication is dense; after losses none of these is, so none checks anything.
        got += follower.take(sent[:cut], checked_to=-1)
        sent = sent[cut:]
    return got


@pytest.mark.property
@given(batches, st.integers(0, 2**32), st.integers(1, 5))
def test_the_whole_log_comes_once_and_in_order(
    shape: list[list[str]], seed: int, limit: int
) -> None:
    """Whatever publishing loses, repeats and shuffles, and however fetches are cut, the log comes
    out exactly, in whole batches."""
    chance, replica = random.Random(seed), log_of(shape)
    follower = Log.from_start(CLUSTER)
    half = chance.randint(0, len(replica.log))
    got = publish_badly(follower, replica.log[:half], chance)
    if chance.random() < 0.5:
        follower.hear(half, gen=1)
        got += fetch(follower, replica, limit)
    got += publish_badly(follower, replica.log[half:], chance)
    follower.hear(replica.committed, gen=1)
    got += fetch(follower, replica, limit)
    assert got == replica.log


@pytest.mark.property
@given(batches, st.integers(0, 2**32), st.integers(1, 5))
def test_streams_come_once_and_in_order(shape: list[list[str]], seed: int, limit: int) -> None:
    """The same for some streams: each comes out exactly, in the order of its versions."""
    chance, replica = random.Random(seed), log_of(shape)
    follower = Streams({"a": 0, "b": 0})
    ours = [stored for stored in replica.log if stored.record.stream in "ab"]
    half = chance.randint(0, len(ours))
    got = publish_badly(follower, ours[:half], chance)
    got += fetch(follower, replica, limit)
    got += publish_badly(follower, ours[half:], chance)
    follower.hear(replica.committed, gen=1)
    follower.check()
    got += fetch(follower, replica, limit)
    for stream in "ab":
        assert [s for s in got if s.record.stream == stream] == [
            s for s in ours if s.record.stream == stream
        ]
    assert follower.positions == {s: replica.version(s) for s in "ab"}


@pytest.mark.property
@given(batches, st.data())
def test_following_resumes_behind_any_record(shape: list[list[str]], data: st.DataObject) -> None:
    """A log or a stream that is resumed behind a record goes on with the next one."""
    replica = log_of([*shape, ["a"]])
    at = data.draw(st.integers(1, len(replica.log)))
    last = replica.log[at - 1]
    follower = Log(at, last.hash)
    follower.hear(replica.committed, gen=1)
    assert fetch(follower, replica, 3) == replica.log[at:]
    version = data.draw(st.integers(0, replica.version("a")))
    streams = Streams({"a": version})
    assert fetch(streams, replica, 3) == list(replica.read_stream("a", version + 1, 10**6))


def forged(stored: Stored) -> Stored:
    """The same record with one bit of its bytes flipped."""
    return msgspec.structs.replace(
        stored, encoded=stored.encoded[:-1] + bytes([stored.encoded[-1] ^ 1])
    )


def test_a_changed_record_breaks_the_chain_at_its_seq() -> None:
    """A record whose bytes were changed is named by its seq."""
    replica = log_of([["a"], ["b"], ["c"]])
    follower = Log.from_start(CLUSTER)
    with pytest.raises(CorruptLog) as broken:
        follower.take([replica.log[0], forged(replica.log[1])], checked_to=2)
    assert broken.value.seq == 2


def test_a_log_of_another_cluster_is_refused() -> None:
    """The chain begins with the cluster's id."""
    replica = log_of([["a"]])
    with pytest.raises(CorruptLog):
        Log.from_start("another").take(replica.log, checked_to=1)


def test_a_replaced_history_is_seen_at_resume() -> None:
    """Who resumes behind a record that is another one now is told so."""
    before, after = log_of([["a"], ["b"]]), log_of([["a"], ["c"], ["c"]])
    follower = Log(2, before.log[1].hash)
    follower.hear(3, gen=1)
    with pytest.raises(CorruptLog):
        fetch(follower, after, 10)


def test_a_shorter_history_under_a_new_generation_is_seen() -> None:
    """After a forced takeover that lost what was seen, the leader's answer shows it; a voter that
    merely lags raises no alarm."""
    replica = log_of([["a"], ["b"], ["c"]])
    follower = Log.from_start(CLUSTER)
    follower.hear(3, gen=1)
    fetch(follower, replica, 10)
    follower.hear(2, gen=2)
    wanted = follower.wanted()
    assert wanted is not None
    assert wanted.first == 3
    assert follower.fetched(wanted, [], more=False, as_of=2, leads=False) == []
    with pytest.raises(CorruptLog):
        follower.fetched(wanted, [], more=False, as_of=2, leads=True)


def test_a_record_of_a_stream_not_asked_for_is_refused() -> None:
    """A voter that answers with another stream's record is contradicted."""
    replica = log_of([["a"], ["b"]])
    with pytest.raises(CorruptLog):
        Streams({"a": 0}).take(replica.log, checked_to=2)


def test_two_streams_do_not_chase_a_head_that_moves_on() -> None:
    """One check asks each stream once, though every answer is as of a later seq."""
    replica = log_of([["a"], ["b"]])
    follower = Streams({"a": 0, "b": 0})
    asked = 0
    while (wanted := follower.wanted()) is not None:
        found = replica.read_stream(wanted.stream, wanted.first, 9)
        follower.hear(replica.committed, gen=1)
        follower.fetched(wanted, found, more=False, as_of=replica.committed, leads=True)
        replica.append("c")
        asked += 1
        assert asked <= 2
    follower.check()
    assert follower.wanted() is not None


def test_a_stream_is_handed_on_again_after_a_rewind() -> None:
    """After `rewind` the records behind that version come once more."""
    replica = log_of([["a"], ["a"], ["a"]])
    follower = Streams({"a": 0})
    assert fetch(follower, replica, 9) == replica.log
    follower.rewind("a", 1)
    assert fetch(follower, replica, 9) == replica.log[1:]
