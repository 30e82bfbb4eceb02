"""Orders: sent once, followed to their end, whatever happens on the way."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commands import api
from eventstore.errors import AccessDenied, Unreachable
from eventstore.wire.faults import RemoteError
from shell import following, submission
from shell.failure import Failure, Status
from tests.commands.building import Town
from tests.shell.stand_in import Master, StandInSession, Terminal, run, succeeded

TWO_DISKS = (
    "gnt-instance add -t plain --disk 1:size=2G --disk 0:size=1G,mode=ro"
    " -H kvm:acpi=no,memory=1G --net 0:link=br1 -n node1 a"
)


@pytest.fixture
def master() -> Master:
    town = Town()
    town.add_instance(1)
    town.add_instance(2, nodes=(2, 3), template="drbd")
    return Master(town)


def news(job: int, status: str, serial: int = 1, **op: Any) -> api.JobNews:
    """Return news of a job with one opcode."""
    ended = status in ("success", "error", "canceled")
    shown = api.OpNews(summary="INSTANCE_SHUTDOWN(web1)", status=status, **op)
    return api.JobNews(job=job, serial=serial, status=status, ended=ended, ops=(shown,))


def test_what_is_submitted(master: Master) -> None:
    """The opcode holds what was typed and nothing else; priority and reason stand with the job."""
    run("gnt-instance shutdown web1 --timeout 7 --priority high --reason 'ticket 812'", master)
    ((key, body),) = master.submitted
    (job,) = body.jobs
    assert key
    assert job.priority == -10
    assert [each[:2] for each in job.reason] == [
        ("gnt:user", "ticket 812"), ("gnt:client:gnt-instance", "shutdown"),
    ]  # fmt: skip
    (op,) = job.ops
    assert op.name == "OP_INSTANCE_SHUTDOWN"
    assert msgspec.msgpack.decode(op.data) == {"instance_name": "web1.example.net", "timeout": 7}


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("gnt-instance add -t drbd -s 10G -n node1:node2 -o debian a --tags x,y --no-start",
         {"instance_name": "a", "disk_template": "drbd", "disks": [{"size": "10G"}], "nics": [{}],
          "pnode": "node1", "snode": "node2", "os_type": "debian", "tags": ["x", "y"],
          "start": False}),
        (TWO_DISKS,
         {"instance_name": "a", "disk_template": "plain",
          "disks": [{"size": "1G", "mode": "ro"}, {"size": "2G"}], "nics": [{"link": "br1"}],
          "pnode": "node1", "hypervisor": "kvm", "hvparams": {"acpi": "no"},
          "beparams": {"memory": "1G"}}),
        ("gnt-instance add -t diskless --no-nics -g gold a",
         {"instance_name": "a", "disk_template": "diskless", "group_name": "gold"}),
        ("gnt-instance replace-disks -n node1 --disks 0,2 web2",
         {"instance_name": "web2", "mode": "replace_new_secondary", "remote_node": "node1",
          "disks": [0, 2]}),
        ("gnt-instance replace-disks --auto web2",
         {"instance_name": "web2", "mode": "replace_auto"}),
        ("gnt-instance recreate-disks --disk 0 --disk 1:size=1g -I hail web2",
         {"instance_name": "web2", "disks": [[0, {}], [1, {"size": "1g"}]], "iallocator": "hail"}),
        ("gnt-instance recreate-disks -n node1:node3 web2",
         {"instance_name": "web2", "nodes": ["node1", "node3"]}),
        ("gnt-instance grow-disk --absolute web1 0 20g",
         {"instance_name": "web1", "disk": 0, "amount": 20480, "absolute": True}),
        ("gnt-instance reboot web1",
         {"instance_name": "web1.example.net", "reboot_type": "hard"}),
        ("gnt-instance migrate -f --non-live -n node3 web2",
         {"instance_name": "web2", "live": False, "target_node": "node3"}),
        ("gnt-instance modify -B vcpus=2,minmem=default --net 0:modify,link=br1 --offline web1",
         {"instance_name": "web1", "beparams": {"vcpus": "2", "minmem": "default"},
          "nics": [["modify", 0, {"link": "br1"}]], "offline": True}),
        ("gnt-instance modify --disk add:size=1G --disk data:name=x --disk 0:remove web1",
         {"instance_name": "web1",
          "disks": [["add", -1, {"size": "1G"}], ["modify", "data", {"name": "x"}],
                    ["remove", 0, {}]]}),
        ("gnt-node modify -D yes --master-capable no node2",
         {"node_name": "node2", "drained": True, "master_capable": False}),
        ("gnt-group add --node-parameters ssh_port=23 gold",
         {"group_name": "gold", "ndparams": {"ssh_port": "23"}}),
        ("gnt-cluster modify --enabled-hypervisors kvm,fake -H kvm:acpi=no",
         {"enabled_hypervisors": ["kvm", "fake"], "hvparams": {"kvm": {"acpi": "no"}}}),
        ("gnt-node add-tags node1 a b", {"kind": "node", "name": "node1", "tags": ["a", "b"]}),
        ("gnt-cluster remove-tags a", {"kind": "cluster", "tags": ["a"]}),
    ],
)  # fmt: skip
def test_fields_of_orders(master: Master, line: str, fields: dict[str, object]) -> None:
    """Ganeti's options become the fields of Ganeti's opcodes."""
    ran = run(line, master)
    assert ran.status == 0, ran.err
    assert msgspec.msgpack.decode(master.submitted[0][1].jobs[0].ops[0].data) == fields


def batch(path: Path, *entries: dict[str, object]) -> str:
    """Write a file of instances and return its name."""
    file = path / "batch.json"
    file.write_bytes(msgspec.json.encode(entries))
    return str(file)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--no-install", True),
        ("--no-install --no-start", False),
        ("--no-install --submit", False),
        ("-o debian", False),
    ],
)
def test_that_nothing_is_started_without_a_system_is_told(
    master: Master, options: str, told: bool
) -> None:
    """Unless it was asked for, or the outcome is not waited for."""
    ran = run(f"gnt-instance add -t plain -s 1G -n node1 {options} new", master)
    assert ran.status == 0
    assert ("note: new is not started" in ran.err) is told


def test_batch_create(master: Master, tmp_path: Path) -> None:
    """The instances of a file become one job each, all accepted or none."""
    one: dict[str, object] = {"instance_name": "a", "disk_template": "diskless"}
    other = {**one, "instance_name": "b", "pnode": "node1"}
    path = batch(tmp_path, one, other)
    assert run(f"gnt-instance batch-create -I hail {path}", master).status == 0
    ((_, body),) = master.submitted
    assert [msgspec.msgpack.decode(job.ops[0].data) for job in body.jobs] == [
        {**one, "iallocator": "hail"}, other,
    ]  # fmt: skip


def test_a_bad_batch_is_refused_whole(master: Master, tmp_path: Path) -> None:
    """A file with one bad entry submits nothing, and the entry is named."""
    path = batch(tmp_path, {"instance_name": "a"}, {"instance_name": "b", "color": "red"})
    ran = run(f"gnt-instance batch-create {path}", master)
    assert (ran.status, master.submitted) == (2, [])
    assert "instance 2" in ran.err
    assert "color" in ran.err


def test_an_unknown_outcome_is_asked_for_with_the_same_key(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission that got no answer is sent again with its key, so it is never doubled."""
    keys: list[str | None] = []
    ask = master.ask

    def noted(kind: str, raw: bytes, key: str | None) -> object:
        if kind == "submit":
            keys.append(key)
        return ask(kind, raw, key)

    monkeypatch.setattr(master, "ask", noted)
    master.faults = [Unreachable("no answer"), Unreachable("no answer")]
    ran = run("gnt-instance shutdown web1", master)
    assert ran.status == 0
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert ran.err.count("does not answer") == 1


def test_patience_with_a_silent_master_ends(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its time the command gives up, in words."""
    monkeypatch.setattr(submission, "PATIENCE_S", 0.0)
    master.faults = [Unreachable("no answer", hint="is it running?")]
    ran = run("gnt-instance shutdown web1", master)
    assert ran.status == 1
    assert "Cannot communicate with the master daemon" in ran.err


def test_lines_come_once_in_order(master: Master) -> None:
    """Feedback lines are printed as they come; the next question starts behind them."""
    line = api.Line(time_ms=1000, op=0, text="stopping")
    first = msgspec.structs.replace(news(1, "running", 5), lines=(line,))
    master.news = [first, succeeded(1)]
    ran = run("gnt-instance shutdown web1", master)
    assert ran.out.endswith("stopping\n")
    assert ran.out.count("stopping") == 1


@pytest.mark.parametrize(
    ("status", "op", "said"),
    [
        ("error", {"code": "wrong_state", "message": "it runs", "hint": "stop it"},
         "error type: wrong_state, error details:\nit runs\nhint: stop it"),
        ("error", {"code": "environment_error", "message": "lvs failed", "step": "volume/node1"},
         "command execution error (step volume/node1):\nlvs failed"),
        ("canceled", {}, "was canceled"),
        ("needs-attention", {"message": "an undo failed"}, "gnt-job resolve"),
    ],
)  # fmt: skip
def test_a_job_that_does_not_succeed(
    master: Master, status: str, op: dict[str, Any], said: str
) -> None:
    """Its end makes the exit status 1 and is told with code, message and what would help."""
    master.news = [news(1, status, **op)]
    ran = run("gnt-instance shutdown web1", master)
    assert ran.status == 1
    assert said in ran.err


def test_one_of_several_fails(master: Master) -> None:
    """The others are still followed, and the exit status tells."""
    master.news = [news(1, "error", code="wrong_state", message="it runs"), succeeded(2)]
    ran = run("gnt-instance shutdown web1 web2 --force-multiple", master)
    assert ran.status == 1
    assert "Job 1 for web1.example.net has failed" in ran.err
    assert "Waiting for job 2" in ran.out


def test_a_master_that_restarts_is_waited_for(master: Master) -> None:
    """While it is away a note says that the job is safe; afterwards following goes on."""
    master.news = [Unreachable("gone"), Unreachable("gone"), succeeded(1)]
    ran = run("gnt-instance shutdown web1", master)
    assert ran.status == 0
    assert ran.err == (
        "The master daemon does not answer; job 1 is safe. Waiting.\nThe master daemon is back.\n"
    )


def test_a_master_that_stays_away(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the command says how to look again; the job goes on."""
    monkeypatch.setattr(following, "PATIENCE_S", 0.0)
    master.news = [Unreachable("gone")]
    ran = run("gnt-instance shutdown web1", master)
    assert ran.status == 1
    assert "gnt-job watch 1" in ran.err


def test_what_it_waits_for_is_told_once(master: Master) -> None:
    """Locks and jobs that are waited for are named, not again at each answer."""
    waits = msgspec.structs.replace(news(1, "waiting"), waits_for=("job 4: node/node1",))
    master.news = [waits, waits, succeeded(1)]
    ran = run("gnt-instance shutdown web1", master)
    assert ran.err == "Job 1 waits for job 4: node/node1\n"


class Interrupted(StandInSession):
    """A session in which Ctrl-C is typed while a job is followed."""

    def ask(self, kind, body, reply, **options):  # type: ignore[no-untyped-def]  # as its base
        if kind == "wait-job":
            raise KeyboardInterrupt
        return super().ask(kind, body, reply, **options)


def test_ctrl_c_leaves_the_job_running() -> None:
    """The status is 130, and the words say how to look at the job and how to stop it."""
    session = Interrupted(out=io.StringIO(), err=io.StringIO())
    with pytest.raises(Failure) as stopped:
        following.follow(session, 7)
    assert stopped.value.status is Status.INTERRUPTED
    assert "gnt-job watch 7" in stopped.value.hint


def test_a_sync_that_is_waited_for_is_told(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    """How far it is and how long it will take, before whatever a script said last."""
    monkeypatch.setenv("TERM", "xterm")
    syncing = msgspec.structs.replace(
        news(1, "running", steps=5, steps_done=4, step="synced/0"),
        sync_percent=42.5, sync_eta_s=61.0,
    )  # fmt: skip
    session = StandInSession(out=io.StringIO(), err=Terminal())
    session.master = Master(master.town, news=[syncing, succeeded(1)])
    following.follow(session, 1)
    assert "[4/5]  synced/0  42.5 % in sync  61 s left" in session.err.getvalue()


def test_progress_only_on_a_terminal(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person sees steps, percent and time left; a file sees none of it."""
    monkeypatch.setenv("TERM", "xterm")
    line = api.Line(time_ms=0, op=0, text="syncing", percent=40.0, eta_s=9.0)
    running = msgspec.structs.replace(
        news(1, "running", steps=5, steps_done=2, step="mirror"), lines=(line,)
    )
    for terminal in (True, False):
        err = Terminal() if terminal else io.StringIO()
        session = StandInSession(out=io.StringIO(), err=err)
        session.master = Master(master.town, news=[running, succeeded(1)])
        following.follow(session, 1)
        assert ("[2/5]  mirror  40 %  9 s left" in err.getvalue()) == terminal
        assert err.getvalue().endswith("\x1b[K") == terminal


@pytest.mark.parametrize(
    ("typed", "status", "submitted"), [("y\n", 0, 1), ("v\ny\n", 0, 1), ("\n", 1, 0), ("n\n", 1, 0)]
)
def test_a_question_at_a_terminal(master: Master, typed: str, status: int, submitted: int) -> None:
    """Yes goes on, no and nothing do not; the names can be viewed first."""
    ran = run("gnt-instance shutdown --all", master, typed=typed)
    assert ran.status == status
    assert len(master.submitted) == submitted
    assert ("  web1.example.net" in ran.err) == typed.startswith("v")


@pytest.mark.parametrize(
    ("mode", "names"),
    [("--all", [1, 2]), ("--node node3", [2]), ("--primary node2", [2]), ("--secondary node2", []),
     ("--secondary node3", [2]), ("--tags blue", [1]), ("--instance web2", [2]),
     ("--node-tags fast", [2]), ("--pri-node-tags fast", []), ("--sec-node-tags fast", [2])],
)  # fmt: skip
def test_selection(mode: str, names: list[int]) -> None:
    """Each of Ganeti's modes selects the instances it should."""
    town = Town()
    town.add_instance(1, tags=("blue",))
    town.add_instance(2, nodes=(2, 3), template="drbd")
    from projections.events.configuration import TagsAdded
    from tests.commands.building import node_uuid

    tagged = TagsAdded(table="node", subject=node_uuid(3), tags=("fast",))
    town.fold(f"node/{node_uuid(3)}", tagged)
    master = Master(town)
    ran = run(f"gnt-instance shutdown --force-multiple {mode}", master)
    found = [
        msgspec.msgpack.decode(job.ops[0].data)["instance_name"]
        for _, body in master.submitted
        for job in body.jobs
    ]
    assert found == [f"web{number}.example.net" for number in names]
    assert ran.status == (0 if names else 1)


def test_errors_of_the_master_are_words(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the master answers, the command ends with words and a status, no traceback."""
    for error in (
        AccessDenied("node1 does not admit the key", hint="use an admitted key"),
        RemoteError("insufficient_resources", "too little memory", hint="8 GiB are free"),
        ZeroDivisionError("division by zero"),
    ):

        def ask(kind: str, raw: bytes, key: str | None, error: Exception = error) -> object:
            raise error

        monkeypatch.setattr(master, "ask", ask)
        ran = run("gnt-instance list", master)
        assert ran.status == 1
        assert str(error) in ran.err
        assert "hint: " in ran.err
        assert "Traceback" not in ran.err
