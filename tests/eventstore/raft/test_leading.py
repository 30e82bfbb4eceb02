from __future__ import annotations

from dataclasses import replace

import msgspec

from eventstore.raft.membership import Config, event_of
from eventstore.raft.messages import Append, AppendReply, Message, TimeoutNow
from eventstore.raft.state import DiskState, Timing
from eventstore.record import Event
from tests.eventstore.raft.bench import INCS, START, Bench
from tests.eventstore.storage_lab import Happened

WRITE = Happened(what=1)


def reigning() -> Bench:
    """Return a bench whose voter leads with its no-op committed."""
    bench = Bench()
    bench.elect()
    bench.hear(bench.reply("b", bench.log.last.seq))
    assert bench.core.voter.log.committed == bench.log.last.seq
    bench.hear(bench.reply("c", bench.log.last.seq))
    return bench


def changed(bench: Bench, *, voters: str, learners: str = "") -> Event:
    """Return the event of a configuration with these members."""
    return event_of(
        Config(0, {v: INCS[v] for v in voters}, {v: INCS[v] for v in learners}, frozenset())
    )


def entries(messages: list[Message]) -> list[int]:
    return [len(m.entries) for m in messages if isinstance(m, Append)]


def test_a_majority_commits_and_then_it_is_told() -> None:
    """R12: an entry is delivered when another voter has it durably, not before."""
    bench = reigning()
    entry = bench.propose(WRITE)
    assert entry.last not in bench.delivered()
    bench.hear(bench.reply("b", entry.last))
    assert bench.delivered()[-1] == entry.last


def test_entries_of_an_old_term_do_not_commit_by_counting() -> None:
    """R4: what a majority holds of earlier reigns is committed only with the no-op."""
    bench = Bench()
    no_op = bench.elect()
    bench.hear(bench.reply("b", no_op.first - 1))
    bench.hear(bench.reply("c", no_op.first - 1))
    assert bench.log.committed == START.last
    bench.hear(bench.reply("c", no_op.last))
    assert bench.log.committed == no_op.last


def test_the_own_disk_counts_when_it_has_synced() -> None:
    """R1: with one follower's acknowledgement and no own sync there is no majority."""
    bench = reigning()
    bench.auto = False
    before = bench.log.committed
    entry = bench.propose(WRITE)
    bench.hear(bench.reply("b", entry.last))
    assert bench.log.committed == before
    bench.sync()
    assert bench.log.committed == entry.last


def test_leadership_is_ready_when_the_no_op_is_delivered() -> None:
    """The first `ready` leadership comes with the no-op's batch, not before."""
    bench = Bench()
    no_op = bench.elect()
    assert not any(out.leadership and out.leadership.ready for out in bench.outs)
    bench.hear(bench.reply("b", no_op.last))
    assert bench.outs[-1].leadership or bench.outs[-2].leadership
    assert no_op.last in bench.delivered()


def test_nothing_is_proposed_before_the_no_op() -> None:
    """R4: the first entry of a reign is its no-op."""
    bench = Bench()
    bench.elect()
    fresh = Bench()
    fresh.wait(5000)
    assert fresh.refused(WRITE).code == "not-leader"


def test_without_a_majority_a_leader_steps_down() -> None:
    """R8: after the least election timeout in silence it leads no more, and says so."""
    bench = reigning()
    bench.wait(1900)
    assert bench.leads()
    bench.wait(300)
    assert not bench.leads()
    assert bench.outs[-1].leadership is not None
    assert not bench.outs[-1].leadership.here


def test_a_higher_term_ends_a_reign() -> None:
    """R2: an append of a higher term is followed at once."""
    bench = reigning()
    bench.hear(bench.append("c", 9, START))
    assert not bench.leads()
    assert bench.core.voter.epoch.term == 9


def test_appends_are_pipelined_up_to_the_limit() -> None:
    """R16: so many appends go out without an answer, and no more."""
    bench = Bench(timing=Timing(in_flight=3))
    no_op = bench.elect()
    bench.hear(bench.reply("b", no_op.last))
    before = len(bench.sent)
    for _ in range(5):
        bench.propose(WRITE)
    to_b = [m for to, m in bench.sent[before:] if to == "b"]
    assert entries(to_b) == [1, 1, 1]


def test_a_refusal_moves_back_to_where_the_logs_agree() -> None:
    """After a refusal the leader asks once about the hint, then streams from there."""
    bench = reigning()
    entry = bench.propose(WRITE)
    attempt = bench.core.leading.progress["b"].attempt if bench.core.leading else 0
    refusal = AppendReply(
        *bench.header("b", bench.core.voter.epoch.term),
        ok=False,
        prev_seq=entry.last,
        match_seq=0,
        conflict_seq=entry.first - 1,
        conflict_gen=1,
        conflict_term=9,
        read_ctx=0,
        attempt=attempt,
        disk_state=0,
        last_fsync_ms=0.0,
    )
    (probe,) = bench.hear(refusal)
    assert isinstance(probe, Append)
    assert (probe.prev_seq, probe.entries) == (entry.first - 1, ())
    assert bench.hear(refusal) == [], "a refusal of the attempt before is not listened to"
    answer = bench.hear(bench.reply("b", entry.first - 1, attempt=probe.attempt))
    assert entries(answer) == [1]


def test_a_peer_that_lost_what_it_had_acknowledged_is_sent_it_anew() -> None:
    """R9: asked again about what it holds, it says how much is left, and is believed."""
    bench = reigning()
    lost = bench.propose(WRITE)
    for name in "bc":
        bench.hear(bench.reply(name, lost.last))
    entry = bench.propose(WRITE)  # b is away, and comes back without `lost`
    no = {"ok": False, "match_seq": 0, "conflict_gen": 1, "conflict_term": 1}

    def refuse(append: Append) -> list[Message]:
        reply = msgspec.structs.replace(
            bench.reply("b", append.prev_seq, attempt=append.attempt),
            conflict_seq=START.last,
            **no,
        )
        return bench.hear(reply)

    def sent_to_b() -> Append:
        return [m for to, m in bench.sent if to == "b" and isinstance(m, Append)][-1]

    assert sent_to_b().prev_seq == lost.last
    refuse(sent_to_b())
    assert sent_to_b().prev_seq == lost.last, "it may have been out of order"
    refuse(sent_to_b())
    assert sent_to_b().prev_seq == START.last
    bench.hear(bench.reply("b", START.last, attempt=sent_to_b().attempt))
    assert list(sent_to_b().entries)[-2:] == [lost.packed(), entry.packed()]


def test_another_storage_under_a_members_name_does_not_count() -> None:
    """A disk that was exchanged acknowledges nothing that counts; an alarm says so."""
    bench = reigning()
    entry = bench.propose(WRITE)
    reply = bench.reply("b", entry.last)
    values = {f: getattr(reply, f) for f in reply.__struct_fields__}
    bench.hear(AppendReply(**{**values, "inc": bytes(16)}))
    assert bench.log.committed < entry.last
    assert [a.code for a in bench.outs[-1].alarms] == ["wrong-storage"]


# -- reads


def test_a_read_waits_for_a_majority_that_was_asked_after_it() -> None:
    """R11: an answer to an older append does not confirm the read; one to a later one does."""
    bench = reigning()
    bench.core.read(1)
    bench.pump()
    asked = [m for _, m in bench.sent if isinstance(m, Append)][-1]
    bench.hear(bench.reply("b", START.last, ctx=asked.read_ctx - 1))
    assert all(out.reads == [] for out in bench.outs)
    bench.hear(bench.reply("b", START.last, ctx=asked.read_ctx))
    assert bench.outs[-1].reads == [(1, bench.log.committed)]


def test_a_read_before_the_no_op_is_committed_waits_for_it() -> None:
    """R11, R4: the leader does not yet know what is committed."""
    bench = Bench()
    no_op = bench.elect()
    bench.core.read(1)
    bench.hear(bench.reply("b", START.last, ctx=5))
    assert all(out.reads == [] for out in bench.outs)
    bench.hear(bench.reply("b", no_op.last))
    context = [m for _, m in bench.sent if isinstance(m, Append)][-1].read_ctx
    bench.hear(bench.reply("b", no_op.last, ctx=context))
    assert [read for out in bench.outs for read in out.reads] == [(1, no_op.last)]


def test_open_reads_end_with_the_reign() -> None:
    """Who asked hears that this voter does not lead any more."""
    bench = reigning()
    bench.core.read(7)
    bench.pump()
    bench.wait(3000)
    assert (7, None) in [read for out in bench.outs for read in out.reads]


# -- handing over


def test_handing_over_refuses_proposals_and_tells_a_level_voter() -> None:
    """No proposal is left in doubt: the target is told once it holds everything, and all of that
    is committed."""
    bench = reigning()
    bench.auto = False
    entry = bench.propose(WRITE)
    assert bench.core.hand_over("b") is None
    bench.pump()
    assert bench.refused(WRITE).code == "not-leader"
    bench.hear(bench.reply("b", entry.last))
    assert not any(isinstance(m, TimeoutNow) for _, m in bench.sent), "held by one of three"
    bench.hear(bench.reply("c", entry.last))
    assert [to for to, m in bench.sent if isinstance(m, TimeoutNow)] == ["b"]


def test_a_hand_over_that_fails_is_given_up() -> None:
    """After the least election timeout the leader takes proposals again."""
    bench = reigning()
    bench.core.hand_over("b")
    for _ in range(8):
        bench.wait(300)
        bench.hear(bench.reply("c", START.last))
    bench.propose(WRITE)


def test_a_leader_with_a_stuck_disk_hands_over() -> None:
    """R8: its own write takes longer than half the least election timeout."""
    bench = reigning()
    bench.auto = False
    entry = bench.propose(WRITE)
    for _ in range(4):
        bench.wait(300)
        bench.hear(bench.reply("b", entry.last))
        bench.hear(bench.reply("c", entry.last))
    assert sum(isinstance(m, TimeoutNow) for _, m in bench.sent) == 1, "one of them is told"


def test_a_leader_whose_disk_gets_full_hands_over() -> None:
    """R14: under a twentieth free, somebody else should lead."""
    bench = reigning()
    bench.core.disk_is(DiskState.LOW)
    bench.wait(300)
    assert any(isinstance(m, TimeoutNow) for _, m in bench.sent)


def test_what_others_may_have_is_not_refused_for_want_of_room() -> None:
    """R14: a voter that is alone only by a record that had no room either cannot take back what
    it had sent to the others before: it stops leading, and the outcome is unknown."""
    bench = reigning()
    entry = bench.propose(changed(bench, voters="ab"))
    bench.hear(bench.reply("b", entry.last))
    bench.auto = False
    bench.propose(WRITE)
    bench.propose(changed(bench, voters="a"))
    bench.core.no_room(bench.now_ms)
    bench.pump()
    assert not bench.leads()
    assert not any(out.dropped_from for out in bench.outs)


# -- membership


def test_a_change_waits_for_the_no_op() -> None:
    """R10: not before a record of this term is committed."""
    bench = Bench()
    bench.elect()
    refused = bench.refused(changed(bench, voters="ab"))
    assert (refused.code, "not ready" in refused.message) == ("wrong-state", True)


def test_one_voter_at_a_time_and_one_change_at_a_time() -> None:
    """R10: two voters at once are refused, and a second change before the first is committed."""
    bench = reigning()
    assert "more than one" in bench.refused(changed(bench, voters="a")).message
    entry = bench.propose(changed(bench, voters="ab"))
    assert "not committed" in bench.refused(changed(bench, voters="abc")).message
    bench.hear(bench.reply("b", entry.last))
    bench.propose(changed(bench, voters="ab", learners="d"))


def test_a_configuration_acts_when_it_is_appended() -> None:
    """R10: the removed voter's acknowledgement does not count any more."""
    bench = reigning()
    entry = bench.propose(changed(bench, voters="ab"))
    bench.hear(bench.reply("c", entry.last))
    assert bench.log.committed < entry.last
    bench.hear(bench.reply("b", entry.last))
    assert bench.log.committed == entry.last


def test_a_voter_was_a_learner_before_and_is_level() -> None:
    """R10: a stranger is not made a voter, nor a learner that is far behind or silent."""
    bench = reigning()
    assert "learner first" in bench.refused(changed(bench, voters="abcd")).hint
    entry = bench.propose(changed(bench, voters="abc", learners="d"))
    bench.hear(bench.reply("b", entry.last))
    bench.now_ms += 2001
    bench.hear(bench.reply("b", entry.last))
    assert "too far" in bench.refused(changed(bench, voters="abcd")).message
    bench.hear(bench.reply("d", entry.last))
    bench.propose(changed(bench, voters="abcd"))


def test_a_learner_that_never_answered_is_not_made_a_voter() -> None:
    """R10: however short the log; else promoting a node that is down could cost the majority."""
    bench = reigning()
    entry = bench.propose(changed(bench, voters="abc", learners="d"))
    bench.hear(bench.reply("b", entry.last))
    assert "far behind" in bench.refused(changed(bench, voters="abcd")).message
    bench.hear(bench.reply("d", entry.last))
    bench.propose(changed(bench, voters="abcd"))


def test_a_removed_leader_steps_down_when_that_is_committed() -> None:
    """R10: it does not count itself, leads until the commit, and tells the best to stand."""
    bench = reigning()
    entry = bench.propose(changed(bench, voters="bc"))
    bench.hear(bench.reply("b", entry.last))
    assert bench.leads()
    assert bench.refused(WRITE).code == "not-leader", "nothing new would be answered"
    bench.hear(bench.reply("c", entry.last))
    assert not bench.leads()
    assert bench.log.committed == entry.last
    assert any(isinstance(m, TimeoutNow) for _, m in bench.sent)


def test_a_witness_that_leads_only_hands_over() -> None:
    """It takes no proposals, does not count as leading, and tells a level voter to stand."""
    bench = reigning()
    config = replace(bench.core.voter.config, witnesses=frozenset("a"))
    entry = bench.propose(event_of(config))
    for name in "bc":
        bench.hear(bench.reply(name, entry.last))
    assert bench.refused(WRITE).code == "not-leader"
    bench.wait(300)
    assert any(isinstance(m, TimeoutNow) for _, m in bench.sent)
    assert bench.core.refuses_change(replace(config, witnesses=frozenset("abc"))) is not None
