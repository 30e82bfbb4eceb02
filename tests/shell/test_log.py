"""gnt-log on a directory without a daemon, and through the sockets of a voter."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import msgspec
import pytest

from commands.api import VoterStatus
from commands.master import bootstrap
from commands.master.config import MasterConfig
from eventstore.clients.client import Client
from eventstore.reactor import Reactor
from eventstore.record import Stored
from eventstore.wire.zap import ZapHandler
from projections.objects import ClusterInfo, InstancePolicy
from projections.past import replay
from shell import config, log_show, log_source, main
from shell.log_status import stuck
from shell.session import Session
from tests.eventstore.storage_lab import Lab, fill
from tests.eventstore.wire_voter import WireVoter, close_reactor, new_reactor
from tests.shell.stand_in import Master, Ran, run


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A master's directory with the log of a new cluster."""
    settings = MasterConfig(
        voter="node1", requests="tcp://127.0.0.1:1", publications="tcp://127.0.0.1:2", ballast_mib=0
    )
    bootstrap.init_cluster(
        tmp_path / "master",
        config=settings,
        info=ClusterInfo(
            uuid="",
            name="c.example.net",
            mac_prefix="aa:00:11",
            ipolicy=InstancePolicy(vcpu_ratio=3.0),
        ),
        operator="alice",
        operator_key=tmp_path / "operator.key",
        node_ip="127.0.0.1",
    )
    return tmp_path / "master"


def test_tail(directory: Path) -> None:
    """The last records come in order, one to a line; a stream alone if it is named."""
    ran = run(f"gnt-log tail --dir {directory} -n 3 --no-headers --separator :", Master())
    assert [line.split(":")[0] for line in ran.out.splitlines()] == ["6", "7", "8"]
    ran = run(f"gnt-log tail --dir {directory} --no-headers cluster", Master())
    assert "cluster.created" in ran.out
    assert len(ran.out.splitlines()) == 1


def test_the_columns_of_what_is_followed_stay(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record is printed as it comes, under the ones before; a column only ever widens."""

    def records(source: log_source.Source, seq: int) -> Iterator[Stored]:
        assert seq == source.head
        yield from source.iterate(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(log_show, "_poll", records)
    ran = run(f"gnt-log tail -f -n 2 --dir {directory}", Master())
    lines = ran.out.splitlines()
    assert (ran.status, len(lines)) == (0, 1 + 2 + 8)
    assert {line.index("202") for line in lines[1:]} == {lines[0].index("Time")}
    kinds = [line.split()[5] for line in lines[1:]]
    assert {line.index(f" {kind} ") + 1 for line, kind in zip(lines[1:], kinds, strict=True)} == {
        lines[0].index("Kind")
    }


def test_tail_as_json_lines(directory: Path) -> None:
    """Each line is one object, so that a program can follow."""
    ran = run(f"gnt-log tail --dir {directory} -n 2 --format json", Master())
    assert [json.loads(line)["seq"] for line in ran.out.splitlines()] == [7, 8]


def test_show(directory: Path) -> None:
    """A record is shown with all its fields; one that there is not is refused."""
    ran = run(f"gnt-log show 5 --dir {directory}", Master())
    assert ran.out.startswith("seq: 5\nhash: ")
    assert "    mac_prefix: aa:00:11\n" in ran.out
    ran = run(f"gnt-log show 99 --dir {directory}", Master())
    assert (ran.status, "records 1 to 8" in ran.err) == (1, True)
    ran = run(f"gnt-log show job/1 --dir {directory}", Master())
    assert ran.status == 1


def test_export_is_the_same_each_time(directory: Path, tmp_path: Path) -> None:
    """The same log gives the same text, to a file or not; a part is a part of it."""
    whole = run(f"gnt-log export --dir {directory}", Master()).out
    assert [json.loads(line)["seq"] for line in whole.splitlines()] == list(range(1, 9))
    path = tmp_path / "export.jsonl"
    ran = run(f"gnt-log export --dir {directory} --output {path}", Master())
    assert (ran.out, path.read_text()) == ("", whole)
    part = run(f"gnt-log export --dir {directory} --first 3 --last 4", Master()).out
    assert part.splitlines() == whole.splitlines()[2:4]


@pytest.mark.parametrize("part", ["--first 9", "--first 5 --last 3", "--first 0"])
def test_an_export_of_no_records_is_refused(directory: Path, part: str) -> None:
    """With the records there are: an empty file would pass for an empty log."""
    ran = run(f"gnt-log export --dir {directory} {part}", Master())
    assert (ran.status, ran.out) == (2, "")
    assert "hint: the log has records 1 to 8" in ran.err


def test_export_of_cloud_events(directory: Path) -> None:
    """Each line has the attributes that CloudEvents 1.0 requires, and the place in the log."""
    lines = run(f"gnt-log export --cloudevents --dir {directory}", Master()).out.splitlines()
    fifth = json.loads(lines[4])
    assert (fifth["specversion"], fifth["type"], fifth["subject"], fifth["seq"]) == (
        "1.0", "cluster.created", "cluster", 5,
    )  # fmt: skip
    assert fifth["source"].startswith("/cluster/")
    assert len({json.loads(line)["id"] for line in lines}) == 8


def test_verify_a_sound_log(directory: Path) -> None:
    """A sound log is called so, with status 0."""
    ran = run(f"gnt-log verify --dir {directory}", Master())
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "Verdict: sound")


def test_verify_a_changed_log(directory: Path) -> None:
    """A changed byte is found, the first bad record named, and the status is 1."""
    log = sqlite3.connect(directory / "log/log.sqlite")
    with log:
        (bytes_,) = log.execute("SELECT bytes FROM log WHERE seq = 5").fetchone()
        changed = bytes_.replace(b"aa:00:11", b"aa:00:12")
        assert changed != bytes_
        log.execute("UPDATE log SET bytes = ? WHERE seq = 5", (changed,))
    log.close()
    ran = run(f"gnt-log verify --dir {directory}", Master())
    assert ran.status == 1
    assert "the first at record 5" in ran.out
    told = json.loads(run(f"gnt-log verify --dir {directory} --format json", Master()).out)
    assert told[0]["findings"][0][0] == 5


def test_replay_compares_with_the_master(directory: Path) -> None:
    """Equal digests end with status 0, a different one with status 1, and it is shown which."""
    digest = replay(log_source.local_log(directory / "log")).digest()
    own = {name: getattr(digest, name) for name in ("configuration", "jobs", "changes")}
    ran = run(f"gnt-log replay --dir {directory}", Master(digests=own))
    assert ran.status == 0
    assert "8 records replayed" in ran.err
    ran = run(
        f"gnt-log replay --dir {directory} --format json", Master(digests={**own, "jobs": "0"})
    )
    assert ran.status == 1
    assert {row["projection"]: row["same"] for row in json.loads(ran.out)} == {
        "configuration": True, "jobs": False, "changes": True,
    }  # fmt: skip


def test_why(directory: Path) -> None:
    """A field's value is told with its record, who began it, and the chain that led to it."""
    ran = run(f"gnt-log why cluster mac_prefix --dir {directory} --format json", Master())
    told = json.loads(ran.out)
    assert told["value"] == "aa:00:11"
    assert told["since record"] == 5
    assert told["by"] == "operator:alice"
    ran = run(f"gnt-log why node node1 drained --dir {directory}", Master())
    assert "record 8 node.invited" in ran.out
    ran = run(f"gnt-log why node node1 drainde --dir {directory}", Master())
    assert ran.status == 1
    assert run(f"gnt-log why planet x --dir {directory}", Master()).status == 2


def test_why_tells_a_value_of_several_fields_by_what_is_set(directory: Path) -> None:
    """A policy is told by its names and values, not as the program writes it."""
    ran = run(f"gnt-log why cluster ipolicy --dir {directory} --format json", Master())
    assert json.loads(ran.out)["value"] == "vcpu_ratio=3.0"


def test_at_asks_as_of_that_moment() -> None:
    """Any command that reads is asked as of the moment; an order is refused."""
    master = Master()
    assert run("gnt-log at 812 instance list -o name", master).status == 0
    (query,) = master.queries
    assert query.at is not None
    assert (query.at.seq, query.fields) == (812, ("name",))
    assert run("gnt-log at 812 instance remove web1", master).status == 2
    assert run("gnt-log at noon instance list", master).status == 2
    assert len(master.queries) == 1


def test_accept_loss_of_a_sound_log(directory: Path) -> None:
    """Nothing is given up where nothing is lost."""
    ran = run(f"gnt-log accept-loss --dir {directory} --yes-do-it --reason x", Master())
    assert ran.status == 1
    assert "nothing is lost" in ran.err


def test_accept_loss_asks_and_goes_on(tmp_path: Path) -> None:
    """What would be given up is named first; it is done only with both options, and recorded."""
    lab = Lab(tmp_path / "log")
    fill(lab, 40)
    log = sqlite3.connect(lab.directory / "log.sqlite")
    with log:
        log.execute("DELETE FROM log WHERE seq >= 20")
    log.close()
    ran = run(f"gnt-log accept-loss --dir {tmp_path}", Master())
    assert ran.status == 13
    assert "Records 20 to 43 would be given up" in ran.err
    assert run(f"gnt-log accept-loss --dir {tmp_path} --yes-do-it", Master()).status == 2
    ran = run(f"gnt-log accept-loss --dir {tmp_path} --yes-do-it --reason disk", Master())
    assert ran.status == 0, ran.err
    assert run(f"gnt-log verify --dir {tmp_path}", Master()).status == 0
    assert "log.loss-accepted" in run(f"gnt-log tail --dir {tmp_path} -n 1", Master()).out


def test_no_log(tmp_path: Path) -> None:
    """A directory without a log is refused."""
    assert run(f"gnt-log tail --dir {tmp_path}", Master()).status == 1


# Through the sockets of a voter.


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = new_reactor()
    yield reactor
    close_reactor(reactor)


@pytest.fixture
def voter(reactor: Reactor) -> WireVoter:
    voter = WireVoter(reactor, ZapHandler(reactor))
    for number in range(1, 60):
        voter.replica.append("cluster", f"job/{number % 3}", data=b"\x81\xa1a\x01")
    return voter


class WireSession(Session):
    """A session with a real client, whose waiting turns the voter too."""

    voter: WireVoter

    @cached_property
    def client(self) -> Client:
        return self.voter.client()


def remote(line: str, voter: WireVoter) -> Ran:
    """Run a command against the voter."""
    settings = config.ClientConfig(key_file="key")
    session = WireSession(
        out=io.StringIO(),
        err=io.StringIO(),
        find_config=lambda: config.Found(Path("/nonexistent/client.json"), settings),
    )
    session.voter = voter
    tool, *words = line.split()
    status = main.run(tool, words, session)
    session.client._client.close()
    assert isinstance(session.out, io.StringIO)
    assert isinstance(session.err, io.StringIO)
    return Ran(status, session.out.getvalue(), session.err.getvalue())


@pytest.mark.acceptance
def test_reading_through_a_voter(voter: WireVoter) -> None:
    """tail, show, export, verify and status read the committed log over CURVE."""
    ran = remote("gnt-log tail -n 2 --no-headers job/2 job/1", voter)
    assert len(ran.out.splitlines()) == 2
    ran = remote("gnt-log show job/2 --format json", voter)
    assert [record["version"] for record in json.loads(ran.out)] == list(range(1, 21))
    ran = remote("gnt-log export", voter)
    assert len(ran.out.splitlines()) == len(voter.replica.log)
    ran = remote("gnt-log verify", voter)
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "Verdict: sound")
    assert "Leader: v1" in remote("gnt-log status", voter).out


@pytest.mark.acceptance
def test_a_voter_that_lies_is_found(voter: WireVoter) -> None:
    """A record whose bytes do not fit its hash is found from outside, and named."""
    stored = voter.replica.log[40]
    voter.replica.log[40] = msgspec.structs.replace(
        stored, encoded=stored.encoded.replace(b"\xa1a\x01", b"\xa1a\x02")
    )
    ran = remote("gnt-log verify", voter)
    assert ran.status == 1
    assert "record 41: its hash" in ran.out
    voter.replica.log[40] = msgspec.structs.replace(stored, encoded=b"\xc1")
    assert "record 41: not a record" in remote("gnt-log verify", voter).out


def voter_status(name: str, role: str, last: int) -> VoterStatus:
    """Return how one of three voters is."""
    return VoterStatus(
        name=name,
        role=role,
        gen=1,
        term=2,
        leader="",
        last_seq=last,
        durable=last,
        committed=8,
        disk="ok",
        last_fsync_ms=1.0,
        worst_fsync_ms=1.0,
        voters=("v1", "v2", "v3"),
    )


@pytest.mark.parametrize(
    ("roles", "says"),
    [
        (("leader", "recovering", ""), ()),
        (("follower", "candidate", ""), ()),
        (("follower", "", ""), ("daemon on v2, v3;", "--no-voting on v1,")),
        (
            ("recovering", "follower", "recovering"),
            ("v1, v3 lost what they had acknowledged", "records: gnt-cluster", "on v2,"),
        ),
        (("recovering",) * 3, ("v1, v2, v3 lost", "gnt-log accept-loss", "on v3,")),
    ],
)
def test_status_says_what_to_do_when_nobody_can_lead(
    roles: tuple[str, ...], says: tuple[str, ...]
) -> None:
    """What to start, and where most is held; nothing while a voter leads or may be elected."""
    names = ("v1", "v2", "v3")
    found = {
        name: voter_status(name, role, 100 + number) if role else None
        for number, (name, role) in enumerate(zip(names, roles, strict=True))
    }
    told = stuck(found)
    assert bool(told) == bool(says)
    for words in says:
        assert words in told
