"""Commands in, every line out: transcripts under tests/data/transcripts.

`CAIRN_REGENERATE=1 pytest tests/shell/test_transcripts.py` writes them anew; review the diff.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from commands import api
from eventstore.packed import Packed
from nodeagent.calls import DiskSeen
from projections.job_state import Job, Line, OpState, Problem
from projections.query.job_fields import JobRow
from tests.commands.building import Town
from tests.shell.stand_in import Master, run

TRANSCRIPTS = Path(__file__).parents[1] / "data/transcripts"


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def town() -> Town:
    """Return three nodes, one drained, with instances of all kinds."""
    town = Town()
    town.add_instance(1, tags=("blue", "prod"))
    town.add_instance(2, nodes=(2, 3), template="drbd", sizes_mib=(20480, 512))
    town.add_instance(10, admin_state="down", beparams={"maxmem": 2048, "vcpus": 4})
    town.add_instance(11, nodes=(3,), template="diskless", nics=())
    town.set_node(3, drained=True, master_candidate=False)
    return town


class MirrorSeen(Town):
    """A town whose second instance is seen to sync."""

    def status(self, uuid: str):  # type: ignore[no-untyped-def]  # as the base class has it
        first, second = self.instance(2).disks
        disks = tuple(
            DiskSeen(disk.uuid, state, "primary" if side.node == uuid else "secondary", *sync)
            for disk, state, sync in (
                (first, "degraded", (None, None, "StandAlone UpToDate/DUnknown")),
                (second, "syncing", (42.5, 61.0)),
            )
            for side in disk.sides
            if side.node == uuid
        )
        return msgspec.structs.replace(super().status(uuid), disks=disks)


def jobs() -> list[JobRow]:
    """Return a job that succeeded and one that failed."""
    fields = msgspec.Raw(msgspec.msgpack.encode({"instance_name": "web1", "force": True}))
    op = OpState(
        op=Packed("OP_INSTANCE_SHUTDOWN", 1, fields),
        summary="INSTANCE_SHUTDOWN(web1)",
        status="success",
        started_ms=61_500,
        ended_ms=62_750,
    )
    problem = Problem(code="environment_error", message="it hangs", step="stop")
    failed = msgspec.structs.replace(op, status="error", problem=problem)
    return [
        JobRow(
            Job(
                id=7,
                actor="operator:alice",
                ops=(op,),
                reason=(("gnt:user", "ticket 812", 0),),
                received_ms=61_000,
                lines=(Line(9, 61_600, 0, "asking the guest"),),
            )
        ),
        JobRow(Job(id=12, actor="policy:watcher", ops=(op, failed), received_ms=61_000)),
    ]


PLAN = api.PlanReply(
    locks=("instance/web1.example.net",),
    steps=(
        api.PlannedStep(id="stop", what="call", node="node1", text="ensure-stopped web1"),
        api.PlannedStep(id="down", what="record", node="", text="state down", after=("stop",)),
    ),
    changes=(
        api.Change(
            object="instance web1.example.net", field="admin_state", before="up", after="down"
        ),
    ),
    explanation=("the instance runs",),
    as_of=812,
)  # fmt: skip

LINES = {
    "lists": [
        "gnt-instance list",
        "gnt-instance list -o +disk.sizes,tags --units g",
        "gnt-instance list --no-headers --separator=: -o name,status,oper_ram,snodes",
        "gnt-instance list web10 web1 web1.example.net -o name",
        "gnt-instance list 'web1*' -o name",
        """gnt-instance list 'status == "running" and not "prod" in tags' -o name""",
        "gnt-instance list -o name,oper_vcpus,nonsense -v web10",
        "gnt-instance list nobody",
        "gnt-instance list 'status =='",
        "gnt-node list",
        "gnt-node list -o name,role,drained,group",
        "gnt-group list -o name,node_cnt,pinst_cnt,alloc_policy",
        "gnt-job list",
        "gnt-job list --error -o id,status,summary,actor",
        "gnt-node list-fields name mfree",
    ],
    "formats": [
        "gnt-instance list web1 --format json -o name,oper_ram,tags,ctime,disk.size/7",
        "gnt-instance list web1 --format yaml -o name,oper_ram,tags,ctime,disk.size/7",
        "gnt-instance list web1 web10 --format csv -o name,oper_ram,tags,ctime,disk.size/7",
        "gnt-node list-fields name --format json",
        "gnt-instance list-tags web1 --format json",
    ],
    "info": [
        "gnt-instance info web2",
        "gnt-instance info -s web11",
        "gnt-node info node2 node3",
        "gnt-group info",
        "gnt-cluster info",
        "gnt-cluster version",
        "gnt-cluster getmaster",
        "gnt-job info 7 12",
        "gnt-cluster search-tags ^b",
        "gnt-instance list-tags web1",
    ],
    "orders": [
        "gnt-instance shutdown web1 --dry-run",
        "gnt-instance shutdown web1",
        "gnt-instance shutdown web1 --submit",
        "gnt-instance shutdown web1 --print-jobid",
        "gnt-instance startup --primary node1 --force-multiple",
        "gnt-instance startup --all",
        "gnt-instance remove web1",
        "gnt-instance replace-disks web2",
        "gnt-instance add -t plain -s 10G -o debian -n node1 -H memory=1G web20.example.net",
        "gnt-instance add -t plain -s 10G -H memory=1G -B memory=2G -n node1 web20.example.net",
        "gnt-instance modify web1",
        "gnt-group modify --ipolicy-vcpu-ratio=2 default",
        "gnt-cluster destroy",
        "gnt-job cancel",
        "gnt-job archive 7 12",
        "gnt-job resolve 7",
        "gnt-instance move web1",
        "gnt-instance strat web1",
        "gnt-instance add web1",
    ],
}


@pytest.mark.parametrize("name", sorted(LINES))
def test_transcript(name: str) -> None:
    """Each command prints, line for line, what its transcript says."""
    full = town()
    full.__class__ = MirrorSeen
    played = []
    for line in LINES[name]:
        master = Master(town=full, jobs=jobs(), plan=PLAN)
        ran = run(line, master)
        err = "".join(f"! {text}\n" for text in ran.err.splitlines())
        status = f"[{ran.status}]\n" if ran.status else ""
        played.append(f"$ {line}\n{ran.out}{err}{status}")
    found = "\n".join(played)
    path = TRANSCRIPTS / f"{name}.txt"
    if os.environ.get("CAIRN_REGENERATE"):
        path.write_bytes(found.encode())
    assert found == path.read_bytes().decode()  # CSV has its own ends of lines
