"""The golden events: a recorded history with every kind of event, in every schema that ever was.

Each file `tests/data/golden-events/NNN.txt` is one valid history, a record a line:
`kind schema stream job data`, the data in hex. Files are never edited. When there is a new event
type, a new schema, or a new field of an event or of an object in one, it is missing from them; then

    python -m tests.projections.golden

writes the next file, from the story below.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from eventstore import events as log
from eventstore.record import Stored
from projections.events import configuration as c
from projections.events import jobs as j
from projections.objects import (
    ClusterInfo,
    Disk,
    Group,
    HeldAddress,
    Instance,
    InstancePolicy,
    Node,
    Side,
    SpecBounds,
)
from projections.plans import Call, Plan, Record, Undo, Wait, fact, task_id
from tests.projections.filled import filled
from tests.projections.log_maker import CLUSTER_ID, LogMaker
from tests.projections.stories import GIVEN, RESULT, Story, packed, requested, uid

DIRECTORY = Path(__file__).parent.parent / "data" / "golden-events"

POLICY = InstancePolicy(
    minmax=(
        SpecBounds(
            min={"memory-size": 128, "cpu-count": 1, "disk-size": 1024},
            max={"memory-size": 32768, "cpu-count": 8, "disk-size": 1048576},
        ),
    ),
    std={"memory-size": 128, "cpu-count": 1},
    disk_templates=("drbd", "plain"),
    vcpu_ratio=4.0,
    spindle_ratio=32.0,
)

replace = msgspec.structs.replace


def recorded(path: Path) -> list[Stored]:
    """Return the history in a golden file, chained anew around the recorded event bytes."""
    maker = LogMaker()
    for line in path.read_text().splitlines():
        kind, schema, stream, job, data = line.split(" ")
        raw = msgspec.Raw(bytes.fromhex(data))
        number = None if job == "-" else int(job)
        maker.records.append(maker.append_bytes(stream, kind, int(schema), raw, job=number))
    return maker.records


def files() -> list[Path]:
    """Return the golden files, oldest first."""
    return sorted(DIRECTORY.glob("*.txt"))


def every_kind() -> LogMaker:
    """Tell a history in which every kind of event occurs."""
    story = Story()
    story.found(3)
    _keys(story)
    story.create("web1.example.net", primary=story.nodes[0], secondary=story.nodes[1])
    _master_address(story)
    _groups_and_nodes(story)
    _instance(story)
    _job_that_fails(story)
    _job_that_parks(story)
    _every_field(story)
    _job_with_every_field(story)
    _end(story)
    return story.log


def _keys(story: Story) -> None:
    other = "o" * 40
    for event in (
        log.KeyAdmitted(name="auditor:eve", role="auditor", curve_key=other),
        log.KeyRevoked(curve_key=other, reason="left"),
        log.CheckpointSigned(size=4, note="origin\n4\nroot\n\n— origin c2ln\n"),
        log.LossAccepted(reason="disk died", last_seq=9, mark_seq=11, mark_hash="ab" * 32),
        log.VoterPlaced(
            name="node2",
            inc="22" * 16,
            curve_key=other,
            requests="tcp://192.0.2.2:1811",
            publications="tcp://192.0.2.2:1812",
            replication="tcp://192.0.2.2:1813",
            segments="tcp://192.0.2.2:1814",
        ),
        log.VotersChanged(voters={"node1": "11" * 16}, learners={"node2": "22" * 16}, witnesses=()),
        log.TakeoverForced(
            reason="both others burned",
            voter="node1",
            inc="11" * 16,
            dead={"node2": "22" * 16},
            last_seq=9,
            last_hash="ab" * 32,
            signature="c2ln",
        ),
    ):
        story.log.add((log.STREAM, event))


def _master_address(story: Story) -> None:
    held = HeldAddress(node=story.nodes[0], address="192.0.2.9", prefix=24, device="br0")
    for event in (
        c.MasterAddressWanted(up=True),
        c.MasterAddressTaken(held=held, also_at=("aa:00:00:00:00:01",)),
        c.MasterAddressGivenUp(node=story.nodes[0]),
    ):
        story.log.add(("cluster", event))


def _groups_and_nodes(story: Story) -> None:
    group = Group(uuid=uid("rack2"), name="rack2")
    stream = f"group/{group.uuid}"
    story.log.add((stream, c.GroupAdded(group=group)))
    story.log.add((stream, c.GroupModified(group=replace(group, alloc_policy="last_resort"))))
    node = story.add_node("node4.example.net")
    stream = f"node/{node}"
    for event in (
        c.NodeModified(
            node=node,
            master_candidate=True,
            offline=False,
            drained=True,
            master_capable=True,
            vm_capable=True,
            group=group.uuid,
        ),
        c.NodeWitnessSet(node=node, witness=True),
        c.NodeLost(node=node, silent_s=61.5),
        c.NodeReturned(node=node, boot_id="b2"),
        c.NodeRemoved(node=node),
    ):
        story.log.add((stream, event))
    story.nodes.remove(node)
    story.log.add((f"group/{group.uuid}", c.GroupRemoved(group=group.uuid)))


def _instance(story: Story) -> None:
    web = uid("web1.example.net")
    first, second, third = story.nodes
    disk = story.instances[web].disks[0]
    grown = replace(
        disk, size_mib=20480, sides=(Side(node=second, volume="xenvg/b"), disk.sides[0])
    )
    new_side = Side(node=third, volume="xenvg/c", meta_volume="xenvg/m", minor=0)
    moved = replace(grown, sides=(grown.sides[0], new_side), health={third: "syncing"})
    spare = replace(moved, uuid=uid("spare"), port=11001, health={})
    for event in (
        c.InstanceStateSeen(instance=web, node=first, state="crashed"),
        c.InstanceStateSet(instance=web, admin_state="down"),
        c.InstanceDisksActive(instance=web, active=False),
        c.InstanceRenamed(instance=web, old_name="web1.example.net", new_name="www.example.net"),
        c.InstanceModified(instance=web, beparams={"vcpus": 4}, hvparams={"acpi": False}),
        c.DiskGrown(instance=web, disk=0, size_mib=20480),
        c.InstancePrimaryChanged(instance=web, primary=second, generation=2, how="failover"),
        c.DiskStateSeen(instance=web, disk=disk.uuid, node=first, state="faulty"),
        c.DiskReplaced(instance=web, disk=0, new=moved),
        c.DisksChanged(instance=web, disks=(replace(moved, mode="ro", name="root"), spare)),
        c.DisksChanged(instance=web, disks=(moved,)),
        c.DiskStateSeen(instance=web, disk=disk.uuid, node=third, state="ok"),
        c.TagsAdded(table="instance", subject=web, tags=("prod", "web")),
        c.TagsRemoved(table="instance", subject=web, tags=("web",)),
    ):
        story.log.add((f"instance/{web}", event))


def _job_that_fails(story: Story) -> None:
    node = story.nodes[0]
    job = story.submit("FIRST", "SECOND")
    stream = f"job/{job}"
    call = packed("ensure-volume", volume="xenvg/x", owner=uid("x"), size_mib=1)
    acts = Call(id="act", node=node, call=call, after=("calm",), undo=Undo(call=call))
    plan = Plan(steps=(Wait(id="calm"), acts))
    locks = (j.Lock(f"instance/{uid('x')}"), j.Lock(f"node/{node}", shared=True))
    task = task_id(CLUSTER_ID, job, 0, 0, "act", received_ms=0, undo=False, attempt=1)
    undo = task_id(CLUSTER_ID, job, 0, 0, "act", received_ms=0, undo=True, attempt=1)
    for happened in (
        (stream, j.OpBlocked(op=0, locks=locks, behind=(1,))),
        (stream, j.JobPrioritySet(priority=-10)),
        (stream, j.OpStarted(op=0, handler=1, locks=locks)),
        (stream, j.OpPlanned(op=0, number=0, plan=plan, given=GIVEN)),
        (stream, j.WaitStarted(op=0, plan=0, step="calm")),
        (stream, j.WaitFired(op=0, plan=0, step="calm")),
        requested(acts, task),
        (stream, j.OpFeedback(op=0, text="syncing", step="act", percent=12.5)),
        (f"node/{node}", j.TaskWithdrawRequested(task=task, reason="timeout")),
        (f"node/{node}", j.TaskRuns(task=task)),
        (f"node/{node}", j.TaskFailed(task=task, code="timeout", message="too slow")),
        (stream, j.OpUndoing(op=0, code="timeout", message="too slow", step="act")),
        requested(acts, undo, undo=True),
        (f"node/{node}", j.TaskDone(task=undo, result=RESULT)),
        (stream, j.OpFailed(op=0, code="timeout", message="too slow", hint="try again")),
        (stream, j.OpCanceled(op=1)),
        (stream, j.JobArchived()),
    ):
        story.log.add(happened, job=job)


def _job_that_parks(story: Story) -> None:
    node = story.nodes[1]
    job = story.submit("THIRD")
    stream = f"job/{job}"
    call = packed("start-instance", instance=uid("x"))
    acts = Call(id="act", node=node, call=call, undo=Undo(call=call))
    task = task_id(CLUSTER_ID, job, 0, 0, "act", received_ms=0, undo=False, attempt=1)
    undo = task_id(CLUSTER_ID, job, 0, 0, "act", received_ms=0, undo=True, attempt=1)
    owed = c.DutyRecorded(
        node=node, duty=undo, job=job, what="stop x", call=call, resource=stream, timeout_s=300.0
    )
    again = c.DutyRequested(
        node=node,
        duty=undo,
        task="again",
        attempt=2,
        call=call,
        resource=stream,
        timeout_s=300.0,
    )
    for happened in (
        (stream, j.OpStarted(op=0, handler=1, locks=(j.Lock("cluster"),))),
        (stream, j.OpPlanned(op=0, number=0, plan=Plan(steps=(acts,)), given=GIVEN)),
        requested(acts, task),
        (stream, j.JobCancelRequested()),
        (f"node/{node}", j.TaskWithdrawRequested(task=task, reason="cancel")),
        (f"node/{node}", j.TaskWithdrawn(task=task)),
        (stream, j.OpUndoing(op=0, code="canceled", message="canceled by alice")),
        requested(acts, undo, undo=True),
        (
            stream,
            j.StepGivenUp(op=0, plan=0, step="act", code="lost", message="lost", undo=True),
        ),
        (f"node/{node}", owed),
        (stream, j.OpParked(op=0, code="lost", message="lost", left=("x runs on node2",))),
        (stream, j.OpResolved(op=0, how="accept")),
        (stream, j.OpFailed(op=0, code="lost", message="accepted as it is")),
        (f"node/{node}", c.DutyFailed(node=node, duty=undo, message="x does not stop")),
        (f"node/{node}", again),
        (f"node/{node}", c.DutyDone(node=node, duty=undo)),
    ):
        story.log.add(happened, job=job)


def _every_field(story: Story) -> None:
    """Objects, and changes of them, that leave nothing at its default."""
    first = story.nodes[0]
    node, instance = uid("node5.example.net"), uid("full.example.net")
    group = filled(Group, uuid=uid("rack5"), name="rack5", ipolicy=POLICY)
    whole = filled(Node, uuid=node, name="node5.example.net", group=group.uuid)
    sides = (filled(Side, node=first),)
    disk = filled(Disk, uuid=uid("full/0"), sides=sides, health={first: "syncing"})
    made = filled(
        Instance,
        uuid=instance,
        name="full.example.net",
        primary=first,
        admin_state="up",
        disks=(disk,),
    )
    for stream, event in (
        (log.STREAM, filled(log.KeyAdmitted, role="voter", name="node5", curve_key="p" * 40)),
        (log.STREAM, filled(log.VotersChanged)),
        (f"group/{group.uuid}", c.GroupAdded(group=group)),
        (f"node/{node}", filled(c.NodeInvited, node=whole)),
        (f"node/{node}", filled(c.NodeJoined, node=node)),
        (f"node/{node}", filled(c.NodeModified, node=node, group=group.uuid)),
        (f"node/{node}", c.NodeRemoved(node=node)),
        (f"instance/{instance}", c.InstanceCreated(instance=made)),
        (f"instance/{instance}", filled(c.InstanceStateSet, instance=instance, admin_state="down")),
        (f"instance/{instance}", filled(c.InstanceModified, instance=instance)),
        (f"instance/{instance}", filled(c.InstanceRemoved, instance=instance)),
        (f"group/{group.uuid}", c.GroupRemoved(group=group.uuid)),
    ):
        story.log.add((stream, event))


def _job_with_every_field(story: Story) -> None:
    """A plan of every kind of step. One call works the second time, then a wait runs out."""
    node = story.nodes[0]
    job = story.last_job = story.last_job + 1
    stream = f"job/{job}"
    call = packed("ensure-volume", volume="xenvg/y", owner=uid("y"), size_mib=1)
    facts = (fact("cluster", c.MasterAddressWanted(up=False)),)
    acts = filled(Call, id="act", node=node, call=call, after=(), final=False)
    last = filled(Call, id="last", node=node, call=call, after=("calm",))
    steps = (
        acts,
        filled(Record, id="facts", facts=facts, after=("act",), undo=facts, final=False),
        filled(Wait, id="calm", after=("facts",)),
        last,
        filled(Record, id="end", facts=facts, after=("last",), undo=()),
    )

    def task(attempt: int, *, undo: bool = False) -> str:
        return task_id(CLUSTER_ID, job, 0, 0, "act", received_ms=0, undo=undo, attempt=attempt)

    place = {"op": 0, "plan": 0}
    for happened in (
        ((stream, filled(j.JobSubmitted, priority=5)),),
        ((stream, filled(j.OpStarted, op=0)),),
        ((stream, filled(j.OpPlanned, op=0, number=0, plan=filled(Plan, steps=steps))),),
        (requested(acts, task(1)),),
        ((f"node/{node}", filled(j.TaskFailed, task=task(1))),),
        (requested(acts, task(2), attempt=2),),
        ((f"node/{node}", filled(j.TaskDone, task=task(2))),),
        (
            ("cluster", c.MasterAddressWanted(up=False)),
            (stream, j.StepRecorded(op=0, plan=0, step="facts")),
        ),
        ((stream, j.WaitStarted(op=0, plan=0, step="calm")),),
        ((stream, filled(j.OpFeedback, op=0)),),
        ((stream, filled(j.WaitFired, **place, step="calm")),),
        ((stream, filled(j.OpUndoing, op=0, step="calm")),),
        (
            ("cluster", c.MasterAddressWanted(up=True)),
            (stream, filled(j.StepRecorded, **place, step="facts")),
        ),
        (requested(acts, task(1, undo=True), undo=True),),
        (
            (stream, filled(j.StepGivenUp, **place, step="act")),
            (f"node/{node}", filled(c.DutyRecorded, node=node, duty=task(1, undo=True), job=job)),
        ),
        ((f"node/{node}", c.DutyDone(node=node, duty=task(1, undo=True))),),
        ((stream, filled(j.OpFailed, op=0, step="calm")),),
    ):
        story.log.add(*happened, job=job)


def _end(story: Story) -> None:
    web = uid("web1.example.net")
    story.log.add((f"instance/{web}", c.InstanceRemoved(instance=web, name="www.example.net")))
    settled = c.ClusterCreated  # the settings as they were created, with another volume group
    (info,) = (
        msgspec.msgpack.decode(stored.record.data, type=settled).info
        for stored in story.log.records
        if stored.record.kind == settled.KIND
    )
    for event in (
        c.MasterChanged(node=story.nodes[1]),
        c.ClusterModified(info=replace(info, vg_name="vg0")),
        c.ClusterModified(info=filled(ClusterInfo, uuid=info.uuid, name=info.name, ipolicy=POLICY)),
        c.ClusterDestroyed(reason="moved away"),
    ):
        story.log.add(("cluster", event))


def _lines(records: list[Stored]) -> Iterator[str]:
    for record in (stored.record for stored in records):
        job = "-" if record.job is None else record.job
        yield f"{record.kind} {record.schema} {record.stream} {job} {bytes(record.data).hex()}"


def main() -> None:
    """Write the next golden file."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DIRECTORY / f"{len(files()) + 1:03}.txt"
    path.write_text("\n".join(_lines(every_kind().records)) + "\n")
    print(path)


if __name__ == "__main__":
    main()
