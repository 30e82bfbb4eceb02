from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.errors import NotOurLog
from eventstore.events import STREAM, VotersChanged
from eventstore.record import Batch, Draft
from eventstore.replica import Committed, Outcome, Refused, Replica, Unknown
from eventstore.storage.layout import Layout
from eventstore.voter.creation import create_log
from eventstore.voter.storage import open_voter
from tests.eventstore.quorum_lab import NAMES, Member, QuorumLab, hashes
from tests.eventstore.storage_lab import CLUSTER, batch

pytestmark = pytest.mark.acceptance


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[QuorumLab]:
    lab = QuorumLab(tmp_path)
    lab.found(*NAMES)
    yield lab
    lab.close()
    assert not lab.fatalities


def followers(lab: QuorumLab) -> list[Member]:
    leader = lab.leader()
    return [member for member in lab.running() if member is not leader]


def test_a_voter_of_many_is_a_replica(lab: QuorumLab) -> None:
    """It implements the protocol that all above the log sees, and begins as a cluster of one."""
    replica: Replica = lab.leader().replica
    assert sorted(lab.leader().replica.config.voters) == list(NAMES)
    assert replica.version("log") > 0


def test_what_is_committed_is_on_every_voter_with_the_same_hash(lab: QuorumLab) -> None:
    """All voters tell the same records in the same order, byte for byte and hash for hash."""
    lab.write(30)
    lab.level()
    chains = {tuple(hashes(member)) for member in lab.running()}
    assert len(chains) == 1
    for member in lab.running():
        seqs = [stored.record.seq for stored in member.told]
        assert seqs == sorted(set(seqs)), "something was told twice, or out of order"
        assert [s.hash for s in member.told] == hashes(member)[-len(member.told) :]


def test_a_follower_refuses_orders_and_names_the_leader(lab: QuorumLab) -> None:
    """Whoever asks the wrong voter learns whom to ask."""
    leader = lab.leader()
    for member in followers(lab):
        (outcome,) = lab.ask(member, batch("a"))
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.hint) == ("not-leader", leader.name)


def test_another_voter_leads_when_the_leader_is_gone(lab: QuorumLab) -> None:
    """What was acknowledged is there, the versions go on, and the old leader comes back to it."""
    lab.write(10)
    old = lab.leader()
    before, version = hashes(old), old.replica.version("a")
    epoch = old.replica.leadership.epoch
    old.stop()
    new = lab.leader()
    assert new.replica.leadership.epoch > epoch
    assert hashes(new)[: len(before)] == before
    assert new.replica.version("a") == version
    (outcome,) = lab.ask(new, batch("a", expected={"a": version}))
    assert isinstance(outcome, Committed)
    old.start()
    lab.level()
    assert not old.replica.leadership.here
    assert len({tuple(hashes(member)) for member in lab.running()}) == 1


def test_a_request_that_comes_again_is_answered_by_the_next_leader(lab: QuorumLab) -> None:
    """An idempotency key is known to whoever leads next: nothing is done twice."""
    (first,) = lab.commit(batch("a", key="k1"))
    lab.leader().stop()
    (again,) = lab.commit(batch("a", key="k1"))
    assert again.repeated
    assert again.records == first.records


def test_a_minority_commits_nothing(lab: QuorumLab) -> None:
    """A leader that hears nobody stops leading; what was open is unknown, and is never told."""
    leader = lab.leader()
    for member in followers(lab):
        member.stop()
    outcomes: list[Outcome] = []
    told = len(leader.told)
    leader.replica.propose(batch("a", key="lost?"), outcomes.append)
    lab.until(lambda: not leader.replica.leadership.here)
    lab.until(lambda: bool(outcomes))
    assert isinstance(outcomes[0], Unknown)
    (refused,) = lab.ask(leader, batch("b"))
    assert isinstance(refused, Refused)
    assert refused.code == "not-leader"
    lab.pass_time(1.0)
    assert len(leader.told) == told
    for member in lab.members.values():
        if member.up is None:
            member.start()
    (known,) = lab.commit(batch("a", key="lost?"))
    lab.level()
    assert known.records[0].hash in hashes(leader)
    keys = [s.record.key for s in leader.replica.read(1, leader.replica.committed)]
    assert keys.count("lost?") == 1, "an unknown outcome appears once, by whichever try"


def test_a_voter_that_was_away_catches_up(lab: QuorumLab) -> None:
    """It gets what it missed, and tells it in order."""
    away = followers(lab)[0]
    lab.level()
    head = away.replica.committed
    away.stop()
    lab.write(200)
    away.start()
    lab.level()
    assert hashes(away) == hashes(lab.leader())
    assert away.told[-1].record.seq == away.replica.committed > head


def test_all_voters_may_end_and_come_back(lab: QuorumLab) -> None:
    """The cluster goes on from its disks: nothing acknowledged is gone."""
    lab.write(20)
    lab.level()
    before = hashes(lab.leader())
    for member in lab.members.values():
        member.stop()
    for member in lab.members.values():
        member.start()
    lab.write(1)
    lab.level()
    for member in lab.running():
        assert hashes(member)[: len(before)] == before


def test_voters_without_an_index_still_know_what_the_cluster_began_with(lab: QuorumLab) -> None:
    """Nobody leads, so nothing more is known as committed: the first batch is, with its keys."""
    for member in lab.running():
        member.stop()
        Layout(member.directory).index.unlink()
    replica = lab.members["v2"].start()
    (first,) = replica.read(1, 1)
    assert replica.committed == first.record.count


def test_a_leader_that_hears_only_one_way_is_replaced(lab: QuorumLab) -> None:
    """Cut off from answers, a leader resigns; its unacknowledged tail is cut off later."""
    old = lab.leader()
    others = followers(lab)
    old.deaf_to = {member.name for member in others}
    for member in others:
        member.deaf_to = {old.name}
    outcomes: list[Outcome] = []
    old.replica.propose(batch("a", what=666), outcomes.append)
    lab.until(lambda: any(m.replica.leadership.ready for m in others))
    lab.until(lambda: bool(outcomes))
    assert isinstance(outcomes[0], Unknown)
    new = lab.leader()
    lab.ask(new, *(batch("a", what=n) for n in range(3)))
    for member in lab.members.values():
        member.deaf_to = set()
    lab.level()
    assert hashes(old) == hashes(new)


def test_leadership_is_handed_over_without_a_lost_request(lab: QuorumLab) -> None:
    """A planned change: whatever was asked meanwhile is done once, by the old leader or the new."""
    old = lab.leader()
    target = followers(lab)[0]
    asked = [batch("a", key=f"k{n}") for n in range(21)]
    outcomes: list[Outcome] = []
    for each in asked[:20]:
        old.replica.propose(each, outcomes.append)
    assert old.replica.hand_over(target.name) is None
    old.replica.propose(asked[20], outcomes.append)
    lab.until(lambda: target.replica.leadership.ready)
    lab.until(lambda: len(outcomes) == 21)
    assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 1
    assert lab.leader() is target
    lab.commit(*asked)
    records = target.replica.read(1, target.replica.committed)
    keys = sorted(s.record.key for s in records if s.record.key)
    assert keys == sorted(f"k{n}" for n in range(21))


def test_the_leader_confirms_by_asking_the_others(lab: QuorumLab) -> None:
    """A read of now is good up to what a majority's answer vouches for; a follower's is not."""
    leader, other = lab.leader(), followers(lab)[0]
    (last,) = lab.commit(batch("a"))
    answers: list[int | None] = []
    leader.replica.confirm(answers.append)
    lab.until(lambda: bool(answers))
    assert answers[0] is not None
    assert answers[0] >= last.records[0].record.seq
    other.replica.confirm(answers.append)
    lab.until(lambda: len(answers) == 2)
    assert answers[1] is None


def test_versions_go_back_with_what_is_given_up(lab: QuorumLab) -> None:
    """A leader that resigns forgets the versions of what it could not commit."""
    leader = lab.leader()
    lab.commit(batch("a"))
    for member in followers(lab):
        member.stop()
    outcomes: list[Outcome] = []
    leader.replica.propose(batch("a", "fresh"), outcomes.append)
    assert leader.replica.version("fresh") == 1
    lab.until(lambda: bool(outcomes))
    assert (leader.replica.version("a"), leader.replica.version("fresh")) == (1, 0)


def test_a_voter_that_loses_its_disk_comes_back_as_a_new_one(lab: QuorumLab) -> None:
    """A wiped disk under an old name is not believed: it is removed, and taken in anew."""
    lost = followers(lab)[0]
    lost.stop()
    leader = lab.leader()
    lost.directory.rename(lost.directory.with_name("lost"))
    members = {n: i.hex() for n, i in leader.replica.config.voters.items() if n != lost.name}
    gone = Draft(stream=STREAM, event=VotersChanged(voters=members), actor="test")
    lab.commit(Batch(drafts=(gone,)))
    lab.join(lost.name)
    lab.write(3)
    lab.level()
    assert len({tuple(hashes(member)) for member in lab.running()}) == 1


def test_one_voter_alone_syncs_twice_a_commit(tmp_path: Path) -> None:
    """The log's sync and the mark's, as with the smallest log there can be; no more."""
    lab = QuorumLab(tmp_path)
    lab.found("v1")
    replica = lab.leader().replica
    before = replica.metrics.log_commits, replica.metrics.mark_syncs
    for n in range(5):
        lab.commit(batch("a", what=n))
    assert (replica.metrics.log_commits, replica.metrics.mark_syncs) == (
        before[0] + 5,
        before[1] + 5,
    )
    lab.close()


def test_a_clock_that_is_an_hour_off_changes_only_labels(lab: QuorumLab) -> None:
    """Leaders with clocks an hour ahead and behind: all is committed, the log's time never goes
    back, and who sees it ahead of its own clock says so."""
    lab.members["v2"].clock_off_ms = 3_600_000
    lab.members["v3"].clock_off_ms = -3_600_000
    for name in ("v2", "v3", "v1"):
        lab.write(2)
        before = lab.leader()
        if before.name != name:
            lab.until(lambda n=name: lab.leader().replica.hand_over(n) is None)  # type: ignore[misc]  # a default
            lab.until(lambda n=name: lab.leader().name == n)  # type: ignore[misc]  # a default
        lab.write(2)
    lab.level()
    records = lab.members["v1"].replica.read(1, lab.members["v1"].replica.committed)
    times = [stored.record.time for stored in records]
    assert times == sorted(set(times))
    alarms = [a.message for a in lab.members["v1"].replica.alarms if a.code == "clock"]
    assert any("ahead of this machine's clock" in told and "v2" in told for told in alarms)


def test_a_log_of_another_cluster_is_not_opened_nor_listened_to(lab: QuorumLab) -> None:
    """Who knows its cluster refuses the log; one that does not gets nothing, and says why."""
    stranger = followers(lab)[0]
    stranger.stop()
    rest = lab.running()
    shutil.rmtree(stranger.directory)
    other = "99999999-2222-3333-4444-555555555555"
    create_log(stranger.directory, cluster_id=other, origin="o", voter=stranger.name, now_ms=1)
    with pytest.raises(NotOurLog, match=f"is the log of cluster {other}"):
        open_voter(Layout(stranger.directory), cluster_id=CLUSTER)
    stranger.start(tuple(lab.leader().replica.places.all.values()))
    alarms = stranger.replica.alarms
    lab.until(lambda: any(alarm.code == "other-cluster" for alarm in alarms))
    # Of the rest: the stranger may lead as well, in a cluster of its own.
    lab.until(lambda: any(isinstance(lab.ask(m, batch("a"))[0], Committed) for m in rest))
    for member in rest:
        assert not {*hashes(stranger)} & {*hashes(member)}
