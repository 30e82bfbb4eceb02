"""Jobs as operators handle them: submitted, watched, ordered, canceled, resolved, archived."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.api import JobSpec, Submit, Submitted
from commands.opcode import pack
from commands.tag_ops.set_tags import TagsSet
from eventstore.record import Record
from tests.acceptance.live_lab import LiveLab
from tests.replaycheck import check_replay

pytestmark = pytest.mark.acceptance

ADD = "gnt-instance add -t plain -o debian -B memory=512 -s 1G"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """Three nodes and an instance; a node may be held for long before it counts as lost."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("jobs")) / "lab")
    try:
        lab.up(lost_after_s=300.0)
        lab.ok(f"{ADD} -n node1 web1.example.net")
        yield lab
        lab.stop()
        check_replay(lab.log)
    finally:
        lab.down()


def volumes(lab: LiveLab) -> dict[str, object]:
    return {n: lab.drivers().get(f"{n}/volumes.json", {}).get("volumes", {}) for n in NODES}


def submit(lab: LiveLab, key: str, *jobs: JobSpec) -> tuple[int, ...]:
    """Submit jobs as no command can; return their numbers."""
    session = lab.session()
    try:
        return session.ask("submit", Submit(jobs=jobs), Submitted, key=key).jobs
    finally:
        session.close()


def asks_to_install(record: Record) -> bool:
    return record.kind == "task.requested" and b"install-os" in bytes(record.data)


NODES = ("node1", "node2", "node3")


# --- what stands in the log ---------------------------------------------------------------------


@pytest.mark.parametrize(("tool", "name"), [("node", "node2"), ("instance", "web1.example.net")])
def test_a_stream_may_be_called_by_its_objects_name(lab: LiveLab, tool: str, name: str) -> None:
    """Streams bear uuids, which nobody types; an unknown name is answered with the nearest."""
    ((uuid,),) = lab.rows(f"gnt-{tool} list -o uuid {name}")
    assert lab.ok(f"gnt-log show {tool}/{name}") == lab.ok(f"gnt-log show {tool}/{uuid}")
    assert lab.ok(f"gnt-log tail -n 3 {tool}/{name}") == lab.ok(f"gnt-log tail -n 3 {tool}/{uuid}")
    wrong = lab.run(f"gnt-log show {tool}/{name}x")
    assert (wrong.status, name in wrong.hint) == (1, True), str(wrong)


# --- how an order is given ----------------------------------------------------------------------


def test_a_dry_run_shows_the_plan_and_changes_nothing(lab: LiveLab) -> None:
    """Steps, locks and what would change; no job, no record, no effect on a node."""
    head = lab.head
    with lab.unchanged():
        told = lab.ok(f"{ADD} -n node2 --dry-run dry.example.net")
    assert "nothing was done" in told
    assert "ensure-volume" in told
    assert "instance dry.example.net: added" in told
    kinds = {stored.record.kind for stored in lab.records(head + 1)}
    assert kinds <= {"log.checkpoint"}, "a dry run left something in the log"
    refused = lab.run(f"{ADD} -n node7 --dry-run dry.example.net")
    assert (refused.status, "node node7 not known" in refused.err) == (1, True), str(refused)


def test_submit_returns_at_once_and_wait_waits(lab: LiveLab) -> None:
    """--submit prints the job's number alone; gnt-job wait ends when the job has."""
    with lab.held("node2"):
        job = lab.submit(f"{ADD} -n node2 submitted.example.net")
        assert lab.status_of(job) == "running"
    lab.ok(f"gnt-job wait {job}")
    assert lab.status_of(job) == "success"
    assert f"Job ID: {job}" in lab.ok(f"gnt-job info {job}")
    assert f"Output from job {job} follows" in lab.ok(f"gnt-job watch {job}")


def test_print_jobid_prints_the_number_first(lab: LiveLab) -> None:
    """And then goes on as ever: the job is through when the command ends."""
    told = lab.ok(f"{ADD} -n node2 --print-jobid printed.example.net")
    assert lab.status_of(int(told.splitlines()[0])) == "success"


def test_a_job_that_fails_makes_wait_fail(lab: LiveLab) -> None:
    """gnt-job wait ends with status 1 and says why the job failed."""
    job = lab.submit(f"{ADD} -n node7 nobody.example.net")
    ran = lab.run(f"gnt-job wait {job}")
    assert ran.status == 1, str(ran)
    assert "node node7 not known" in ran.err
    assert lab.status_of(job) == "error"


def test_batch_create_makes_each_instance_of_the_file(lab: LiveLab, tmp_path: Path) -> None:
    """One job for each; one that cannot be is named, and the others are made."""
    wanted = {
        "mode": "create", "disk_template": "plain", "os_type": "debian", "pnode": "node3",
        "disks": [{"size": "1G"}], "beparams": {"memory": 512}, "nics": [{}],
    }  # fmt: skip
    file = tmp_path / "instances.json"
    names = [f"batch{number}.example.net" for number in range(3)]
    file.write_text(json.dumps([{**wanted, "instance_name": name} for name in names]))
    lab.ok(f"gnt-instance batch-create {file}")
    listed = {row[0] for row in lab.rows("gnt-instance list -o name")}
    assert set(names) <= listed
    again = [{**wanted, "instance_name": name} for name in (names[0], "batch9.example.net")]
    file.write_text(json.dumps(again))
    ran = lab.run(f"gnt-instance batch-create {file}")
    assert ran.status == 1, str(ran)
    assert "there is an instance batch0.example.net already" in ran.err
    assert ["batch9.example.net"] in lab.rows("gnt-instance list -o name")


@pytest.mark.parametrize(
    "content", ["", "{", "{}", "[5]", '[{"instance_name": 5}]', '[{"no_such": 1}]']
)
def test_a_batch_file_that_is_none_is_refused(lab: LiveLab, tmp_path: Path, content: str) -> None:
    """Nothing is made of it, and the file is named."""
    file = tmp_path / "instances.json"
    file.write_text(content)
    with lab.unchanged():
        ran = lab.run(f"gnt-instance batch-create {file}")
    assert ran.status in (1, 2), str(ran)
    assert ran.err


# --- order among jobs ---------------------------------------------------------------------------


def test_a_job_waits_for_those_it_depends_on(lab: LiveLab) -> None:
    """It starts after the other has ended; if that failed, and it wanted success, it fails too."""

    def tag(name: str, tag: str, *depends: tuple[int, tuple[str, ...]]) -> JobSpec:
        op = TagsSet(kind="instance", name=name, tags=(tag,))
        return JobSpec(ops=(pack(op),), depends=(depends,) if depends else ())

    jobs = (
        tag("web1.example.net", "one"),
        tag("web1.example.net", "two", (-1, ("success",))),
        tag("nobody.example.net", "three", (-1, ("success",))),
        tag("web1.example.net", "four", (-1, ("success",))),
        tag("web1.example.net", "five", (-2, ("success", "error"))),
    )
    first, second, third, fourth, fifth = submit(lab, "these five jobs", *jobs)
    assert lab.run(f"gnt-job wait {fourth}").status == 1
    lab.ok(f"gnt-job wait {fifth}")
    states = [lab.status_of(job) for job in (first, second, third, fourth, fifth)]
    assert states == ["success", "success", "error", "error", "success"]
    tags = lab.ok("gnt-instance list-tags web1").split()
    assert {"one", "two", "five"} <= set(tags)
    assert "four" not in tags


def test_the_higher_priority_gets_the_lock_first(lab: LiveLab) -> None:
    """Of two that wait for one instance, the later but more urgent one starts first."""
    with lab.held("node1"):
        first = lab.submit("gnt-instance reboot web1.example.net")
        low = lab.submit("gnt-instance grow-disk --priority low web1.example.net 0 128m")
        high = lab.submit("gnt-instance reboot --priority high web1.example.net")
        assert lab.status_of(high) == "waiting"
    lab.ok(f"gnt-job wait {low}")
    started = {
        stored.record.job: stored.record.seq
        for stored in lab.records()
        if stored.record.kind == "op.started"
    }
    assert started[first] < started[high] < started[low]


def test_the_priority_of_a_waiting_job_can_be_changed(lab: LiveLab) -> None:
    """gnt-job change-priority decides which of two waiting jobs is next."""
    with lab.held("node1"):
        first = lab.submit("gnt-instance reboot web1.example.net")
        second = lab.submit("gnt-instance reboot web1.example.net")
        third = lab.submit("gnt-instance grow-disk web1.example.net 0 128m")
        lab.ok(f"gnt-job change-priority --priority high {third}")
    lab.ok(f"gnt-job wait {second}")
    ends = [s.record.job for s in lab.records() if s.record.kind == "op.succeeded"]
    assert ends.index(first) < ends.index(third) < ends.index(second)


# --- cancel ---------------------------------------------------------------------------------------


def test_a_cancel_while_a_task_runs_undoes_what_was_done(lab: LiveLab) -> None:
    """The job is canceled, its command says so, and nothing of the instance is left."""
    before, there = lab.configuration(), volumes(lab)
    lab.order("node2", "hang", call="install-os", times=1)
    begin = lab.head
    client = lab.command(*f"{ADD} -n node2 canceled.example.net".split())
    job = lab.wait_for(asks_to_install, after=begin).job
    assert job is not None
    lab.ok(f"gnt-job cancel {job}")
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 1, output
    assert f"Job {job} was canceled; what it had done was undone." in output
    assert lab.status_of(job) == "canceled"
    assert lab.configuration() == before
    assert volumes(lab) == there


def test_a_cancel_while_a_job_waits_for_a_lock_starts_nothing(lab: LiveLab) -> None:
    """It never starts, and those behind it go on."""
    with lab.held("node1"):
        first = lab.submit("gnt-instance reboot web1.example.net")
        waiting = lab.submit("gnt-instance shutdown web1.example.net")
        behind = lab.submit("gnt-instance reboot web1.example.net")
        assert lab.status_of(waiting) == "waiting"
        lab.ok(f"gnt-job cancel {waiting}")
        assert lab.status_of(waiting) == "canceled"
    lab.ok(f"gnt-job wait {first}")
    lab.ok(f"gnt-job wait {behind}")
    assert "op.started" not in lab.kinds(waiting)
    assert lab.rows("gnt-instance list -o status web1") == [["running"]]


def test_a_cancel_of_a_job_that_is_queued_starts_nothing(lab: LiveLab) -> None:
    """One that waits for another job, not for a lock, is canceled at once too."""
    with lab.held("node1"):
        first = lab.submit("gnt-instance reboot web1.example.net")
        op = TagsSet(kind="instance", name="web1.example.net", tags=("never",))
        queued = submit(lab, "one queued", JobSpec(ops=(pack(op),), depends=(((first, ()),),)))[0]
        assert lab.status_of(queued) in ("queued", "waiting")
        lab.ok(f"gnt-job cancel {queued}")
        assert lab.status_of(queued) == "canceled"
    lab.ok(f"gnt-job wait {first}")
    assert "op.started" not in lab.kinds(queued)
    assert "never" not in lab.ok("gnt-instance list-tags web1").split()


def test_a_job_that_has_ended_is_not_canceled(lab: LiveLab) -> None:
    """Exit status 1, with why; the job stays what it was."""
    job = lab.submit("gnt-instance add-tags web1.example.net ended")
    lab.ok(f"gnt-job wait {job}")
    ran = lab.run(f"gnt-job cancel {job}")
    assert ran.status == 1, str(ran)
    assert str(job) in ran.out + ran.err
    assert lab.status_of(job) == "success"


# --- archive --------------------------------------------------------------------------------------


def test_an_archived_job_is_off_the_list_and_still_known(lab: LiveLab) -> None:
    """info and watch read it from the log; orders about it are refused: it is archived."""
    job = lab.submit("gnt-instance add-tags web1.example.net archived")
    lab.ok(f"gnt-job wait {job}")
    lab.ok(f"gnt-job archive {job}")
    assert [str(job)] not in lab.rows("gnt-job list -o id")
    assert f"Job ID: {job}" in lab.ok(f"gnt-job info {job}")
    for order in ("cancel", "archive", "change-priority --priority high"):
        ran = lab.run(f"gnt-job {order} {job}")
        assert ran.status == 1, str(ran)
        assert "archived" in ran.out + ran.err


def test_a_running_job_is_not_archived(lab: LiveLab) -> None:
    """The order is refused and the job goes on."""
    with lab.held("node1"):
        job = lab.submit("gnt-instance reboot web1.example.net")
        ran = lab.run(f"gnt-job archive {job}")
    assert ran.status == 1, str(ran)
    lab.ok(f"gnt-job wait {job}")


@pytest.mark.parametrize("command", ["info", "watch", "wait", "cancel", "archive", "list"])
def test_a_job_that_never_was_is_refused(lab: LiveLab, command: str) -> None:
    """Every command about jobs says so and ends with status 1."""
    ran = lab.run(f"gnt-job {command} 99999")
    assert ran.status == 1, str(ran)
    assert "99999" in ran.out + ran.err
    assert "not known" in ran.out + ran.err or "there is no job" in ran.err
    assert lab.run(f"gnt-job {command} x").status in (1, 2)


# --- needs-attention ------------------------------------------------------------------------------


def park(lab: LiveLab, name: str) -> int:
    """Make a job that fails, and whose undo fails; return its number."""
    lab.order("node2", "fail", call="install-os", times=1)
    lab.order("node2", "fail", call="remove-volume", times=1000)
    ran = lab.run(f"{ADD} -n node2 --print-jobid {name}")
    assert ran.status == 1, str(ran)
    job = int(ran.out.splitlines()[0])
    assert f"Job {job} needs attention" in ran.err
    assert "gnt-job resolve" in ran.hint
    assert lab.status_of(job) == "needs-attention"
    return job


def test_a_failed_undo_parks_the_job_with_its_locks(lab: LiveLab) -> None:
    """verify lists it; others wait for its locks; resolve --undo ends it and nothing is left."""
    there = volumes(lab)
    job = park(lab, "parked.example.net")
    assert volumes(lab) != there, "nothing was left behind"
    verified = lab.run("gnt-cluster verify")
    assert verified.status == 1, str(verified)
    assert f"job {job}" in verified.out
    assert "node2" in verified.out
    waiting = lab.submit(f"{ADD} -n node2 parked.example.net")
    assert lab.status_of(waiting) == "waiting"
    lab.ok(f"gnt-job cancel {waiting}")
    lab.order("node2", "clear")
    lab.ok(f"gnt-job resolve --undo {job}")
    lab.wait_for_kind("op.failed", job=job)
    assert lab.status_of(job) == "error"
    assert volumes(lab) == there
    assert lab.run("gnt-cluster verify").status == 0
    lab.ok(f"{ADD} -n node2 parked.example.net")


def test_resolve_retry_goes_forward_again(lab: LiveLab) -> None:
    """After --retry with a node that works the job succeeds, or is undone: never half."""
    there = volumes(lab)
    job = park(lab, "retried.example.net")
    lab.order("node2", "clear")
    ran = lab.run(f"gnt-job resolve --retry {job}")
    assert ran.status == 0, str(ran)
    lab.wait_for(lambda record: record.job == job and record.kind in ENDS)
    made = ["retried.example.net"] in lab.rows("gnt-instance list -o name")
    assert made == (lab.status_of(job) == "success")
    assert made or volumes(lab) == there


ENDS = ("op.succeeded", "op.failed", "op.canceled")


def test_resolve_accept_leaves_what_is_left_and_frees_the_locks(lab: LiveLab) -> None:
    """The operator takes it as it is: the job ends, the name is free again."""
    job = park(lab, "accepted.example.net")
    lab.order("node2", "clear")
    lab.ok(f"gnt-job resolve --accept {job}")
    lab.wait_for(lambda record: record.job == job and record.kind in ENDS)
    assert lab.status_of(job) == "error"
    lab.ok(f"{ADD} -n node2 accepted.example.net")


def test_a_job_that_needs_no_attention_is_not_resolved(lab: LiveLab) -> None:
    """resolve says how the job stands."""
    job = lab.submit("gnt-instance add-tags web1.example.net fine")
    lab.ok(f"gnt-job wait {job}")
    ran = lab.run(f"gnt-job resolve --accept {job}")
    assert ran.status == 1, str(ran)
    assert str(job) in ran.out + ran.err


def test_lost_disks_are_made_anew(lab: LiveLab) -> None:
    """In place, then on other nodes: the instance starts from each."""
    name = "anew.example.net"
    lab.ok(f"gnt-instance add -t drbd -n node3:node1 -o debian -B memory=512 -s 1G {name}")
    for options, nodes in (("", ["node3", "node1"]), ("-n node2:node1", ["node2", "node1"])):
        lab.ok(f"gnt-instance shutdown {name}")
        lab.ok(f"gnt-instance recreate-disks {options} {name}")
        assert lab.rows(f"gnt-instance list -o pnode,snodes {name}") == [nodes]
        lab.ok(f"gnt-instance startup {name}")
        assert lab.rows(f"gnt-instance list -o status {name}") == [["running"]]
    lab.ok(f"gnt-instance remove -f {name}")
