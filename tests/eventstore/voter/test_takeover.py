from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from eventstore.access.keyring import Keyring
from eventstore.access.keys import new_sign_keys
from eventstore.codec import decode_event
from eventstore.errors import EventStoreError, LogInUse
from eventstore.events import STREAM, KeyAdmitted, TakeoverForced, VotersChanged
from eventstore.record import Batch, Draft
from eventstore.voter.takeover import examine, take_over, trusted
from tests.eventstore.quorum_lab import NAMES, QuorumLab, hashes
from tests.eventstore.storage_lab import CLUSTER, START_MS

pytestmark = pytest.mark.acceptance
SIGN = new_sign_keys()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[QuorumLab]:
    """Three voters, each with an admitted signing key."""
    lab = QuorumLab(tmp_path)
    lab.found(*NAMES)
    for name in NAMES:
        key = lab.members[name].keys.public
        admitted = KeyAdmitted(
            name=f"voter:{name}", role="voter", curve_key=key, sign_key=SIGN.public_text
        )
        lab.commit(Batch(drafts=(Draft(stream=STREAM, event=admitted, actor="test"),)))
    lab.write(5)
    lab.level()
    yield lab
    lab.close()
    assert not lab.fatalities


def force(lab: QuorumLab, name: str) -> TakeoverForced:
    stored = take_over(
        lab.members[name].directory,
        voter=name,
        reason="the others burned",
        actor="operator:ann",
        sign_seed=SIGN.seed,
        now_ms=START_MS,
    )
    keys = Keyring(s.record for s in lab.members[name].told)
    assert trusted(stored.record, CLUSTER, keys)
    assert stored.record.actor == "operator:ann"
    return decode_event(TakeoverForced, stored.record.data)


def test_a_survivor_goes_on_alone_in_a_new_generation(lab: QuorumLab) -> None:
    """What it held is kept, the others are named as given up, and it leads by itself."""
    survivor = lab.members["v2"]
    before = hashes(survivor)
    incs = {name: lab.members[name].inc.hex() for name in NAMES}
    for member in lab.running():
        member.stop()
    event = force(lab, "v2")
    assert event.dead == {name: inc for name, inc in incs.items() if name != "v2"}
    survivor.start()
    lab.until(lambda: survivor.replica.leadership.ready)
    assert survivor.replica.leadership.epoch.gen == 2
    assert list(survivor.replica.config.voters) == ["v2"]
    assert hashes(survivor)[: len(before)] == before
    lab.write(3)


def test_a_running_voter_is_left_alone(lab: QuorumLab) -> None:
    """The daemon must be down: nothing is written under it."""
    with pytest.raises(LogInUse):
        force(lab, "v1")


def test_the_only_voter_has_nothing_to_take_over(tmp_path: Path) -> None:
    """A cluster of one cannot be forced into a new generation."""
    lab = QuorumLab(tmp_path)
    lab.found("v1")
    lab.members["v1"].stop()
    with pytest.raises(EventStoreError, match="only one already"):
        force(lab, "v1")
    lab.close()


def test_what_is_found_is_what_is_there(lab: QuorumLab) -> None:
    """Who votes, and up to where the log reaches, is told before anything is changed."""
    lab.members["v3"].stop()
    found = examine(lab.members["v3"].directory)
    assert (sorted(found.config.voters), found.cluster_id) == (list(NAMES), CLUSTER)
    assert found.last.hash == hashes(lab.leader())[found.last.record.seq - 1]


def test_a_forged_takeover_is_not_believed(lab: QuorumLab) -> None:
    """Another word, another signer or another generation: the signature does not fit."""
    for member in lab.running():
        member.stop()
    survivor = lab.members["v1"]
    told = take_over(
        survivor.directory,
        voter="v1",
        reason="why",
        actor="operator:ann",
        sign_seed=new_sign_keys().seed,
        now_ms=START_MS,
    )
    keys = Keyring(s.record for s in survivor.told)
    assert not trusted(told.record, CLUSTER, keys), "signed by a key that nobody admitted"
    good = take_over(
        lab.members["v2"].directory,
        voter="v2",
        reason="why",
        actor="operator:ann",
        sign_seed=SIGN.seed,
        now_ms=START_MS,
    ).record
    assert trusted(good, CLUSTER, keys)
    assert not trusted(good, "another cluster", keys)
    assert not trusted(msgspec.structs.replace(good, gen=good.gen + 1), CLUSTER, keys)


def test_an_old_voter_comes_back_into_the_new_generation(lab: QuorumLab) -> None:
    """It believes the signed record, drops what was never committed, and follows."""
    keys = Keyring(s.record for s in lab.members["v1"].told)
    lab.trusts = lambda record: trusted(record, CLUSTER, keys)
    for member in lab.running():
        member.stop()
    force(lab, "v2")
    survivor, old = lab.members["v2"], lab.members["v1"]
    survivor.start()
    lab.write(3)
    back = VotersChanged(voters={"v2": survivor.inc.hex()}, learners={"v1": old.inc.hex()})
    lab.commit(Batch(drafts=(Draft(stream=STREAM, event=back, actor="test"),)))
    old.start()
    lab.level()
    assert hashes(old) == hashes(survivor)
    assert old.replica.leadership.epoch.gen == 2
