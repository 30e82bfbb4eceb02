"""What a client notes of an order is what stands in the log; jobs without an end are found."""

from __future__ import annotations

import hashlib

import msgspec

from commands.debug_ops.delay import TestDelay
from commands.opcode import pack
from eventstore.codec import encode_record
from eventstore.record import Stored
from projections.events.jobs import JobSubmitted, OpSucceeded
from tests.history.checker import VoterLog
from tests.history.notes import Note
from tests.history.submissions import digest_of_ops, digest_of_record, placed, unended
from tests.projections.log_maker import LogMaker

OPS = (pack(TestDelay(duration=0)), pack(TestDelay(duration=1)))


def log_of(*ended: int, key: str = "k1") -> VoterLog:
    """A job of two opcodes, submitted with `key`, of which these have ended, in that order."""
    maker = LogMaker()
    maker.add(("job/1", JobSubmitted(ops=OPS, summaries=("a", "b"))), job=1)
    for op in ended:
        maker.add(("job/1", OpSucceeded(op=op)), job=1)
    first = maker.records[0]
    record = msgspec.structs.replace(first.record, key=key)
    records = [Stored(record, encode_record(record), first.hash), *maker.records[1:]]
    return VoterLog("v1", records, len(records))


def acked(key: str, as_of: int) -> Note:
    return Note(time_ns=2, client="c", what="acked", key=key, seq=as_of)


def test_the_digest_of_an_order_is_that_of_its_record() -> None:
    """Other opcodes have another one."""
    record = log_of().records[0].record
    assert digest_of_record(record) == hashlib.sha256(digest_of_ops(OPS)).hexdigest()
    assert digest_of_record(record) != hashlib.sha256(digest_of_ops(OPS[:1])).hexdigest()


def test_an_acknowledgement_gets_its_place_from_the_log() -> None:
    """Where the answer may have known it; one that is not there, or behind it, keeps its seq."""
    log = log_of(0, 1)
    assert placed([acked("k1", 3)], [log])[0].seq == 1
    assert placed([acked("lost", 3)], [log])[0].seq == 3
    *others, order = *log.records[1:], log.records[0]
    behind = Stored(msgspec.structs.replace(order.record, seq=3), order.encoded, order.hash)
    log = VoterLog("v1", [*others, behind], 3)
    assert placed([acked("k1", 2)], [log])[0].seq == 2


def test_each_opcode_of_each_job_ends_once() -> None:
    """One that did not end is found, and one that ended twice."""
    assert unended(log_of(0, 1)) == []
    assert [broken.how for broken in unended(log_of(0))] == ["opcode 1 of job 1 ended 0 times"]
    twice = [broken.how for broken in unended(log_of(0, 1, 1))]
    assert twice == ["opcode 1 of job 1 ended 2 times"]
