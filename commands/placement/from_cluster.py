"""The model of a running cluster: its configuration, and what was seen of its nodes (pure).

Two steps, so that a decision can be made again later. `figures` takes from the statuses the few
numbers that count, less what open plans have reserved; they are recorded with the decision.
`model_of` joins them with the configuration, which the log has for every moment.

What is free on a node follows Ganeti's allocator protocol: an instance that is wanted up counts
with all its memory, whether it was seen to run or not. A node that cannot take instances now
(drained, offline, lost, not joined, not heard of) is offline in the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from commands.capacity import disk_need_mib
from commands.nodes import why_not_for_instances, why_unreachable
from commands.placement.model import (
    NO_NODE,
    Bounds,
    Cluster,
    Disk,
    Group,
    Instance,
    Node,
    Policy,
    Spec,
)
from commands.specs import whole
from nodeagent.calls import NodeStatus
from projections import cluster as wanted
from projections import ipolicy, objects, params

#: Run states of the model by what is wanted; allocation counts what should run.
STATUS_OF = {
    objects.ADMIN_UP: "running",
    objects.ADMIN_DOWN: "ADMIN_down",
    objects.ADMIN_OFFLINE: "ADMIN_offline",
}
NO_DISK_SPACE = frozenset({"diskless", "blockdev"})


class NodeFigures(msgspec.Struct, frozen=True, array_like=True):
    """What a decision takes of the status of one node. MiB; what is promised is not free."""

    node: str  # uuid
    total_memory: int
    node_memory: int  # the node's own
    free_memory: int  # below 0 where more is promised than there is
    total_disk: int
    free_disk: int
    cpus: int
    spindles: int = 0
    free_spindles: int = 0


def figures(cluster: wanted.Cluster, seen: Mapping[str, NodeStatus]) -> tuple[NodeFigures, ...]:
    """Return the numbers of every node that was seen, by its name."""
    held = _held(cluster)
    nodes = sorted(cluster.nodes.values(), key=lambda node: node.name)
    return tuple(
        _figures(cluster, seen[node.uuid], *held.get(node.uuid, (0, 0)))
        for node in nodes
        if node.uuid in seen
    )


def _held(cluster: wanted.Cluster) -> dict[str, tuple[int, int]]:
    """Return by node the memory and disk that open plans have reserved."""
    held: dict[str, tuple[int, int]] = {}
    for reserved in cluster.reserved.values():
        for each in reserved.nodes:
            memory, disk = held.get(each.node, (0, 0))
            held[each.node] = memory + each.memory_mib, disk + each.disk_mib
    return held


def _figures(
    cluster: wanted.Cluster, status: NodeStatus, held_memory: int, held_disk: int
) -> NodeFigures:
    runs = {each.uuid: each.memory_mib for each in status.instances if each.state != "stopped"}
    owed = 0
    for uuid in cluster.on_node(status.node):
        instance = cluster.instances[uuid]
        if instance.admin_state == objects.ADMIN_UP:
            owed += max(0, _memory(cluster, instance) - runs.get(uuid, 0))
    unassigned = status.disk_total_mib - _lvm_mib(cluster, status.node)
    return NodeFigures(
        node=status.node,
        total_memory=status.memory_total_mib,
        node_memory=status.memory_own_mib,
        free_memory=status.memory_free_mib - owed - held_memory,
        total_disk=status.disk_total_mib,
        free_disk=min(status.disk_free_mib, unassigned) - held_disk,
        cpus=status.cpus,
        spindles=status.spindles_total,
        free_spindles=status.spindles_free,
    )


def _lvm_mib(cluster: wanted.Cluster, node: str) -> int:
    """What the configuration says of disks there, whether they were made yet or not."""
    return sum(
        disk_need_mib(disk.template, (disk.size_mib,))
        for uuid in cluster.on_node(node) | cluster.mirrored_on(node)
        for disk in cluster.instances[uuid].disks
        if disk.template in ("plain", "drbd")
    )


def model_of(cluster: wanted.Cluster, seen: Iterable[NodeFigures]) -> Cluster:
    """Return the model: groups, nodes and instances by name."""
    groups = sorted(cluster.groups.values(), key=lambda group: group.name)
    group_numbers = {group.uuid: number for number, group in enumerate(groups)}
    nodes = sorted(cluster.nodes.values(), key=lambda node: node.name)
    node_numbers = {node.uuid: number for number, node in enumerate(nodes)}
    figures_of = {each.node: each for each in seen}
    instances = sorted(cluster.instances.values(), key=lambda instance: instance.name)
    return Cluster(
        groups=tuple(_group(cluster, group) for group in groups),
        nodes=tuple(
            _node(cluster, node, group_numbers[node.group], figures_of.get(node.uuid))
            for node in nodes
        ),
        instances=(
            *(_instance(cluster, instance, node_numbers) for instance in instances),
            *coming(cluster, node_numbers),
        ),
        tags=cluster.settings.tags,
        policy=policy_of(cluster),
    )


def coming(cluster: wanted.Cluster, numbers: Mapping[str, int]) -> Iterable[Instance]:
    """Return the instances that open plans are about to make; `numbers` are positions of nodes.

    Their room is not free already (`figures`); that they are there must count as well, or many
    that are created at once would all be put where it is emptiest now.
    """
    for _, reserved in sorted(cluster.reserved.items()):
        made = [name for name in reserved.names if not cluster.names.get(name)]
        names = [name.partition("/")[2] for name in made if name.startswith("instance/")]
        if len(names) != 1 or not 1 <= len(reserved.nodes) <= 2:
            continue
        first, *others = reserved.nodes
        yield Instance(
            name=names[0],
            memory=first.memory_mib,
            disk=first.disk_mib,
            vcpus=max(1, first.vcpus),
            status="running" if first.memory_mib else "ADMIN_down",
            template="drbd" if others else "plain",
            primary=numbers[first.node],
            secondary=numbers[others[0].node] if others else NO_NODE,
            disks=(Disk(first.disk_mib),),
        )


def _group(cluster: wanted.Cluster, group: objects.Group) -> Group:
    return Group(
        name=group.name,
        uuid=group.uuid,
        alloc_policy=group.alloc_policy,
        tags=group.tags,
        policy=policy_of(cluster, group),
    )


def policy_of(cluster: wanted.Cluster, group: objects.Group | None = None) -> Policy:
    """Return the instance policy in force in a group, or in the cluster."""
    own = None if group is None else group.ipolicy
    return engine_policy(ipolicy.in_force(cluster.settings.ipolicy, own))


def engine_policy(full: objects.InstancePolicy) -> Policy:
    """Return a policy with everything filled in, as the engine has it."""
    assert full.vcpu_ratio is not None, "everything is filled in"
    assert full.spindle_ratio is not None, "everything is filled in"
    return Policy(
        standard=_spec(full.std),
        bounds=tuple(Bounds(_spec(pair.min), _spec(pair.max)) for pair in full.minmax),
        templates=full.disk_templates,
        vcpu_ratio=full.vcpu_ratio,
        spindle_ratio=full.spindle_ratio,
    )


def _spec(sizes: objects.Sizes) -> Spec:
    return Spec(
        memory_mib=sizes["memory-size"],
        cpus=sizes["cpu-count"],
        disk_mib=sizes["disk-size"],
        disks=sizes["disk-count"],
        nics=sizes["nic-count"],
        spindles=sizes["spindle-use"],
    )


def _node(
    cluster: wanted.Cluster, node: objects.Node, group: int, seen: NodeFigures | None
) -> Node:
    filled = params.of_node(cluster, node)
    exclusive = bool(filled["exclusive_storage"])
    hypervisor = cluster.settings.enabled_hypervisors[0]
    if seen is None or not node.vm_capable or why_unreachable(node):
        return Node(
            name=node.name,
            group=group,
            total_memory=0.0,
            node_memory=0,
            free_memory=0,
            total_disk=0.0,
            free_disk=0,
            cpus=0.0,
            node_cpus=0,
            offline=True,
            spindles=0 if exclusive else whole(filled, "spindle_count"),
            exclusive_storage=exclusive,
            tags=node.tags,
            hypervisor=hypervisor,
        )
    return Node(
        name=node.name,
        group=group,
        total_memory=float(seen.total_memory),
        node_memory=seen.node_memory,
        free_memory=seen.free_memory,
        total_disk=float(seen.total_disk),
        free_disk=seen.free_disk,
        cpus=float(seen.cpus),
        offline=bool(why_not_for_instances(node)),
        spindles=seen.spindles if exclusive else whole(filled, "spindle_count"),
        free_spindles=seen.free_spindles if exclusive else 0,
        exclusive_storage=exclusive,
        tags=node.tags,
        hypervisor=hypervisor,
    )


def _instance(
    cluster: wanted.Cluster, instance: objects.Instance, numbers: Mapping[str, int]
) -> Instance:
    secondary = instance.secondary
    placed = new_instance(
        name=instance.name,
        backend=params.of_instance(cluster, instance),
        template=instance.template,
        disks=((disk.size_mib, disk.spindles) for disk in instance.disks),
        tags=instance.tags,
        status=STATUS_OF[instance.admin_state],
    )
    return msgspec.structs.replace(
        placed,
        primary=numbers[instance.primary],
        secondary=NO_NODE if secondary is None else numbers[secondary],
    )


def new_instance(
    *,
    name: str,
    backend: objects.Params,
    template: str,
    disks: Iterable[tuple[int, int | None]],
    tags: tuple[str, ...],
    status: str = "running",
) -> Instance:
    """Return an instance that is nowhere yet; `backend` holds every backend parameter."""
    sizes = tuple(Disk(size, spindles) for size, spindles in disks)
    total = sum(disk.size_mib for disk in sizes)
    if template == "drbd":
        total = disk_need_mib(template, (disk.size_mib for disk in sizes))
    return Instance(
        name=name,
        memory=whole(backend, "maxmem"),
        disk=0 if template in NO_DISK_SPACE else total,
        vcpus=whole(backend, "vcpus"),
        status=status,
        template=template,
        primary=NO_NODE,
        disks=sizes,
        auto_balance=bool(backend["auto_balance"]),
        spindle_use=whole(backend, "spindle_use"),
        tags=tags,
    )


def _memory(cluster: wanted.Cluster, instance: objects.Instance) -> int:
    return whole(params.of_instance(cluster, instance), "maxmem")
