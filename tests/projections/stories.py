"""Valid histories, written as an engine would write them: jobs with plans, tasks and facts.

Used by the laws, the golden events and the benchmarks; uuids are made from names, so that a story
told twice gives the same bytes.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import msgspec

from eventstore import events as log
from eventstore.packed import Packed
from eventstore.record import Event
from projections.events import configuration as c
from projections.events import jobs as j
from projections.objects import ClusterInfo, Disk, Group, Instance, Nic, Node, Side
from projections.plans import Call, Plan, Record, Reservation, Reservations, Undo, fact, task_id
from tests.projections.log_maker import CLUSTER_ID, Fact, LogMaker

RESULT = msgspec.Raw(msgspec.msgpack.encode({"ok": True}))
GIVEN = msgspec.Raw(msgspec.msgpack.encode({"now_ms": 1, "seed": b"0123456789abcdef"}))
CURVE_KEY = "k" * 40
NOTHING = Reservations()


def uid(name: str) -> str:
    """Return the uuid that this name always gets."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def packed(name: str, **fields: object) -> Packed:
    """Return an opcode or a call as it stands in a record."""
    return Packed(name, 1, msgspec.Raw(msgspec.msgpack.encode(fields)))


class Story:
    """Tells what happens to one cluster, record by record."""

    def __init__(self, maker: LogMaker | None = None) -> None:
        self.log = maker or LogMaker()
        self.last_job = 0
        self.nodes: list[str] = []
        self.instances: dict[str, Instance] = {}
        self.group = uid("default")

    def found(self, nodes: int) -> None:
        """The cluster begins, with one group and so many joined nodes."""
        self.log.add(
            (log.STREAM, log.LogCreated(cluster_id=CLUSTER_ID, origin="cairn/test")),
            (log.STREAM, log.EpochStarted(voter="node1", inc="00")),
            (
                log.STREAM,
                log.KeyAdmitted(name="operator:alice", role="operator", curve_key=CURVE_KEY),
            ),
            ("cluster", c.ClusterCreated(info=ClusterInfo(uuid=uid("c"), name="c.example.net"))),
            (f"group/{self.group}", c.GroupAdded(group=Group(uuid=self.group, name="default"))),
        )
        for number in range(1, nodes + 1):
            self.add_node(f"node{number}.example.net")

    def add_node(self, name: str) -> str:
        """A node is invited, joins and is added."""
        node = Node(uuid=uid(name), name=name, group=self.group, primary_ip="192.0.2.7")
        stream = f"node/{node.uuid}"
        self.log.add((stream, c.NodeInvited(node=node, ticket_key=CURVE_KEY)))
        self.log.add((stream, c.NodeJoined(node=node.uuid, curve_key=CURVE_KEY)))
        self.log.add((stream, c.NodeAdded(node=node.uuid)))
        self.nodes.append(node.uuid)
        return node.uuid

    def create(self, name: str, *, primary: str, secondary: str) -> Instance:
        """A job makes a mirrored instance: 8 calls, then the fact."""
        instance = mirrored(name, primary, secondary)
        calls = [
            *(self._call(f"data/{node[:4]}", node) for node in instance.nodes),
            *(self._call(f"meta/{node[:4]}", node) for node in instance.nodes),
            *(self._call(f"mirror/{node[:4]}", node) for node in instance.nodes),
            self._call("os", primary),
            self._call("start", primary),
        ]
        reserves = Reservations(
            nodes=(Reservation(node=primary, memory_mib=1024, disk_mib=10240),),
            names=(f"instance/{name}",),
        )
        facts = ((f"instance/{instance.uuid}", c.InstanceCreated(instance=instance)),)
        self.job(f"INSTANCE_CREATE({name})", calls, facts, reserves=reserves)
        self.instances[instance.uuid] = instance
        return instance

    def change(self, instance: str, event: Event) -> None:
        """A job with one call changes an instance."""
        primary = self.instances[instance].primary
        facts = ((f"instance/{instance}", event),)
        self.job("INSTANCE_SET_PARAMS", [self._call("act", primary)], facts)

    def job(
        self,
        summary: str,
        calls: Sequence[Call],
        facts: Sequence[Fact],
        *,
        reserves: Reservations = NOTHING,
    ) -> int:
        """A job of one opcode carries out the calls, one by one, then records the facts."""
        number = self.submit(summary)
        stream = f"job/{number}"
        record = Record(
            id="facts",
            facts=tuple(fact(where, event) for where, event in facts),
            after=tuple(call.id for call in calls),
        )
        plan = Plan(steps=(*calls, record), reserves=reserves, explanation=("as asked",))
        begin: list[Fact] = [
            (stream, j.OpStarted(op=0, handler=1, locks=(j.Lock(f"job-{number}"),))),
            (stream, j.OpPlanned(op=0, number=0, plan=plan, given=GIVEN)),
        ]
        done: list[Fact] = begin
        for call in calls:
            task = task_id(CLUSTER_ID, number, 0, 0, call.id, received_ms=0, undo=False, attempt=1)
            self.log.add(*done, requested(call, task), job=number)
            ended = j.TaskDone(task=task, result=RESULT, duration_ms=12)
            done = [(f"node/{call.node}", ended)]
        end: Fact = (stream, j.StepRecorded(op=0, plan=0, step="facts"))
        self.log.add(*done, *facts, end, job=number)
        self.log.add((stream, j.OpSucceeded(op=0, result=RESULT)), job=number)
        return number

    def submit(self, *summaries: str) -> int:
        """A job is submitted, with one opcode for each summary."""
        self.last_job += 1
        submitted = j.JobSubmitted(
            ops=tuple(packed("OP_INSTANCE_TEST", subject=text) for text in summaries),
            summaries=summaries,
            reason=(("gnt:client", "because", 1),),
        )
        self.log.add((f"job/{self.last_job}", submitted), job=self.last_job)
        return self.last_job

    def _call(self, step: str, node: str) -> Call:
        call = packed("ensure-volume", volume=f"xenvg/{step}", owner=node, size_mib=10240)
        return Call(id=step, node=node, call=call, undo=Undo(call=call))


def requested(call: Call, task: str, *, undo: bool = False, attempt: int = 1) -> Fact:
    """Return the fact that a node is to carry out a call of the first plan of a job."""
    event = j.TaskRequested(
        task=task,
        op=0,
        plan=0,
        step=call.id,
        call=call.call,
        resource=call.node,
        timeout_s=300.0,
        undo=undo,
        attempt=attempt,
    )
    return f"node/{call.node}", event


def mirrored(name: str, primary: str, secondary: str) -> Instance:
    """Return an instance with one mirrored disk and one interface."""
    sides = tuple(
        Side(
            node=node,
            volume=f"xenvg/{uid(name + node)}.disk0_data",
            meta_volume=f"xenvg/{uid(name + node)}.disk0_meta",
            minor=7,
        )
        for node in (primary, secondary)
    )
    disk = Disk(uuid=uid(f"{name}/0"), size_mib=10240, template="drbd", sides=sides, port=11000)
    return Instance(
        uuid=uid(name),
        name=name,
        primary=primary,
        os="debian",
        hypervisor="fake",
        template="drbd",
        admin_state="up",
        disks=(disk,),
        nics=(Nic(uuid=uid(f"{name}/nic"), mac="aa:00:00:12:34:56"),),
        beparams={"maxmem": 1024, "minmem": 1024},
        disks_active=True,
    )
