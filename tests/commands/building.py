"""Small clusters for tests of decisions, and a fold of plans without an engine.

A town is a configuration made only of facts, so whatever a test starts from could stand in a log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from commands.capacity import disk_need_mib
from commands.cluster_ops.first_facts import first_facts
from commands.given import Given
from commands.handler import Done, Handler, Outcomes, PlanOutcome
from eventstore.record import Event, Record
from nodeagent.calls import (
    CALLS,
    AddressTaken,
    Call,
    ConsoleSeen,
    DescribeVolumes,
    InstanceSeen,
    NodeCheck,
    NodeStatus,
    OsSeen,
    RunningGuest,
    VolumeFound,
    VolumesFound,
    VoterMade,
)
from projections import configuration, params
from projections.cluster import Cluster
from projections.events import configuration as facts
from projections.objects import ADMIN_UP, ClusterInfo, Disk, Group, Instance, Nic, Node, Side
from projections.plans import Call as CallStep
from projections.plans import Fact, Plan, check
from projections.plans import Record as RecordStep
from projections.registry import CONFIGURATION_TYPES, REGISTRY

KEY = "k" * 40
OS = (OsSeen("debian"), OsSeen("redhat", ("minimal", "server")))  # of every node but those in `os`
UUID = "00000000-0000-4000-8000-{:012d}"
GIVEN_SEED = bytes(16)


def node_uuid(number: int) -> str:
    """Return the uuid of `node<number>`."""
    return UUID.format(number)


def instance_uuid(number: int) -> str:
    """Return the uuid of the instance of that number."""
    return UUID.format(1_000_000 + number)


class Town:
    """A configuration that grows by facts. `node(1)` and so on have 8 GiB and 100 GiB each."""

    def __init__(self, nodes: int = 3, **info: Any) -> None:
        self.cluster = Cluster()
        self.seq = 0
        self.memory_mib: dict[str, int] = defaultdict(lambda: 8192)
        self.disk_mib: dict[str, int] = defaultdict(lambda: 102400)
        self.os: dict[str, tuple[OsSeen, ...] | None] = {}
        self.bridges: dict[str, tuple[str, ...]] = {}  # of nodes that tell them
        self.allocators: tuple[str, ...] | None = None  # of every node; None: not told
        self.volumes: tuple[VolumeFound, ...] = ()  # that a person made, on every node
        settings = ClusterInfo(
            **{
                "uuid": UUID.format(0),
                "name": "town.example.net",
                "enabled_disk_templates": ("drbd", "plain", "file", "sharedfile", "diskless"),
                "file_storage_dir": "/srv/files",
                "shared_file_storage_dir": "/srv/shared",
                **info,
            }
        )
        self.group = Group(uuid=UUID.format(900), name="default")
        self.fold("cluster", facts.ClusterCreated(info=settings))
        self.fold("group", facts.GroupAdded(group=self.group))
        for number in range(1, nodes + 1):
            self.add_node(number)
        self.fold("cluster", facts.MasterChanged(node=node_uuid(1)))

    def fold(self, stream: str, *events: Event) -> None:
        """Append facts."""
        for event in events:
            self.seq += 1
            self.cluster = folded(self.cluster, event, self.seq, stream)

    def add_node(self, number: int, **fields: Any) -> Node:
        """Add `node<number>`, joined."""
        uuid = node_uuid(number)
        node = Node(
            **{
                "uuid": uuid,
                "name": f"node{number}",
                "group": self.group.uuid,
                "primary_ip": f"192.0.2.{number}",
                "master_candidate": True,
                **fields,
            }
        )
        self.fold(
            f"node/{uuid}",
            facts.NodeInvited(node=node, ticket_key=KEY),
            facts.NodeJoined(node=uuid, curve_key=KEY),
            facts.NodeAdded(node=uuid),
        )
        return self.node(number)

    def node(self, number: int) -> Node:
        """Return `node<number>`."""
        return self.cluster.nodes[node_uuid(number)]

    def set_node(self, number: int, **fields: Any) -> None:
        """Set flags of a node."""
        node = msgspec.structs.replace(self.node(number), **fields)
        self.fold(
            f"node/{node.uuid}",
            facts.NodeModified(
                node=node.uuid,
                master_candidate=node.master_candidate,
                offline=node.offline,
                drained=node.drained,
                master_capable=node.master_capable,
                vm_capable=node.vm_capable,
                ndparams=node.ndparams,
            ),
        )

    def lose(self, number: int) -> None:
        """Nothing is heard of a node any more."""
        uuid = node_uuid(number)
        self.fold(f"node/{uuid}", facts.NodeLost(node=uuid, silent_s=60.0))

    def add_instance(
        self,
        number: int = 1,
        *,
        nodes: Sequence[int] = (1,),
        template: str = "plain",
        sizes_mib: Iterable[int] = (10240,),
        **fields: Any,
    ) -> Instance:
        """Add the instance `web<number>.example.net`, up, on these nodes, the primary first."""
        uuids = tuple(node_uuid(node) for node in nodes)
        sizes = () if template == "diskless" else tuple(sizes_mib)
        disks = tuple(
            self._disk(number, index, size, template, uuids) for index, size in enumerate(sizes)
        )
        instance = Instance(
            **{
                "uuid": instance_uuid(number),
                "name": f"web{number}.example.net",
                "primary": uuids[0],
                "os": "debian",
                "hypervisor": "fake",
                "template": template,
                "admin_state": ADMIN_UP,
                "disks": disks,
                "disks_active": True,
                "nics": (Nic(uuid=UUID.format(3_000_000 + number), mac=_mac(number)),),
                "beparams": {"maxmem": 512, "minmem": 512},
                **fields,
            }
        )
        self.fold(f"instance/{instance.uuid}", facts.InstanceCreated(instance=instance))
        return self.instance(number)

    def _disk(
        self, number: int, index: int, size: int, template: str, nodes: tuple[str, ...]
    ) -> Disk:
        key = number * 16 + index
        mirrored = template == "drbd"
        name = f"xenvg/{key}.disk{index}"
        sides = tuple(
            Side(
                node=node,
                volume=f"{name}_data" if mirrored else name,
                meta_volume=f"{name}_meta" if mirrored else "",
                minor=key if mirrored else None,
            )
            for node in (nodes if mirrored else nodes[:1])
        )
        return Disk(
            uuid=UUID.format(2_000_000 + key),
            size_mib=size,
            template=template,
            sides=sides,
            port=11000 + key if mirrored else None,
        )

    def instance(self, number: int = 1) -> Instance:
        """Return the instance of that number."""
        return self.cluster.instances[instance_uuid(number)]

    def status(self, uuid: str) -> NodeStatus:
        """Return what a node would report: what is wanted up there runs."""
        here = [self.cluster.instances[i] for i in self.cluster.on_node(uuid)]
        sides = [self.cluster.instances[i] for i in self.cluster.mirrored_on(uuid)]
        runs = [instance for instance in here if instance.admin_state == ADMIN_UP]
        used_mib = sum(_maxmem(self.cluster, instance) for instance in runs)
        lvm_mib = sum(
            disk_need_mib(disk.template, (disk.size_mib,))
            for instance in (*here, *sides)
            for disk in instance.disks
            if disk.template in ("plain", "drbd")
        )
        file_mib = sum(
            disk.size_mib for instance in here for disk in instance.disks if disk.template == "file"
        )
        return NodeStatus(
            node=uuid,
            boot_id="b",
            memory_total_mib=self.memory_mib[uuid],
            memory_free_mib=self.memory_mib[uuid] - used_mib,
            memory_own_mib=0,
            disk_total_mib=self.disk_mib[uuid],
            disk_free_mib=self.disk_mib[uuid] - lvm_mib,
            cpus=4,
            cpu_sockets=1,
            cpu_nodes=1,
            file_total_mib=self.disk_mib[uuid],
            file_free_mib=self.disk_mib[uuid] - file_mib,
            os=self.os.get(uuid, OS),
            bridges=self.bridges.get(uuid),
            allocators=self.allocators,
            instances=tuple(
                InstanceSeen(
                    uuid=instance.uuid,
                    name=instance.name,
                    state="running",
                    memory_mib=_maxmem(self.cluster, instance),
                    vcpus=1,
                    generation=instance.generation,
                )
                for instance in runs
            ),
        )

    def given(self, *, seen: bool = True) -> Given:
        """Return given values, which differ after each fact."""
        statuses = {uuid: self.status(uuid) for uuid in self.cluster.nodes} if seen else {}
        return Given(now_ms=1_000, seed=self.seq.to_bytes(16, "big"), seen=statuses)

    def decide(self, handler: Handler[Any], op: Any, *, so_far: Outcomes = ()) -> Plan | Done:
        """Ask a handler; a plan is checked."""
        looks = set(handler.looks_at(op, self.cluster))
        every = self.given()
        given = msgspec.structs.replace(
            every, seen={uuid: status for uuid, status in every.seen.items() if uuid in looks}
        )
        decision = handler.decide(op, self.cluster, given, so_far)
        if isinstance(decision, Plan):
            check(decision)
            assert decision == handler.decide(op, self.cluster, given, so_far), "not a function"
        return decision

    def carry_out(
        self, handler: Handler[Any], op: Any, *, fail: Iterable[str] = ()
    ) -> tuple[Done, Outcomes]:
        """Run an opcode to its end: calls succeed but those in `fail`, which must be tolerated."""
        outcomes: Outcomes = ()
        for _ in range(5):
            decision = self.decide(handler, op, so_far=outcomes)
            if isinstance(decision, Done):
                return decision, outcomes
            outcomes = (*outcomes, self.through(decision, fail=fail))
        raise AssertionError(f"{op.NAME} goes on and on")

    def through(self, plan: Plan, *, fail: Iterable[str] = ()) -> PlanOutcome:
        """Carry out one plan: its facts are folded, its calls answered."""
        results: dict[str, msgspec.Raw] = {}
        failures: dict[str, tuple[str, str]] = {}
        for step in plan.steps:
            if isinstance(step, RecordStep):
                self.fold_facts(step.facts)
            elif isinstance(step, CallStep) and step.id in set(fail):
                assert step.tolerate, f"{step.id} may not fail"
                failures[step.id] = ("environment_error", "it broke")
            elif isinstance(step, CallStep):
                results[step.id] = self._answer(step)
        return PlanOutcome(plan=plan, results=results, failures=failures)

    def fold_facts(self, them: Iterable[Fact]) -> None:
        """Fold facts of a plan; those of the log itself are not the configuration's."""
        for each in them:
            event = REGISTRY.decode_data(each.kind, each.schema, each.data)
            assert event is not None
            if isinstance(event, CONFIGURATION_TYPES):
                self.fold(each.stream, event)

    def _answer(self, step: CallStep) -> msgspec.Raw:
        if step.call.name == "ensure-voter":
            made = VoterMade(
                inc="22" * 16,
                curve_key="k" * 40,
                sign_key="",
                requests="tcp://192.0.2.2:1811",
                publications="tcp://192.0.2.2:1812",
                replication="tcp://192.0.2.2:1813",
            )
            return msgspec.Raw(msgspec.msgpack.encode(made))
        if step.call.name == "ensure-master-address":
            return msgspec.Raw(msgspec.msgpack.encode(AddressTaken()))
        if step.call.name == "describe-console":
            return msgspec.Raw(msgspec.msgpack.encode(ConsoleSeen(kind="msg")))
        if step.call.name == "describe-running":
            return msgspec.Raw(msgspec.msgpack.encode(RunningGuest(description=b"as it is")))
        if step.call.name == "describe-volumes":
            asked = unpacked(step)
            assert isinstance(asked, DescribeVolumes)
            there = tuple(each for each in self.volumes if each.name in asked.names)
            return msgspec.Raw(msgspec.msgpack.encode(VolumesFound(volumes=there)))
        if step.call.name != "probe":
            return msgspec.Raw(b"\xc0")
        if step.node not in self.cluster.nodes:
            return msgspec.Raw(b"\xc0")
        return msgspec.Raw(
            msgspec.msgpack.encode(NodeCheck(status=self.status(step.node), missing=()))
        )


def folded(cluster: Cluster, event: Event, seq: int, stream: str) -> Cluster:
    """Fold one fact, as if it stood in the log at `seq`."""
    record = Record(
        v=1,
        seq=seq,
        gen=1,
        term=1,
        time=seq << 16,
        event_id=bytes(16),
        kind=event.KIND,
        schema=event.SCHEMA,
        stream=stream,
        version=seq,
        actor="operator:test",
        origin="node1",
        job=None,
        cause=None,
        key=None,
        data=msgspec.Raw(msgspec.msgpack.encode(event)),
    )
    return configuration.fold_configuration(cluster, event, record)  # type: ignore[arg-type]


def founded(**info: Any) -> Cluster:
    """Return the cluster that `first_facts` makes."""
    drafts = first_facts(
        info=ClusterInfo(uuid=UUID.format(0), name="Town.example.net", **info),
        node_name="node1",
        node_ip="192.0.2.1",
        ticket_key=KEY,
        given=Given(now_ms=1, seed=GIVEN_SEED),
        actor="operator:test",
    )
    cluster = Cluster()
    for seq, draft in enumerate(drafts, start=1):
        if isinstance(draft.event, CONFIGURATION_TYPES):
            cluster = folded(cluster, draft.event, seq, draft.stream)
    return cluster


def unpacked(step: CallStep, *, undo: bool = False) -> Call:
    """Return the call of a step, or its undo, as a struct."""
    packed = step.call
    if undo:
        assert step.undo is not None
        packed = step.undo.call
    return msgspec.msgpack.decode(packed.data, type=CALLS[packed.name])


def call_steps(plan: Plan) -> dict[str, CallStep]:
    """Return the calls of a plan by the id of their step."""
    return {step.id: step for step in plan.steps if isinstance(step, CallStep)}


def ids(plan: Plan | Done) -> list[str]:
    """Return the ids of a plan's steps, in order."""
    assert isinstance(plan, Plan), plan
    return [step.id for step in plan.steps]


def _mac(number: int) -> str:
    return f"aa:00:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def _maxmem(cluster: Cluster, instance: Instance) -> int:
    value = params.of_instance(cluster, instance)["maxmem"]
    assert isinstance(value, int)
    return value
