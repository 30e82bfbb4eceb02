from __future__ import annotations

import pytest

from eventstore.errors import CorruptLog, DecodeError
from eventstore.events import TakeoverForced
from eventstore.raft.entry import Entry
from eventstore.raft.messages import AppendReply, Message
from eventstore.raft.state import DiskState
from eventstore.record import Epoch
from tests.eventstore.raft.bench import INCS, START, Bench, following

T1, T2, T3 = Epoch(1, 1), Epoch(1, 2), Epoch(1, 3)


def answer(messages: list[Message]) -> AppendReply:
    (reply,) = messages
    assert isinstance(reply, AppendReply)
    return reply


def test_an_append_is_acknowledged_when_it_is_durable() -> None:
    """R1: no answer before the sync; the mark of that write names the record."""
    bench = Bench()
    bench.auto = False
    entry = following(START, T2)
    assert bench.hear(bench.append("b", 2, START, entry)) == []
    assert bench.persists[-1].entries == (entry,)
    assert bench.persists[-1].mark.seq == entry.last
    bench.sync()
    bench.pump()
    assert answer([message for _, message in bench.sent]).match_seq == entry.last


def test_a_heartbeat_is_answered_while_the_disk_is_slow() -> None:
    """A slow disk does not make a voter look dead; the answer names what is durable."""
    bench = Bench()
    bench.hear(bench.append("b", 2, START))
    bench.auto = False
    entry = following(START, T2)
    bench.hear(bench.append("b", 2, START, entry))
    reply = answer(bench.hear(bench.append("b", 2, entry)))
    assert (reply.ok, reply.match_seq) == (True, START.last)


def test_a_follower_commits_only_what_the_message_has_shown_to_match() -> None:
    """R7: an unmatched tail is not committed by the leader's commit."""
    tail = following(START, T1)
    bench = Bench(tail)
    bench.hear(bench.append("b", 2, START, commit=tail.last))
    assert bench.log.committed == START.last


def test_another_history_is_cut_off_where_it_begins() -> None:
    """R6: the first entry that differs cuts off the rest; the disk is told from where."""
    old = following(START, T1)
    bench = Bench(old, following(old, T1))
    new = following(START, T2)
    bench.auto = False
    bench.hear(bench.append("b", 2, START, new))
    assert bench.persists[-1].truncate_from == new.first
    assert bench.persists[-1].entries == (new,)
    assert bench.log.last == new.end


def test_what_is_committed_is_never_cut_off() -> None:
    """R6: a leader that contradicts what is committed stops this voter."""
    old = following(START, T1)
    bench = Bench(old, committed=old.last)
    with pytest.raises(CorruptLog, match="are committed"):
        bench.hear(bench.append("b", 2, START, following(START, T2)))


def test_the_same_place_with_another_hash_stops_the_voter() -> None:
    """R5: same seq, same epoch, another hash: it stops and does not truncate."""
    bench = Bench(following(START, T1))
    with pytest.raises(CorruptLog, match="another one"):
        bench.hear(bench.append("b", 2, START, prev_hash=bytes(32)))
    bench = Bench(following(START, T1))
    with pytest.raises(CorruptLog, match="two forms"):
        bench.hear(bench.append("b", 2, START, following(START, T1, filler=9)))


def test_a_gap_is_refused_with_the_end_of_the_log() -> None:
    """The leader learns where to look for agreement."""
    bench = Bench()
    reply = answer(bench.hear(bench.append("b", 2, following(START, T1))))
    assert (reply.ok, reply.conflict_seq) == (False, START.last)


def test_part_of_a_batch_is_no_entry() -> None:
    """A batch is taken whole or not at all."""
    bench = Bench()
    append = bench.append("b", 2, START, following(START, T2))
    whole = following(
        START,
        T2,
        *[TakeoverForced(reason="", voter="b", inc="", dead={}, last_seq=0, last_hash="")] * 2,
    )
    cut = bench.append("b", 2, START, whole)
    cut = type(cut)(
        **{**{f: getattr(cut, f) for f in cut.__struct_fields__}, "entries": (whole.packed()[:1],)}
    )
    with pytest.raises(DecodeError):
        bench.hear(cut)
    assert bench.log.last == START.end
    assert answer(bench.hear(append)).ok


def test_repeated_and_old_appends_change_nothing() -> None:
    """The same append twice, then an old one: nothing is written again, nothing cut off."""
    first = following(START, T2)
    second = following(first, T2)
    bench = Bench()
    bench.hear(bench.append("b", 2, START, first, second))
    assert answer(bench.hear(bench.append("b", 2, START, first))).match_seq == first.last
    assert bench.log.last == second.end


def test_an_old_leader_is_told_the_newer_epoch() -> None:
    """R2: a lower term is refused, and the refusal bears the higher one."""
    bench = Bench()
    bench.hear(bench.append("b", 3, START))
    reply = answer(bench.hear(bench.append("c", 2, START)))
    assert (reply.ok, reply.term) == (False, 3)


def test_a_full_disk_acknowledges_nothing_and_tries_again() -> None:
    """R14: what found no room is forgotten; after a while the disk is asked again."""
    bench = Bench()
    bench.hear(bench.append("b", 2, START))
    bench.auto = False
    entry = following(START, T2)
    bench.hear(bench.append("b", 2, START, entry))
    bench.persists = []
    bench.core.no_room(bench.now_ms)
    bench.pump()
    assert bench.log.last == START.end
    reply = answer(bench.hear(bench.append("b", 2, START, entry)))
    assert (reply.ok, reply.match_seq, reply.disk_state) == (True, START.last, DiskState.FULL.value)
    assert bench.persists == []
    bench.wait(1000)
    assert bench.persists[-1].retry
    bench.auto = True
    bench.sync()
    assert answer(bench.hear(bench.append("b", 2, START, entry))).match_seq == entry.last


def taken_over(before: Entry) -> Entry:
    """The batch with which an operator makes `b` the only voter."""
    event = TakeoverForced(
        reason="fire", voter="b", inc=INCS["b"].hex(), dead={}, last_seq=before.last, last_hash=""
    )
    return following(before, Epoch(2, 2), event)


def test_a_generation_is_believed_only_with_its_takeover() -> None:
    """R2: a header alone raises an alarm; with the record, trusted, it is adopted."""
    taken = taken_over(START)
    bench = Bench(following(START, T1))
    assert not answer(bench.hear(bench.append("b", 2, START, gen=2))).ok
    assert bench.core.voter.epoch == T1
    assert not answer(bench.hear(bench.append("b", 2, START, taken, gen=2, takeover=taken))).ok
    assert bench.core.voter.epoch == T1, "nobody vouches for it"
    bench.core.voter.trusts = lambda record: True
    assert answer(bench.hear(bench.append("b", 2, START, taken, gen=2, takeover=taken))).ok
    assert bench.core.voter.epoch == Epoch(2, 2)
    assert bench.core.voter.config.voters == {"b": INCS["b"]}


def test_a_takeover_far_ahead_is_believed_at_once() -> None:
    """However many records stand between what is held here and the takeover."""
    between = following(START, T1)
    taken = taken_over(following(between, T1))
    bench = Bench()
    bench.core.voter.trusts = lambda record: True
    assert answer(bench.hear(bench.append("b", 2, START, between, gen=2, takeover=taken))).ok
    assert bench.core.voter.epoch == Epoch(2, 2)
    assert bench.log.last == between.end


def test_a_takeover_that_contradicts_what_is_committed_ends_this_voter() -> None:
    """It keeps its log as evidence, and takes part in nothing any more."""
    old = following(START, T1)
    taken = taken_over(START)
    bench = Bench(old, committed=old.last)
    bench.core.voter.trusts = lambda record: True
    bench.hear(bench.append("b", 2, START, taken, gen=2, takeover=taken))
    assert bench.core.voter.superseded
    assert bench.log.last == old.end
    assert bench.hear(bench.vote("b", 5, old)) == []


def test_another_record_in_a_committed_ones_place_ends_this_voter() -> None:
    """The new generation's history stands on a record that is another one here, committed."""
    old = following(START, T1)
    other = following(START, Epoch(1, 2))
    bench = Bench(old, committed=old.last)
    bench.core.voter.trusts = lambda record: True
    bench.hear(bench.append("b", 3, other, gen=2))
    assert not bench.core.voter.superseded, "a header proves nothing"
    bench.hear(bench.append("b", 3, other, gen=2, takeover=taken_over(other)))
    assert bench.core.voter.superseded
