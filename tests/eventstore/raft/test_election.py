from __future__ import annotations

from eventstore.raft.messages import Message, TimeoutNow, Vote, VoteReply
from eventstore.raft.state import HardState, Identity, Role
from eventstore.record import Epoch
from eventstore.storage.ack_mark import Mark
from tests.eventstore.raft.bench import INCS, START, Bench, following

T2 = Epoch(1, 2)


def granted(messages: list[Message]) -> bool:
    (reply,) = messages
    assert isinstance(reply, VoteReply)
    return reply.granted


def test_a_vote_goes_out_only_when_it_is_durable() -> None:
    """R1: nothing is sent between the request and the sync; then the vote is."""
    bench = Bench()
    bench.auto = False
    assert bench.hear(bench.vote("b", 2, START)) == []
    assert bench.persists[0].hard == HardState(T2, Identity("b", INCS["b"]))
    assert bench.persists[0].mark.voted_for == "b"
    bench.sync()
    bench.pump()
    assert granted([message for _, message in bench.sent])


def test_one_vote_a_term() -> None:
    """R3: the same candidate is told yes again, another one no."""
    bench = Bench()
    assert granted(bench.hear(bench.vote("b", 2, START)))
    assert granted(bench.hear(bench.vote("b", 2, START)))
    assert not granted(bench.hear(bench.vote("c", 2, START)))


def test_a_vote_is_remembered_by_the_next_life() -> None:
    """R3: after a restart the vote of the term is still given away."""
    bench = Bench(hard=HardState(T2, Identity("b", INCS["b"])))
    assert not granted(bench.hear(bench.vote("c", 2, START)))


def test_a_wiped_disk_under_the_old_name_is_no_candidate() -> None:
    """R3: a vote is for a name and a storage."""
    bench = Bench()
    assert not granted(bench.hear(bench.vote("b", 2, START, inc=bytes(16))))


def test_a_shorter_log_gets_no_vote() -> None:
    """R3: the candidate's log must be at least as far, by epoch first, then by seq."""
    entry = following(START, T2)
    assert not granted(Bench(entry).hear(Bench().vote("b", 3, START)))
    longer = following(following(START, Epoch(1, 1)), Epoch(1, 1))
    assert not granted(Bench(entry).hear(Bench().vote("b", 3, longer)))
    assert granted(Bench(entry).hear(Bench().vote("b", 3, entry)))


def test_a_pre_vote_changes_nothing() -> None:
    """A pre-vote is given without a change of term or anything durable."""
    bench = Bench()
    assert granted(bench.hear(bench.vote("b", 2, START, pre=True)))
    assert bench.core.voter.epoch == Epoch(1, 1)
    assert bench.persists == []


def test_who_hears_a_leader_promises_nothing() -> None:
    """R3: within the least election timeout of a leader's append a pre-vote is refused."""
    bench = Bench()
    bench.hear(bench.append("c", 2, START))
    assert not granted(bench.hear(bench.vote("b", 3, START, pre=True)))
    bench.now_ms += 2000
    assert granted(bench.hear(bench.vote("b", 3, START, pre=True)))


def test_a_stranger_does_not_raise_the_term() -> None:
    """A vote for somebody who is no voter here, and not ahead, is refused and changes nothing."""
    bench = Bench()
    assert not granted(bench.hear(bench.vote("e", 9, START)))
    assert bench.core.voter.epoch == Epoch(1, 1)


def test_a_candidate_that_is_ahead_may_be_a_voter_that_is_not_known_yet() -> None:
    """The record that makes it a voter may be among those that are not here yet."""
    bench = Bench()
    assert granted(bench.hear(bench.vote("e", 2, following(START, Epoch(1, 1)))))


def test_silence_makes_a_candidate_and_a_majority_a_leader() -> None:
    """Pre-votes, then votes after the own one is durable, then the no-op is asked for."""
    bench = Bench()
    asked = bench.wait(5000)
    assert [vote.pre for vote in asked if isinstance(vote, Vote)] == [True, True]
    no_op = Bench().elect()
    assert no_op.epoch == T2


def test_the_own_vote_counts_when_it_is_durable() -> None:
    """R1: a lone voter leads only after its vote for itself is on the disk."""
    alone = following(START, Epoch(1, 1))
    bench = Bench(alone)
    bench.elect()
    assert bench.core.role is Role.LEADER
    slow = Bench()
    slow.auto = False
    slow.wait(5000)
    slow.hear(VoteReply(*slow.header("b", 1), pre=True, for_term=2, granted=True, reason=""))
    assert [m for _, m in slow.sent if isinstance(m, Vote) and not m.pre] == []
    assert slow.core.role is Role.CANDIDATE


def test_a_recovering_voter_neither_votes_nor_stands() -> None:
    """R9: its mark names a record that its log does not hold."""
    mark = Mark(9, bytes(32), 1, 1, "", b"", INCS["a"])
    bench = Bench(mark=mark)
    assert not granted(bench.hear(bench.vote("b", 2, following(START, Epoch(1, 1)))))
    assert bench.wait(20_000) == []


def test_timeout_now_skips_the_pre_vote() -> None:
    """A hand-over that the leader asks for is an election in earnest at once."""
    bench = Bench()
    bench.hear(bench.append("b", 2, START))
    votes = bench.hear(TimeoutNow(*bench.header("b", 2)))
    assert [(vote.pre, vote.transfer) for vote in votes if isinstance(vote, Vote)] == [
        (False, True)
    ] * 2
    assert bench.core.voter.epoch == Epoch(1, 3)
