from __future__ import annotations

from eventstore.raft.recovery import assess
from eventstore.raft.state import NOBODY, HardState, Identity
from eventstore.record import Epoch
from eventstore.storage.ack_mark import Mark
from tests.eventstore.raft.bench import INCS, START, Bench, following

T1, T2 = Epoch(1, 1), Epoch(1, 2)
END = START.end


def mark(seq: int = END.seq, *, term: int = 1, last_hash: bytes = END.hash, vote: str = "") -> Mark:
    """Return what a voter has said."""
    return Mark(seq, last_hash, 1, term, vote, INCS.get(vote, b""), INCS["a"])


def test_a_mark_that_the_log_covers_is_no_loss() -> None:
    """The log may be ahead of the mark: a crash came between the two syncs."""
    entry = following(START, T2)
    found = HardState(T2, Identity("b", INCS["b"]))
    assert assess(mark(), found, END, entry.end) == (found, None)


def test_what_the_mark_knows_better_is_taken_up() -> None:
    """An epoch or a vote that is only in the mark was said; both are lost from the log."""
    said = HardState(T2, Identity("b", INCS["b"]))
    for found in (HardState(T1, NOBODY), HardState(T2, NOBODY)):
        hard, recovery = assess(mark(term=2, vote="b"), found, END, END)
        assert hard == said
        assert recovery is not None


def test_a_record_that_is_gone_or_another_one_is_a_loss() -> None:
    """The mark names a record by its seq and hash."""
    found = HardState(T1, NOBODY)
    assert assess(mark(9), found, None, END)[1] is not None
    assert assess(mark(last_hash=bytes(32)), found, END, END)[1] is not None


def test_the_mark_goes_on_naming_what_is_lost() -> None:
    """A restart in the middle of recovering does not forget it."""
    bench = Bench(mark=mark(9, last_hash=bytes(32)))
    bench.auto = False
    bench.hear(bench.append("b", 2, START, following(START, T2)))
    assert (bench.persists[-1].mark.seq, bench.persists[-1].mark.term) == (9, 2)


def test_the_operator_is_told_what_is_lost() -> None:
    """An alarm says from the start how far this voter had acknowledged, and what it still holds."""
    bench = Bench(mark=mark(9, last_hash=bytes(32)))
    (alarm,) = bench.core.ready().alarms
    assert alarm.code == "recovering"
    assert "records up to 9 of epoch 1.1 were acknowledged" in alarm.message
    assert f"this log ends at {END.seq} of 1.1" in alarm.message


def test_a_voter_is_whole_again_when_it_holds_what_it_had_said() -> None:
    """R9 (a): durable and committed up to the mark's seq."""
    first, second = following(START, T1), following(following(START, T1), T1)
    bench = Bench(mark=mark(second.last, last_hash=second.hash))
    bench.hear(bench.append("b", 1, START, first, commit=first.last))
    assert bench.recovers()
    bench.hear(bench.append("b", 1, first, second, commit=first.last))
    assert bench.recovers(), "held, and not known to be committed"
    bench.hear(bench.append("b", 1, second, commit=second.last))
    assert not bench.recovers()
    assert bench.outs[-1].alarms[0].code == "recovered"


def test_a_commit_of_a_later_epoch_makes_it_whole_as_well() -> None:
    """R9 (b): whoever led then was elected without this voter's voice."""
    bench = Bench(mark=mark(500, last_hash=bytes(32)))
    entry = following(START, T2)
    bench.hear(bench.append("b", 2, START, entry, commit=entry.last))
    assert not bench.recovers()


def test_it_acknowledges_what_it_then_really_holds() -> None:
    """R9: it may follow and be counted while it recovers."""
    bench = Bench(mark=mark(500, last_hash=bytes(32)))
    entry = following(START, T1)
    (reply,) = bench.hear(bench.append("b", 1, START, entry))
    assert getattr(reply, "match_seq", None) == entry.last
