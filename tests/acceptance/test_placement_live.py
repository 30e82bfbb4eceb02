"""Placement on a lab: where instances go by themselves, and how nodes are emptied and balanced."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commands.api import JobSpec, Submit, Submitted
from eventstore.packed import Packed
from shell.following import follow
from tests.acceptance.live_lab import LiveLab
from tools import explain_choice
from tools.lab import daemons
from tools.lab.founding import environment

pytestmark = pytest.mark.acceptance

ADD = "gnt-instance add -o debian -B memory=512 -s 1G"
NODES = 4

ALLOCATOR = """#!/bin/sh
cp "$1" "$(dirname "$0")/asked.json"
cat "$(dirname "$0")/answer.json"
"""


@pytest.fixture(scope="module", name="lab")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cluster of four nodes, shared by the tests of this module."""
    lab = LiveLab(Path(tmp_path_factory.mktemp("placement")) / "lab")
    try:
        lab.up(nodes=NODES)
        lab.ok(
            "gnt-cluster modify --enabled-disk-templates=drbd,plain,sharedfile"
            " --shared-file-storage-dir=/srv/cairn/shared"
        )
        yield lab
    finally:
        lab.down()


@pytest.fixture(autouse=True)
def _empty_afterwards(lab: LiveLab) -> Any:
    """Every test begins without instances."""
    yield
    for (name,) in lab.rows("gnt-instance list -o name"):
        lab.ok(f"gnt-instance remove -f --shutdown-timeout=0 {name}")


def where(lab: LiveLab) -> dict[str, tuple[str, ...]]:
    """Return the nodes of every instance, the primary first."""
    rows = lab.rows("gnt-instance list -o name,pnode,snodes")
    return {name: (primary, *secondaries.split()) for name, primary, secondaries in rows}


def allocator(lab: LiveLab, answer: object) -> None:
    """Lay down the allocator `mine`, which answers so."""
    directory = lab.layout.allocators
    (directory / "answer.json").write_text(json.dumps(answer))
    (directory / "mine").write_text(ALLOCATOR)
    (directory / "mine").chmod(0o755)


def test_instances_without_nodes_spread_out(lab: LiveLab) -> None:
    """Four of them: each node runs one, and mirrors one."""
    for number in range(1, NODES + 1):
        lab.ok(f"{ADD} -t drbd web{number}.example.net")
    placed = where(lab)
    assert {nodes[0] for nodes in placed.values()} == {f"node{n}" for n in range(1, NODES + 1)}
    assert all(len(set(nodes)) == 2 for nodes in placed.values())


def test_instances_that_are_added_at_once_spread_out(lab: LiveLab, tmp_path: Path) -> None:
    """Each decision counts what the ones before it are about to make."""
    wanted = [
        {
            "instance_name": f"web{number}.example.net",
            "disk_template": "drbd",
            "disks": [{"size": 1024}],
            "nics": [{}],
            "os_type": "debian",
            "beparams": {"memory": 512},
        }
        for number in range(1, NODES + 1)
    ]
    path = tmp_path / "batch.json"
    path.write_text(json.dumps(wanted))
    lab.ok(f"gnt-instance batch-create {path}")
    assert len({nodes[0] for nodes in where(lab).values()}) == NODES


def test_a_dry_run_says_why_and_does_what_is_done(lab: LiveLab) -> None:
    """The nodes it names are those that the instance gets."""
    told = lab.ok(f"{ADD} -t drbd --dry-run web1.example.net")
    assert "without it" in told
    assert "score" in told
    lab.ok(f"{ADD} -t drbd -I hail web1.example.net")
    primary, secondary = where(lab)["web1.example.net"]
    assert f"primary {primary}: " in told
    assert f"secondary {secondary}: " in told


def test_choices_of_the_past_are_explained_and_made_again(
    lab: LiveLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the log alone: a creation, a refusal, an evacuation."""
    lab.ok(f"{ADD} -t drbd web1.example.net")
    lab.run(f"{ADD} -t drbd --ignore-ipolicy -s 900T big.example.net")
    primary, secondary = where(lab)["web1.example.net"]
    lab.ok(f"gnt-node evacuate -f -p {primary}")
    evacuated, refused, created = _last(lab, "NODE_EVACUATE"), _last(lab, "big"), _last(lab, "web1")
    for job, says in (
        (created, f"chosen: {primary} and {secondary}; score"),
        (refused, "chosen: nowhere"),
        (evacuated, f"web1.example.net goes to {secondary}:{primary}: FAILOVER"),
    ):
        assert explain_choice.main(["--dir", str(lab.log), str(job)]) == 0
        told = capsys.readouterr().out
        assert says in told
        assert "decided again: the same" in told


def _last(lab: LiveLab, summary: str) -> int:
    """Return the last opcode's job of this summary that chooses nodes."""
    rows = lab.rows("gnt-job list -o id,summary")
    chooses = ("INSTANCE_CREATE", "NODE_EVACUATE")
    return max(int(job) for job, told in rows if summary in told and told.startswith(chooses))


def test_what_fits_nowhere_is_refused_with_every_nodes_reason(lab: LiveLab) -> None:
    """Each node is named, with what it lacks; nothing is left of the attempt."""
    lab.ok("gnt-node modify --drained=yes node4")
    try:
        ran = lab.refuses(
            f"{ADD} -t drbd --ignore-ipolicy -B memory=512,vcpus=8 -s 900T big.example.net",
            "insufficient_resources", "node4: is drained", "of disk (2097152 of",
            hint="free now",
        )  # fmt: skip
        assert "node1" in ran.err
    finally:
        lab.ok("gnt-node modify --drained=no node4")


def test_a_node_is_emptied_and_its_instances_run_on(lab: LiveLab) -> None:
    """Primaries change over, mirrors are made anew elsewhere, and the command waits for it all."""
    lab.ok(f"{ADD} -t drbd -n node1:node2 web1.example.net")
    lab.ok(f"{ADD} -t drbd -n node2:node1 web2.example.net")
    lab.ok(f"{ADD} -t drbd -n node3:node4 web3.example.net")
    told = lab.ok("gnt-node evacuate -f node1")
    assert told.endswith("All instances evacuated successfully.\n")
    placed = where(lab)
    assert all("node1" not in nodes for nodes in placed.values())
    assert placed["web1.example.net"][0] == "node2"
    assert placed["web3.example.net"] == ("node3", "node4")
    assert {row[0] for row in lab.rows("gnt-instance list -o status")} == {"running"}


def test_mirrors_go_to_a_named_node(lab: LiveLab) -> None:
    """`gnt-node evacuate -s -n NODE`."""
    lab.ok(f"{ADD} -t drbd -n node2:node1 web1.example.net")
    lab.ok("gnt-node evacuate -f -s -n node4 node1")
    assert where(lab)["web1.example.net"] == ("node2", "node4")


def test_what_cannot_leave_a_node_is_told(lab: LiveLab) -> None:
    """The others go all the same; the exit status says that not all is well."""
    lab.ok(f"{ADD} -t drbd -n node1:node2 web1.example.net")
    lab.ok(f"{ADD} -t plain -n node1 web2.example.net")
    ran = lab.run("gnt-node evacuate -f -p node1")
    assert ran.status == 1, str(ran)
    assert "web2.example.net stays where it is: Instances of type plain" in ran.err
    assert where(lab)["web1.example.net"] == ("node2", "node1")
    lab.refuses("gnt-node evacuate -f -p node1", "plain cannot be relocated", hint="make room")


def test_an_evacuation_is_asked_about(lab: LiveLab) -> None:
    """Without -f and without a terminal nothing happens."""
    lab.ok(f"{ADD} -t drbd -n node1:node2 web1.example.net")
    lab.refuses("gnt-node evacuate node1", "Relocate instances web1.example.net", hint="-f",
                status=13)  # fmt: skip


def test_an_instance_changes_its_group(lab: LiveLab) -> None:
    """There is no other group to go to; that is said."""
    lab.ok(f"{ADD} -t drbd -n node1:node2 web1.example.net")
    for command in ("gnt-instance change-group web1.example.net", "gnt-group evacuate default"):
        lab.refuses(command, "there is no other group", hint="gnt-group add")


def test_an_allocator_of_ones_own_is_asked_and_obeyed(lab: LiveLab) -> None:
    """It gets Ganeti's request; a bad answer is refused, and no instance is made."""
    allocator(lab, {"success": True, "info": "by taste", "result": ["node4", "node2"]})
    lab.ok(f"{ADD} -t drbd -I mine web1.example.net")
    assert where(lab)["web1.example.net"] == ("node4", "node2")
    asked = json.loads((lab.layout.allocators / "asked.json").read_text())
    assert asked["request"]["type"] == "allocate"
    assert set(asked["nodes"]) == {"node1", "node2", "node3", "node4"}

    allocator(lab, {"success": True, "info": "", "result": ["node1"]})
    lab.ok("gnt-instance replace-disks -I mine web1.example.net")
    assert where(lab)["web1.example.net"] == ("node4", "node1")

    allocator(lab, {"success": False, "info": "not today", "result": []})
    lab.refuses(f"{ADD} -t drbd -I mine web2.example.net", "not today", hint="another allocator")
    allocator(lab, {"success": True, "info": "", "result": ["node1"]})
    lab.refuses(f"{ADD} -t drbd -I mine web2.example.net", "2 different nodes", hint="-I hail")
    allocator(lab, "nonsense")
    lab.refuses(f"{ADD} -t drbd -I mine web2.example.net", "ended with 0", hint="not one")
    lab.refuses(f"{ADD} -t drbd -I other web2.example.net", "no allocator other",
                hint="hail (built in), mine")  # fmt: skip


def test_an_allocator_chooses_where_disks_are_made_anew(lab: LiveLab) -> None:
    """It is asked to allocate the instance as it is; its nodes hold the disks from then on."""
    lab.ok(f"{ADD} -t drbd -n node1:node2 --no-start web1.example.net")
    allocator(lab, {"success": True, "info": "", "result": ["node3", "node4"]})
    lab.ok("gnt-instance recreate-disks -I mine web1.example.net")
    assert where(lab)["web1.example.net"] == ("node3", "node4")
    asked = json.loads((lab.layout.allocators / "asked.json").read_text())["request"]
    assert (asked["type"], asked["name"]) == ("allocate", "web1.example.net")
    assert asked["required_nodes"] == 2
    lab.ok("gnt-instance startup web1.example.net")

    lab.ok("gnt-instance shutdown --timeout=0 web1.example.net")
    allocator(lab, {"success": True, "info": "", "result": ["node3"]})
    lab.refuses(
        "gnt-instance recreate-disks -I mine web1.example.net",
        "2 different nodes", hint="-I hail",
    )  # fmt: skip
    assert where(lab)["web1.example.net"] == ("node3", "node4")


def test_an_allocator_is_asked_once_for_many_instances(lab: LiveLab) -> None:
    """Those with a place are made there, side by side; the others are told with its reason."""
    first, second, third = (f"web{number}.example.net" for number in (1, 2, 3))
    allocator(
        lab,
        {
            "success": True,
            "info": "",
            "result": [
                [[first, ["node2", "node1"]], [third, ["node4", "node3"]]],
                [[second, "not to my taste"]],
            ],
        },
    )
    wanted = {
        "disk_template": "drbd", "os_type": "debian", "mode": "create",
        "disks": [{"size": 1024}], "nics": [{}], "beparams": {"memory": 512},
    }  # fmt: skip
    fields = {
        "instances": [{**wanted, "instance_name": name} for name in (first, second, third)],
        "iallocator": "mine",
    }
    op = Packed("OP_INSTANCE_MULTI_ALLOC", 1, msgspec.Raw(msgspec.msgpack.encode(fields)))
    with closing(lab.session()) as session:
        submit = Submit(jobs=(JobSpec(ops=(op,)),))
        (job,) = session.ask("submit", submit, Submitted, key="many").jobs
        follow(session, job, quiet=True)
    for (creation,) in lab.rows("gnt-job list -o id"):
        if int(creation) > job:
            lab.ok(f"gnt-job wait {creation}")
    assert where(lab) == {first: ("node2", "node1"), third: ("node4", "node3")}
    asked = json.loads((lab.layout.allocators / "asked.json").read_text())["request"]
    assert asked["type"] == "multi-allocate"
    assert [one["name"] for one in asked["instances"]] == [first, second, third]
    assert "not to my taste" in lab.ok(f"gnt-job info {job}")


# --- balancing --------------------------------------------------------------------------------


def crowded(lab: LiveLab) -> None:
    """Put six instances onto two nodes."""
    for number in range(1, 7):
        lab.ok(f"{ADD} -t drbd -n node1:node2 web{number}.example.net")


def test_hbal_reads_the_running_cluster_and_balances_it(lab: LiveLab, tmp_path: Path) -> None:
    """The plan is that for the same cluster in a file; carried out, it leaves nothing to do."""
    crowded(lab)
    lab.ok(f"hscan -d {tmp_path}")
    live = lab.ok("hbal -L")
    assert live == lab.ok(f"hbal -t {tmp_path}/LOCAL.data")
    told = lab.ok("hbal -L -X")
    assert told.startswith(live)
    assert "Executing jobset for instances" in told
    assert {nodes[0] for nodes in where(lab).values()} == {"node1", "node2", "node3", "node4"}
    again = lab.ok("hbal -L -X")
    assert "No solution found" in again or "Nothing to do" in again
    assert {row[0] for row in lab.rows("gnt-instance list -o status")} == {"running"}


def test_hbal_stops_after_a_set_in_which_a_job_failed(lab: LiveLab) -> None:
    """What is done stays, nothing more is submitted, and the status says so."""
    crowded(lab)
    for node in ("node3", "node4"):
        lab.order(node, "fail", call="ensure-volume", times=100)
    ran = lab.run("hbal -L -X")
    for node in ("node3", "node4"):
        lab.order(node, "clear")
    assert ran.status == 1, str(ran)
    assert "Not all jobs completed successfully" in ran.err
    assert "no more are submitted" in ran.err
    assert ran.out.count("Executing jobset") == 1


def test_hbal_ends_after_the_set_that_runs_when_it_is_interrupted(lab: LiveLab) -> None:
    """Ctrl-C: what was submitted is waited for, then it says how far it came."""
    crowded(lab)
    for node in ("node3", "node4"):
        lab.order(node, "slow", seconds=0.3)
    process = subprocess.Popen(
        [daemons.script("hbal"), "-L", "-X"],
        env=environment(lab.layout), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if line.startswith("Got job IDs") and len(told) > 1:
            process.send_signal(signal.SIGINT)
            break
    told += process.stdout.readlines()
    assert process.wait(timeout=60) == 0, "".join(told)
    for node in ("node3", "node4"):
        lab.order(node, "clear")
    text = "".join(told)
    assert "Cancel request registered" in text
    assert text.count("Executing jobset") == 1
    assert "Stopped before job set 2" in text
    assert not lab.rows("gnt-job list --running -o id")


def test_the_other_programs_read_the_running_cluster(lab: LiveLab) -> None:
    """What each says of it is about this cluster."""
    crowded(lab)
    assert "Loaded 4 nodes, 6 instances" in lab.ok("hinfo -L")
    assert "There are 6 initial instances" in lab.ok("hspace -L")
    assert "node3" in lab.ok("hroller -L")
    assert "No need to rebalance cluster" in lab.ok("hcheck -L")


def test_an_instance_policy_bounds_what_is_created(lab: LiveLab) -> None:
    """A group's holds there at once; verify says who violates it; `default` takes it back."""
    lab.ok(f"{ADD} -t plain -n node1 old.example.net")
    lab.ok("gnt-group modify --ipolicy-disk-templates=drbd --ipolicy-vcpu-ratio=2 default")
    try:
        shown = lab.ok("gnt-group info default")
        assert "allowed disk templates: drbd" in shown
        assert "vcpu-ratio: 2.0" in shown
        assert "spindle-ratio: default (32.0)" in shown
        refused = lab.run(f"{ADD} -t plain -n node1 new.example.net")
        assert refused.status == 1
        assert "disk template plain is not allowed (allowed are: drbd)" in refused.err
        lab.ok(f"{ADD} -t plain -n node1 --ignore-ipolicy new.example.net")
        found = lab.run("gnt-cluster verify --error-codes").out
        assert found.count("EINSTANCEPOLICY") == 2
    finally:
        lab.ok(
            "gnt-group modify --ipolicy-disk-templates=default --ipolicy-vcpu-ratio=default default"
        )
    assert "EINSTANCEPOLICY" not in lab.run("gnt-cluster verify --error-codes").out


def test_nodes_that_are_not_needed_are_emptied(lab: LiveLab) -> None:
    """`hsqueeze -X` tags them and marks them offline, and says that power is up to a person."""
    ran = lab.run("hsqueeze -L -X --target-resources=0 --minimal-resources=0")
    offline = {name for name, mark in lab.rows("gnt-node list -o name,offline") if mark == "Y"}
    try:
        assert ran.status == 1, str(ran)
        assert "switch them off by hand" in ran.err
        assert len(offline) == NODES - 1, "all but the master"
        for name in offline:
            assert lab.ok(f"gnt-node list-tags {name}").strip() == "htools:standby:auto"
        again = lab.run("hsqueeze -L -X --target-resources=0 --minimal-resources=1000000")
        assert again.status == 1
        assert "cannot power nodes on" in again.err
    finally:
        for name in offline:
            lab.ok(f"gnt-node modify --offline=no {name}")
            lab.ok(f"gnt-node remove-tags {name} htools:standby:auto")


@pytest.fixture(name="scattered")
def _scattered(lab: LiveLab) -> Any:
    """Put an instance on shared storage on each node but the master; nodes come back online."""
    for number, node in enumerate(("node2", "node3", "node4"), 1):
        lab.ok(f"{ADD} -t sharedfile -n {node} web{number}.example.net")
    yield
    for name in offline(lab):
        lab.ok(f"gnt-node modify --offline=no {name}")
        lab.ok(f"gnt-node remove-tags {name} htools:standby:auto")


def offline(lab: LiveLab) -> set[str]:
    """Return the names of the nodes that are marked so."""
    return {name for name, mark in lab.rows("gnt-node list -o name,offline") if mark == "Y"}


@pytest.mark.usefixtures("scattered")
def test_instances_leave_nodes_that_are_not_needed(lab: LiveLab) -> None:
    """`hsqueeze -X` migrates what is on shared storage away first; it runs on."""
    ran = lab.run("hsqueeze -L -X --target-resources=0 --minimal-resources=0")
    assert ran.status == 1, str(ran)
    assert "empty, tagged and offline" in ran.err
    assert ran.out.count("Executing jobset") >= 1
    assert offline(lab)
    assert not offline(lab) & {node for nodes in where(lab).values() for node in nodes}
    assert {row[0] for row in lab.rows("gnt-instance list -o status")} == {"running"}


@pytest.mark.usefixtures("scattered")
def test_hsqueeze_that_is_interrupted_marks_no_node(lab: LiveLab) -> None:
    """Ctrl-C: the set that runs is waited for; no node is offline, and it says so."""
    lab.order("node1", "slow", seconds=0.3)
    process = subprocess.Popen(
        [daemons.script("hsqueeze"), "-L", "-X", "--target-resources=0", "--minimal-resources=0"],
        env=environment(lab.layout), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if line.startswith("Got job IDs"):
            process.send_signal(signal.SIGINT)
            break
    told += process.stdout.readlines()
    status = process.wait(timeout=60)
    lab.order("node1", "clear")
    text = "".join(told)
    assert status == 1, text
    assert "stopped; no node is tagged or marked offline yet" in text
    assert not offline(lab)
