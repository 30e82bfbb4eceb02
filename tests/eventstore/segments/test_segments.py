from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from eventstore.raft.messages import Message, SegmentChunk
from eventstore.raft.state import Timing
from eventstore.record import Batch, Draft
from eventstore.replica import Committed
from eventstore.storage.verify import verify
from tests.eventstore.quorum_lab import Member, QuorumLab, hashes
from tests.eventstore.storage_lab import Happened, batch

# The voters share one thread, and some of what they do here is long.
TIMING = replace(Timing(), heartbeat_ms=100, segment_lag=100, segment_records=2000)

pytestmark = pytest.mark.acceptance


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[QuorumLab]:
    lab = QuorumLab(tmp_path, timing=TIMING)
    try:
        yield lab
    finally:
        lab.close()
        assert not lab.fatalities


def large(count: int, each: int) -> list[Batch]:
    """Batches of so many records."""
    drafts = [
        Draft(stream=f"s/{n % 7}", event=Happened(what=n, text="x" * 300), actor="operator:ann")
        for n in range(each)
    ]
    return [Batch(drafts=tuple(drafts)) for _ in range(count)]


def checkpoint(lab: QuorumLab) -> None:
    """Let the leader sign what there is."""
    leader = lab.leader().replica
    before = leader.committed
    lab.until(lambda: leader.indexer.seq == before)
    leader.tick(0.0)
    leader.tick(10.0)
    lab.until(lambda: leader.committed > before)


def segments(member: Member) -> int:
    assert member.replica.bulk is not None
    return member.replica.bulk.receiver.installed


def refused(member: Member) -> int:
    assert member.replica.bulk is not None
    return member.replica.bulk.receiver.refused


def test_a_voter_that_was_away_long_gets_segments(lab: QuorumLab) -> None:
    """Far behind: records come in bulk, several segments; the rest as entries; all is equal."""
    lab.found("v1", "v2", "v3")
    away = lab.members["v3"] if lab.leader().name != "v3" else lab.members["v2"]
    away.stop()
    lab.commit(*large(50, 100))
    checkpoint(lab)
    lab.commit(*large(5, 100))
    away.start()
    lab.level()
    assert segments(away) >= 3, "5,500 records in segments of 2,000"
    assert {hash(tuple(hashes(m))) for m in lab.running()} == {hash(tuple(hashes(away)))}
    lab.write(3)
    lab.level()
    away.stop()
    report = verify(away.directory)
    assert report.ok
    assert report.covered > 4000


def test_a_new_voter_begins_with_segments(lab: QuorumLab) -> None:
    """An empty storage gets the log from its first record in bulk, the places and voters in it."""
    lab.found("v1", "v2")
    lab.commit(*large(20, 100))
    checkpoint(lab)
    joined = lab.join("v3")
    assert segments(joined) >= 1
    assert joined.replica.places.all.keys() == {"v1", "v2", "v3"}
    lab.level()
    for member in ("v1", "v2"):
        lab.members[member].stop() if lab.members[member] is not lab.leader() else None
    lab.write(2)
    lab.level()


def damage_first(times: int) -> Callable[[Message], Message]:
    """Exchange a byte in the first chunks that are sent."""
    left = [times]

    def on_bulk(message: Message) -> Message:
        if isinstance(message, SegmentChunk) and left[0]:
            left[0] -= 1
            data = bytearray(message.data)
            data[len(data) // 2] ^= 1
            return msgspec.structs.replace(message, data=bytes(data))
        return message

    return on_bulk


def test_a_damaged_segment_is_refused_and_fetched_again(lab: QuorumLab) -> None:
    """One bit on the way: nothing of it is appended, an alarm says so, and the next is good."""
    lab.found("v1", "v2", "v3")
    away = next(m for m in lab.running() if m is not lab.leader())
    away.stop()
    lab.commit(*large(20, 100))
    lab.on_bulk = damage_first(1)
    away.start()
    lab.level()
    assert refused(away) == 1
    assert segments(away) >= 1
    assert any(alarm.code == "bad-segment" for alarm in away.replica.alarms)
    assert hashes(away) == hashes(lab.leader())


def test_one_that_stays_damaged_is_replaced_by_entries(lab: QuorumLab) -> None:
    """After some tries the leader sends entries, which are checked one by one."""
    lab.found("v1", "v2", "v3")
    away = next(m for m in lab.running() if m is not lab.leader())
    away.stop()
    lab.commit(*large(20, 100))
    lab.on_bulk = damage_first(1000)
    away.start()
    lab.level()
    assert refused(away) == 3
    assert segments(away) == 0
    assert hashes(away) == hashes(lab.leader())


def test_the_next_leader_goes_on_where_the_last_one_ended(lab: QuorumLab) -> None:
    """What was fetched is kept: after a change of leader only the rest travels."""
    lab.found("v1", "v2", "v3")
    away = next(m for m in lab.running() if m is not lab.leader())
    away.stop()
    lab.commit(*large(20, 100))
    old, sent, later = lab.leader(), list[int](), list[int]()

    def note(message: Message) -> Message:
        if isinstance(message, SegmentChunk) and message.sender != old.name:
            later.append(message.offset)
        elif isinstance(message, SegmentChunk):
            sent.append(message.offset)
            if message.offset:  # only the first one ever comes
                return msgspec.structs.replace(message, offset=1 << 40)
        return message

    lab.on_bulk = note
    away.start()
    lab.until(lambda: any(sent))
    old.stop()
    lab.until(lambda: segments(away) >= 1)
    assert min(later) > 0, "the beginning was not sent again"
    old.start()
    lab.level()
    assert hashes(away) == hashes(old)


def test_writes_go_on_while_a_segment_travels(lab: QuorumLab) -> None:
    """The two others commit as always; what they commit meanwhile follows the segment."""
    lab.found("v1", "v2", "v3")
    away = next(m for m in lab.running() if m is not lab.leader())
    away.stop()
    lab.commit(*large(20, 100))
    away.start()
    outcomes = lab.ask(lab.leader(), *(batch("a", what=n) for n in range(200)))
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    lab.level()
    assert segments(away) >= 1
