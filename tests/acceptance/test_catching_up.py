"""A cluster whose log is long takes in voters, and takes one in again that lost its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from commands.master.bootstrap import SIGN_KEY
from eventstore.access.keys import load_sign_keys
from eventstore.reactor import Reactor
from eventstore.record import Batch, Draft
from eventstore.replica import Committed, Outcome
from eventstore.storage.log_view import LogView
from eventstore.storage.verify import verify
from eventstore.voter.opening import open_quorum
from projections.digest import Digest
from projections.events.configuration import MasterChanged
from projections.past import state_at
from projections.state import digest_of
from projections.tables import INDEX_TABLES
from tests.acceptance.live_lab import LiveLab
from tests.acceptance.voters import Voters, until
from tools.lab.founding import wait_for_voters
from tools.lab.layout import MASTER, LabError

RECORDS = 50_000
_BATCH = 1000

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


def write(directory: Path, voter: str, node: str, count: int) -> None:
    """Append so many records to the log of a lone voter whose daemon is down."""
    reactor = Reactor()
    replica = open_quorum(
        directory / "log",
        voter=voter,
        post=reactor.call_soon_threadsafe,
        call_at=reactor.call_at,
        tables=INDEX_TABLES,
        sign_seed=load_sign_keys(directory / SIGN_KEY).seed,
    )
    replica.start()
    draft = Draft(stream="cluster", event=MasterChanged(node=node), actor="policy:voters")
    outcomes: list[Outcome] = []
    try:
        assert reactor.run_until(lambda: replica.leadership.ready, timeout_s=30)
        for number in range(count // _BATCH):
            replica.propose(Batch(drafts=(draft,) * _BATCH), outcomes.append)
            assert reactor.run_until(lambda n=number: len(outcomes) > n, timeout_s=30)  # type: ignore[misc]  # a default
            if number % 10 == 9:  # a checkpoint covers what is indexed
                assert replica.indexer.wait_for(replica.committed, 30)
            replica.tick(reactor.now())
        assert all(isinstance(outcome, Committed) for outcome in outcomes)
    finally:
        replica.close()
        reactor.close()


def digests(voters: Voters, seq: int) -> set[Digest]:
    """What each voter's log folds to, up to record `seq`."""
    found = set()
    for node in voters.nodes:
        with LogView(voters.log(node)) as view:
            found.add(digest_of(state_at(view, None, seq)))
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """Three nodes; the log of the first holds 50,000 records before the others get theirs."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("long")) / "lab")
    try:
        lab.up(nodes=3)
        lab.kill(MASTER)
        write(lab.layout.master, "node1", node_uuid(lab, "node1"), RECORDS)
        plant(lab.layout.home("master@node2") / "log")
        want_voters(lab, 3)
        lab.start(MASTER)
        wait_for_voters(lab.layout, within_s=240)
        yield lab
    finally:
        lab.down()


def node_uuid(lab: LiveLab, name: str) -> str:
    """The uuid of a node."""
    nodes = lab.configuration()
    return next(
        each["uuid"]
        for key, each in nodes.items()
        if key.startswith("node/") and each["name"] == name
    )


def plant(log: Path) -> None:
    """Lay down what looks like the beginning of a segment, fetched before a crash."""
    (log / "incoming").mkdir(parents=True)
    (log / "incoming" / "1.part").write_bytes(bytes(100_000))


def want_voters(lab: LiveLab, count: int) -> None:
    """Let so many nodes vote: the lab began with one."""
    path = lab.layout.master / "master.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "max_voters": count}))
    changed = msgspec.structs.replace(lab.layout.load(), voters=count)
    lab.layout.save(changed)


def said(lab: LiveLab, node: str) -> str:
    """What the master daemon of a node wrote."""
    daemon = lab.layout.voter(node)
    places = (lab.layout.output_of(daemon), lab.layout.home(daemon) / "master.out")
    return "".join(path.read_text() for path in places if path.exists())


def test_voters_that_are_new_get_the_log_in_bulk(lab: LiveLab) -> None:
    """Whole, verified, and equal; what lay there damaged is refused and fetched again."""
    voters = Voters(lab)
    voters.level()
    assert "came in bulk" in said(lab, "node2")
    assert "came in bulk" in said(lab, "node3")
    assert "bad-segment" in said(lab, "node2")
    assert "bad-segment: records 1 to" in lab.ok("gnt-log status")
    shared = voters.compare()
    assert shared > RECORDS
    assert len(digests(voters, shared)) == 1
    report = verify(voters.log("node2"))
    assert report.ok
    assert report.checkpoints


def test_a_voter_that_lost_its_files_comes_back(lab: LiveLab) -> None:
    """Under its old name it is not started; given up and made anew, it gets all again in bulk."""
    voters = Voters(lab)
    node = next(n for n in voters.followers() if n != "node1")
    home = lab.layout.home(voters.daemon(node))
    lab.kill(voters.daemon(node))
    shutil.rmtree(home / "log")
    with pytest.raises(LabError):
        lab.start(voters.daemon(node))
    assert "a voter that lost its disk is made anew by" in said(lab, node)
    lab.ok(f"gnt-node modify --master-candidate=no --force {node}")
    until(lambda: not home.exists())
    lab.ok(f"gnt-node modify --master-candidate=yes {node}")
    wait_for_voters(lab.layout, within_s=240)
    until(lambda: (s := voters.status(node)) is not None and s.role == "follower")
    voters.level()
    assert "came in bulk" in said(lab, node)
    shared = voters.compare()
    assert shared > RECORDS
    assert len(digests(voters, shared)) == 1
