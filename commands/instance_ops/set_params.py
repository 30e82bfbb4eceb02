"""OP_INSTANCE_SET_PARAMS: parameters, disks, interfaces, OS and offline mark of an instance (pure).

What is recorded holds from the next start on. What runs is changed by `runtime_mem`, before the
record, and by hot-plug of disks (disk_changes.py), interfaces and processors (hotplug.py), unless
`hotplug` is off. `disks` and `nics` are Ganeti's modifications (commands/part_changes.py).

The result is Ganeti's: pairs of what changed and its new value. What can go wrong: more memory than
the primary has left is refused, unless `force`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from commands import allocation, bridges, ipolicy, looking, os_definitions, parse
from commands.backend import backend_params
from commands.capacity import running
from commands.disks import call
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, own_nodes, subject
from commands.instance_ops import disk_changes, hotplug
from commands.instance_ops.disk_changes import DiskChanges
from commands.looking import acted, look
from commands.new_nics import MAX_NICS, TakenMacs, changed_nic, new_nic
from commands.nodes import require_reachable, why_unreachable
from commands.part_changes import Change, no_change, place, position
from commands.runs import resource_of
from commands.specs import whole
from commands.unsupported import refuse_unsupported
from nodeagent.calls import BalloonMemory, NodeStatus
from projections import params
from projections.cluster import Cluster
from projections.events.configuration import DisksChanged, InstanceModified, InstanceStateSet
from projections.objects import (
    ADMIN_DOWN,
    ADMIN_OFFLINE,
    ADMIN_UP,
    Instance,
    Nic,
    Params,
    Value,
)
from projections.plans import Fact, Plan, Record, Reservations, Step, fact, names

NOT_YET = {
    "disk_template": "disks cannot be converted yet",
    "ext_params": "external storage is not there yet",
    "file_driver": "files are always attached through loop devices",
    "file_storage_dir": "disks cannot be converted yet",
    "force_variant": "the OS definition decides which variants there are",
    "instance_communication": "there is no communication network yet",
    "osparams_private": "secrets cannot be kept yet",
    "pnode": "failover or migrate change the primary node",
    "pnode_uuid": "failover or migrate change the primary node",
    "remote_node": "replace-disks changes the secondary node",
    "remote_node_uuid": "replace-disks changes the secondary node",
    "iallocator": "disks cannot be converted yet",
}

WITHOUT_EFFECT = {
    "conflicts_check": "there are no networks yet whose addresses could conflict",
}


class InstanceSetParams(InstanceOpcode, frozen=True, kw_only=True):
    """Change parameters of an instance."""

    NAME: ClassVar[str] = "OP_INSTANCE_SET_PARAMS"

    beparams: Annotated[dict[str, Value], Meta(description="Backend parameters")] = {}
    hvparams: Annotated[dict[str, Value], Meta(description="Hypervisor parameters")] = {}
    osparams: Annotated[dict[str, str | None], Meta(description="Parameters of its OS")] = {}
    os_name: Annotated[str | None, Meta(description="Another OS definition, +variant")] = None
    disks: Annotated[tuple[Change, ...], Meta(description="Changes of its disks")] = ()
    nics: Annotated[tuple[Change, ...], Meta(description="Changes of its interfaces")] = ()
    offline: Annotated[bool | None, Meta(description="Not to be managed for now, or again")] = None
    runtime_mem: Annotated[
        Annotated[int, Meta(gt=0)] | None,
        Meta(description="Memory it has from now on", extra={"unit": "MiB"}),
    ] = None
    force: Annotated[bool, Meta(description="Even with too little memory on its node")] = False
    ignore_ipolicy: Annotated[bool, Meta(description="Go beyond the policy of its group, too")] = (
        False
    )
    conflicts_check: bool = True
    hotplug: Annotated[
        bool, Meta(description="Give disks, interfaces and processors to a running guest at once")
    ] = True
    wait_for_sync: Annotated[bool, Meta(description="Wait until mirrors are in order")] = True
    disk_template: str | None = None
    ext_params: dict[str, Value] = {}
    file_driver: str | None = None
    file_storage_dir: str | None = None
    force_variant: bool = False
    instance_communication: bool | None = None
    osparams_private: dict[str, Value] | None = None
    pnode: str | None = None
    pnode_uuid: str | None = None
    remote_node: str | None = None
    remote_node_uuid: str | None = None
    iallocator: str | None = None


def decide(op: InstanceSetParams, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the change; then say what is different."""
    if outcomes := acted(so_far):
        changed = [tuple(line.split("=", 1)) for line in outcomes[-1].plan.explanation]
        left = (*hotplug.not_taken(outcomes[-1]), *disk_changes.not_done(outcomes[-1]))
        return Done([*changed, *left])
    refuse_unsupported(op, NOT_YET)
    instance = subject(op, cluster)
    new = _changed(op, cluster, given, instance)
    state = _new_state(op, instance)
    if op.os_name and not op.force:
        os_definitions.require(
            looking.seen(given, so_far), cluster.nodes[instance.primary], op.os_name
        )
    if new.nics is not None and not op.force:
        primary = cluster.nodes[instance.primary]
        bridges.require(cluster, looking.seen(given, so_far), primary, new.nics)
    disks = disk_changes.disk_changes(cluster, given, instance, op.disks)
    differences = (*disk_changes.told(disks), *_differences(op, instance, new, state))
    if not differences:
        raise Refused(
            WRONG_INPUT,
            "nothing would change",
            hint="give a value that differs, such as -B memory=2G",
        )
    _require_policy(op, cluster, instance, new, disks)
    seen = looking.seen(given, so_far)
    primary = cluster.nodes[instance.primary]
    more_mib = _more_memory(cluster, instance, new.beparams)
    plugs = _plugs(op, cluster, instance, new, disks)
    asked = {node.uuid: node for node in disk_changes.nodes_to_ask(cluster, disks)}
    if op.runtime_mem is not None or (more_mib > 0 and not op.force) or plugs:
        asked[primary.uuid] = require_reachable(primary)
    unseen = [node for uuid, node in asked.items() if uuid not in seen]
    if unseen and not so_far:
        return look(unseen)
    if more_mib > 0 and not op.force:
        allocation.require_room(
            cluster, seen, primary, template=instance.template, memory_mib=more_mib
        )
    status = seen.get(primary.uuid)
    runs = running(status, instance.uuid)
    disk_changes.require(cluster, seen, disks, runs=runs, hotplug=op.hotplug)
    steps = _steps(
        op, cluster, instance, new, state, status, disks, runs=runs, plugs=plugs and runs
    )
    return Plan(
        steps=steps,
        reserves=Reservations(
            nodes=disk_changes.reserved(disks, memory_mib=max(more_mib, 0)),
            ports=disks.numbers.ports_taken,
            macs=tuple(nic.mac for nic in new.nics or () if nic not in instance.nics),
        ),
        explanation=differences,
    )


def _changed(
    op: InstanceSetParams, cluster: Cluster, given: Given, instance: Instance
) -> InstanceModified:
    osparams = {key: value for key, value in {**instance.osparams, **op.osparams}.items() if value}
    table = params.tables().hvparams.get(instance.hypervisor, {})
    what = f"hypervisor {instance.hypervisor}"
    nics = _nics(cluster, given, instance, op.nics)
    return InstanceModified(
        instance=instance.uuid,
        beparams=backend_params(cluster, instance.beparams, op.beparams),
        hvparams=parse.modified(instance.hvparams, op.hvparams, table, what),
        osparams=osparams,
        os=op.os_name or "",
        nics=None if nics == instance.nics else nics,
    )


def _require_policy(
    op: InstanceSetParams,
    cluster: Cluster,
    instance: Instance,
    new: InstanceModified,
    disks: DiskChanges,
) -> None:
    """Refuse sizes that the policy forbids; what is as it was may stay as it is."""
    now = ipolicy.extent_of(cluster, instance)
    nics = instance.nics if new.nics is None else new.nics
    after = ipolicy.extent(
        params.backend(cluster.settings, new.beparams),
        template=now.template,
        disks_mib=tuple(disk.size_mib for disk in disks.after.disks),
        nics=len(nics),
    )
    if after != now:
        group = cluster.groups[cluster.nodes[instance.primary].group]
        ipolicy.require(cluster, group, instance.name, after, ignore=op.ignore_ipolicy)


def _new_state(op: InstanceSetParams, instance: Instance) -> str | None:
    """Return the admin state that the offline mark brings, None if it stays."""
    if op.offline is None or op.offline == (instance.admin_state == ADMIN_OFFLINE):
        return None
    if instance.admin_state == ADMIN_UP:
        raise Refused(
            WRONG_STATE,
            f"{instance.name} is meant to run",
            hint=f"gnt-instance shutdown {instance.name}",
        )
    return ADMIN_OFFLINE if op.offline else ADMIN_DOWN


def _more_memory(cluster: Cluster, instance: Instance, beparams: Params) -> int:
    """Return by how much the memory grows that the instance, which is up, counts on."""
    if instance.admin_state != ADMIN_UP:
        return 0
    after = params.backend(cluster.settings, beparams)
    return whole(after, "maxmem") - whole(params.of_instance(cluster, instance), "maxmem")


# --- interfaces -------------------------------------------------------------------------------


def _nics(
    cluster: Cluster, given: Given, instance: Instance, changes: Iterable[Change]
) -> tuple[Nic, ...]:
    nics = list(instance.nics)
    taken = TakenMacs(cluster)
    for number, (action, which, wish) in enumerate(changes):
        label, what = f"nic change {number}", f"interface of {instance.name}"
        match action:
            case "add":
                at = place(nics, which, what)
                nics.insert(at, new_nic(cluster, given, label, wish, taken))
            case "remove":
                del nics[position(nics, which, what)]
            case "modify":
                at = position(nics, which, what)
                nics[at] = changed_nic(cluster, given, label, nics[at], wish, taken)
            case _:
                raise no_change(label, action)
    if len(nics) > MAX_NICS:
        raise Refused(
            WRONG_INPUT, f"{len(nics)} interfaces are too many", hint=f"at most {MAX_NICS}"
        )
    return tuple(nics)


# --- the plan ---------------------------------------------------------------------------------


def _steps(
    op: InstanceSetParams,
    cluster: Cluster,
    instance: Instance,
    new: InstanceModified,
    state: str | None,
    status: NodeStatus | None,
    disks: DiskChanges,
    *,
    runs: bool,
    plugs: bool,
) -> tuple[Step, ...]:
    steps: list[Step] = [*disk_changes.before_record(cluster, disks, runs=runs)]
    nics = instance.nics if new.nics is None else new.nics
    if plugs:
        steps += hotplug.take_out(cluster, instance, nics)
    if op.runtime_mem is not None:
        steps.append(_balloon(op.runtime_mem, cluster, instance, new, status))
    record = _record(instance, new, state, disks, after=names(steps))
    steps.append(record)
    if plugs:
        steps += hotplug.plug_in(cluster, disks.after, nics, (record.id,))
        before, after = _vcpus(cluster, instance, new)
        if after > before:
            steps.append(hotplug.more_vcpus(instance, before, after, (record.id,)))
    steps += disk_changes.after_record(
        cluster, disks, record.id, plugs=plugs, wait=op.wait_for_sync
    )
    return tuple(steps)


def _record(
    instance: Instance,
    new: InstanceModified,
    state: str | None,
    disks: DiskChanges,
    *,
    after: tuple[str, ...],
) -> Record:
    """Return the step that records the change, and how it is taken back."""
    stream = f"instance/{instance.uuid}"
    old = InstanceModified(
        instance=instance.uuid,
        beparams=instance.beparams,
        hvparams=instance.hvparams,
        osparams=instance.osparams,
        os=instance.os,
        nics=instance.nics,
    )
    facts: list[Fact] = [fact(stream, new)]
    undo: list[Fact] = [fact(stream, old)]
    if state is not None:
        was = InstanceStateSet(
            instance=instance.uuid,
            admin_state=instance.admin_state,
            source=instance.admin_state_source,
        )
        facts.append(fact(stream, InstanceStateSet(instance=instance.uuid, admin_state=state)))
        undo.append(fact(stream, was))
    if disks.after.disks != instance.disks:
        facts.append(fact(stream, DisksChanged(instance=instance.uuid, disks=disks.after.disks)))
        undo.append(fact(stream, DisksChanged(instance=instance.uuid, disks=instance.disks)))
    return Record(id="modified", facts=tuple(facts), after=after, undo=tuple(undo))


def _plugs(
    op: InstanceSetParams,
    cluster: Cluster,
    instance: Instance,
    new: InstanceModified,
    disks: DiskChanges,
) -> bool:
    """Whether the change is one that a running guest could be given."""
    if not op.hotplug or instance.hypervisor not in hotplug.HOTPLUGS:
        return False
    if instance.admin_state != ADMIN_UP or why_unreachable(cluster.nodes[instance.primary]):
        return False
    before, after = _vcpus(cluster, instance, new)
    return new.nics is not None or after > before or bool(disks.added)


def _vcpus(cluster: Cluster, instance: Instance, new: InstanceModified) -> tuple[int, int]:
    """Return how many processors it has, and will have."""
    after = params.backend(cluster.settings, new.beparams)
    return whole(params.of_instance(cluster, instance), "vcpus"), whole(after, "vcpus")


def _balloon(
    memory_mib: int,
    cluster: Cluster,
    instance: Instance,
    new: InstanceModified,
    status: NodeStatus | None,
) -> Step:
    filled = params.backend(cluster.settings, new.beparams)  # a higher maxmem holds at once
    low, high = whole(filled, "minmem"), whole(filled, "maxmem")
    if not low <= memory_mib <= high:
        raise Refused(
            WRONG_INPUT,
            f"{memory_mib} MiB is outside minmem and maxmem of {instance.name}",
            hint=f"{low} to {high} MiB",
        )
    if not running(status, instance.uuid) or status is None:
        raise Refused(
            WRONG_STATE,
            f"{instance.name} does not run",
            hint="leave the runtime memory out: it starts with maxmem",
        )
    (now_mib,) = (each.memory_mib for each in status.instances if each.uuid == instance.uuid)

    def order(mib: int) -> BalloonMemory:
        return BalloonMemory(
            instance=instance.uuid,
            name=instance.name,
            hypervisor=instance.hypervisor,
            memory_mib=mib,
        )

    return call(
        "balloon",
        instance.primary,
        order(memory_mib),
        resource=resource_of(instance),
        undo=order(now_mib),
    )


def _differences(
    op: InstanceSetParams, instance: Instance, new: InstanceModified, state: str | None
) -> Iterable[str]:
    """Yield `what=value` for each thing that changes."""
    yield from _changes("be", instance.beparams, new.beparams)
    yield from _changes("hv", instance.hvparams, new.hvparams)
    yield from _changes("os", instance.osparams, new.osparams)
    if new.os and new.os != instance.os:
        yield f"os={new.os}"
    if new.nics is not None:
        for at, nic in enumerate(new.nics):
            if nic not in instance.nics:
                yield f"nic/{at}={nic.mac}"
        if len(new.nics) != len(instance.nics):
            yield f"nic.count={len(new.nics)}"
    if state is not None:
        yield f"admin_state={state}"
    if op.runtime_mem is not None:
        yield f"runtime_memory={op.runtime_mem}"


def _changes(group: str, old: Mapping[str, Value], new: Mapping[str, Value]) -> Iterable[str]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            value = new.get(name)
            yield f"{group}/{name}={'default' if value is None else value}"


HANDLER = Handler(opcode=InstanceSetParams, decide=decide, locks=instance_locks, looks_at=own_nodes)
