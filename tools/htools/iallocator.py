"""The instance allocator protocol, version 2: reading requests, writing answers.

A request holds a cluster and one question; see `docs/placement.md` for the kinds. Whatever cannot
be read raises DataError in the words of the original.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from commands.placement.model import NO_NODE, Cluster, Disk, Group, Instance, Node
from tools.htools.errors import DataError
from tools.htools.json_policy import read_alloc_policy, read_policy, read_template
from tools.htools.json_reader import (
    Record,
    amount,
    checked,
    decode_object,
    get,
    get_or,
    maybe,
    real_amount,
    texts,
)


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An instance to be placed, on how many nodes, and in which group if one is named."""

    instance: Instance
    nodes: int
    group: str | None


@dataclass(frozen=True, slots=True)
class Allocate:
    """Place one instance."""

    new: NewInstance
    restrict_to: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class MultiAllocate:
    """Place some instances, one after the other."""

    new: tuple[NewInstance, ...]


@dataclass(frozen=True, slots=True)
class AllocateSecondary:
    """Find a secondary for an instance that has none."""

    name: str


@dataclass(frozen=True, slots=True)
class Relocate:
    """Find another node for one of an instance's."""

    name: str
    nodes: int
    leave: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeEvacuate:
    """Take instances off their nodes."""

    names: tuple[str, ...]
    mode: str


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """Take instances to other groups."""

    names: tuple[str, ...]
    groups: tuple[str, ...]


Question = Allocate | MultiAllocate | AllocateSecondary | Relocate | NodeEvacuate | ChangeGroup


@dataclass(frozen=True, slots=True)
class Request:
    """A cluster and a question about it."""

    cluster: Cluster
    question: Question


def parse_request(text: str | bytes) -> Request:
    """Read a request. Raises DataError."""
    record = decode_object(text, "Parsing input IAllocator message")
    what = "invalid iallocator message"
    asked: Record = get(record, "request", dict, what)
    groups = [
        _group(uuid, checked(item, uuid, dict, what))
        for uuid, item in get(record, "nodegroups", dict, what).items()
    ]
    uuids = {group.uuid: index for index, group in enumerate(groups)}
    node_records: Record = get(record, "nodes", dict, what)
    instance_records: Record = get(record, "instances", dict, what)
    hypervisors = record.get("enabled_hypervisors")
    numbers = {name: index for index, name in enumerate(node_records)}
    tags = texts(record, "cluster_tags", what)
    hypervisors = texts(record, "enabled_hypervisors", what) if hypervisors is not None else ()
    if "enabled_hypervisors" not in record:
        get(record, "enabled_hypervisors", list, what)
    hypervisor = hypervisors[0] if hypervisors else None
    nodes = [
        _node(name, checked(item, name, dict, what), uuids, hypervisor)
        for name, item in node_records.items()
    ]
    instances = [
        _placed(name, checked(item, name, dict, what), numbers)
        for name, item in instance_records.items()
    ]
    cluster = Cluster(tuple(groups), tuple(nodes), tuple(instances), tags)
    return Request(cluster, _question(asked, cluster))


def _group(uuid: str, record: Record) -> Group:
    what = f"invalid data for group '{uuid}'"
    return Group(
        name=get(record, "name", str, what),
        uuid=uuid,
        alloc_policy=read_alloc_policy(record, what),
        networks=texts(record, "networks", what),
        policy=read_policy(get(record, "ipolicy", dict, what), what),
        tags=texts(record, "tags", what),
    )


def _node(name: str, record: Record, uuids: dict[str, int], hypervisor: str | None) -> Node:
    what = f"invalid data for node '{name}'"
    offline, drained = get(record, "offline", bool, what), get(record, "drained", bool, what)
    group = get(record, "group", str, what)
    if group not in uuids:
        raise DataError(f"Unknown group '{group}' for node {name}")
    parameters: Record = get(record, "ndparams", dict, what)
    exclusive = get(parameters, "exclusive_storage", bool, what)
    live = not offline and get_or(record, "vm_capable", bool, True, what)
    tags = texts(record, "tags", what) if record.get("tags") is not None else ()
    if not exclusive:
        spindles = amount(parameters, "spindle_count", what)
    else:
        spindles = amount(record, "total_spindles", what) if live else 0
    if not live:
        return Node(
            name, uuids[group], 0.0, 0, 0, 0.0, 0, 0.0, 0, 1.0, True, spindles=spindles,
            exclusive_storage=exclusive, tags=tags, hypervisor=hypervisor,
        )  # fmt: skip
    return Node(
        name=name,
        group=uuids[group],
        total_memory=real_amount(record, "total_memory", what),
        node_memory=amount(record, "reserved_memory", what),
        free_memory=get(record, "free_memory", int, what),
        total_disk=real_amount(record, "total_disk", what),
        free_disk=get(record, "free_disk", int, what),
        cpus=real_amount(record, "total_cpus", what),
        node_cpus=amount(record, "reserved_cpus", what),
        offline=drained,
        spindles=spindles,
        free_spindles=get(record, "free_spindles", int, what),
        exclusive_storage=exclusive,
        tags=tags,
        hypervisor=hypervisor,
    )


_ADMIN_STATES = {"up": "running", "down": "ADMIN_down", "offline": "ADMIN_offline"}


def _instance(name: str, record: Record, primary: int, secondary: int) -> Instance:
    what = f"invalid data for instance '{name}'"
    state = record.get("admin_state")
    return Instance(
        name=name,
        disk=amount(record, "disk_space_total", what),
        disks=tuple([_disk(item, what) for item in get(record, "disks", list, what)]),
        memory=amount(record, "memory", what),
        vcpus=amount(record, "vcpus", what),
        tags=texts(record, "tags", what),
        template=read_template(record, what),
        spindle_use=amount(record, "spindle_use", what),
        networks=_networks(name, get(record, "nics", list, what), what),
        status=_ADMIN_STATES.get(state, "running") if isinstance(state, str) else "running",
        primary=primary,
        secondary=secondary,
        forthcoming=record.get("forthcoming") is True,
    )


def _disk(item: object, what: str) -> Disk:
    record: Record = checked(item, "disks", dict, what)
    size = amount(record, "size", what)
    return Disk(size, None if record.get("spindles") is None else amount(record, "spindles", what))


def _networks(name: str, nics: list[object], what: str) -> tuple[str, ...]:
    found = []
    for nic in nics:
        record: Record = checked(nic, "nics", dict, what)
        mode = maybe(record, "mode", str, what)
        if mode not in (None, "bridged", "routed", "openvswitch"):
            raise DataError(f"invalid NIC mode in instance {name}")
        network = maybe(record, "network", str, what)
        if network is not None:
            found.append(network)
    return tuple(found)


def _placed(name: str, record: Record, numbers: dict[str, int]) -> Instance:
    what = f"invalid data for instance '{name}'"
    nodes = texts(record, "nodes", what)
    if not nodes:
        raise DataError(f"empty node list for instance {name}")
    for node in nodes[:2]:
        if node not in numbers:
            raise DataError(f"Unknown node '{node}' for instance {name}")
    secondary = numbers[nodes[1]] if len(nodes) > 1 else NO_NODE
    if secondary == numbers[nodes[0]]:
        raise DataError(f"Instance {name} has same primary and secondary node - {nodes[0]}")
    return _instance(name, record, numbers[nodes[0]], secondary)


# --- questions --------------------------------------------------------------------------------


def _question(record: Record, cluster: Cluster) -> Question:
    what = "invalid request dict"
    names = {inst.name for inst in cluster.instances}
    match get(record, "type", str, what):
        case "allocate":
            return _allocate(record, what)
        case "multi-allocate":
            outer = maybe(record, "group_name", str, what)
            items = get(record, "instances", list, what)
            records = [checked(item, "instances", dict, what) for item in items]
            return MultiAllocate(tuple(_new(item, what, outer) for item in records))
        case "allocate-secondary":
            return AllocateSecondary(_known(get(record, "name", str, what), names))
        case "relocate":
            name = get(record, "name", str, what)
            _known(name, names)
            required = get(record, "required_nodes", int, what)
            leave = texts(record, "relocate_from", what)
            return Relocate(name, required, _all_known(leave, {n.name for n in cluster.nodes}))
        case "node-evacuate":
            instances = _all_known(texts(record, "instances", what), names)
            mode = get(record, "evac_mode", str, what)
            if mode not in ("primary-only", "secondary-only", "all"):
                raise DataError(f"{what}: key 'evac_mode': Invalid evac_mode '{mode}'")
            return NodeEvacuate(instances, mode)
        case "change-group":
            instances = _all_known(texts(record, "instances", what), names)
            uuids = {name for group in cluster.groups for name in (group.uuid, group.name)}
            return ChangeGroup(instances, _all_known(texts(record, "target_groups", what), uuids))
        case other:
            raise DataError(f"Invalid request type '{other}'")


def _allocate(record: Record, what: str) -> Allocate:
    new = _new(record, what, None)
    if record.get("restrict-to-nodes") is None:
        return Allocate(new, None)
    return Allocate(new, frozenset(texts(record, "restrict-to-nodes", what)))


def _new(record: Record, what: str, outer_group: str | None) -> NewInstance:
    name = get(record, "name", str, what)
    group = maybe(record, "group_name", str, what) or outer_group
    required = get(record, "required_nodes", int, what)
    return NewInstance(_instance(name, record, NO_NODE, NO_NODE), required, group)


def _known(name: str, names: set[str]) -> str:
    if name not in names:
        raise DataError(f"Unknown instance '{name}'")
    return name


def _all_known(wanted: tuple[str, ...], names: set[str]) -> tuple[str, ...]:
    for name in wanted:
        if name not in names:
            raise DataError(f"Wrong number of elems found with name {name}")
    return wanted


def answer(*, success: bool, info: str, result: object) -> str:
    """The answer to a request, as one line of JSON."""
    prefix = "Request successful: " if success else "Request failed: "
    return json.dumps(
        {"success": success, "info": prefix + info, "result": result}, separators=(",", ":")
    )
