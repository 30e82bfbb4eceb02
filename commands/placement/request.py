"""Requests to instance allocators: a cluster and a question, as Ganeti writes them (pure).

Source: the allocator protocol, version 2. Names are names, sizes MiB; what is free is what the
placement engine would count with (`from_cluster`), so an allocator is told no more room than the
built-in rule has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from commands.nodes import why_unreachable
from commands.placement.from_cluster import NodeFigures, coming, policy_of
from commands.placement.model import NO_NODE, Policy, Spec, required_nodes
from commands.placement.model import Instance as Wish
from commands.specs import DRBD_META_MIB, whole
from projections import params
from projections.cluster import Cluster
from projections.objects import ADMIN_UP, Disk, Group, Instance, Nic, Node

Json = dict[str, Any]  # Any: JSON of many shapes
VERSION = 2


def request(cluster: Cluster, figures: Iterable[NodeFigures], question: Json) -> bytes:
    """Return a request as JSON."""
    known = {each.node: each for each in figures}
    info = cluster.settings
    nodes = sorted(cluster.nodes.values(), key=lambda node: node.name)
    groups = sorted(cluster.groups.values(), key=lambda group: group.name)
    instances = sorted(cluster.instances.values(), key=lambda instance: instance.name)
    body = {
        "version": VERSION,
        "cluster_name": info.name,
        "cluster_tags": info.tags,
        "enabled_hypervisors": info.enabled_hypervisors,
        "ipolicy": _policy(policy_of(cluster)),
        "nodegroups": {group.uuid: _group(cluster, group) for group in groups},
        "nodes": {node.name: _node(cluster, node, known.get(node.uuid)) for node in nodes},
        "instances": {
            **{one.name: _instance(cluster, one) for one in instances},
            **_coming(cluster, nodes),
        },
        "request": question,
    }
    return msgspec.json.encode(body)


# --- questions --------------------------------------------------------------------------------


def allocate(
    cluster: Cluster, wish: Wish, *, os: str, nics: Iterable[Nic], hypervisor: str, group: str
) -> Json:
    """Ask for the nodes of a new instance; `group` is a name, or empty."""
    return {
        "type": "allocate",
        "name": wish.name,
        "disk_template": wish.template,
        "group_name": group or None,
        "tags": wish.tags,
        "os": os,
        "vcpus": wish.vcpus,
        "memory": wish.memory,
        "spindle_use": wish.spindle_use,
        "disks": [
            {"size": disk.size_mib, "mode": "rw", "spindles": disk.spindles} for disk in wish.disks
        ],
        "disk_space_total": wish.disk,
        "nics": [_nic(cluster, nic) for nic in nics],
        "required_nodes": required_nodes(wish.template),
        "hypervisor": hypervisor,
    }


def multi_allocate(questions: Iterable[Json]) -> Json:
    """Ask for the nodes of several new instances; `questions` are those of `allocate`."""
    several = [{key: of[key] for key in of if key != "type"} for of in questions]
    return {"type": "multi-allocate", "instances": several}


def relocate(cluster: Cluster, instance: Instance) -> Json:
    """Ask for another node for one of an instance's: its secondary, or its only one."""
    leave = instance.secondary or instance.primary
    return {
        "type": "relocate",
        "name": instance.name,
        "disk_space_total": _space(instance),
        "required_nodes": 1,
        "relocate_from": [cluster.nodes[leave].name],
    }


def evacuate(names: Iterable[str], mode: str) -> Json:
    """Ask where instances go that leave their nodes; `mode`: which of them."""
    return {"type": "node-evacuate", "instances": list(names), "evac_mode": mode}


def change_group(names: Iterable[str], groups: Iterable[str]) -> Json:
    """Ask where instances go that leave their groups; `groups` are uuids, none for any other."""
    return {"type": "change-group", "instances": list(names), "target_groups": list(groups)}


# --- the cluster ------------------------------------------------------------------------------


def _group(cluster: Cluster, group: Group) -> Json:
    return {
        "name": group.name,
        "alloc_policy": group.alloc_policy,
        "networks": [],
        "ipolicy": _policy(policy_of(cluster, group)),
        "tags": group.tags,
    }


def _policy(policy: Policy) -> Json:
    return {
        "minmax": [{"min": _spec(pair.low), "max": _spec(pair.high)} for pair in policy.bounds],
        "std": _spec(policy.standard),
        "disk-templates": policy.templates,
        "vcpu-ratio": policy.vcpu_ratio,
        "spindle-ratio": policy.spindle_ratio,
    }


def _spec(spec: Spec) -> Json:
    return {
        "memory-size": spec.memory_mib,
        "cpu-count": spec.cpus,
        "disk-size": spec.disk_mib,
        "disk-count": spec.disks,
        "nic-count": spec.nics,
        "spindle-use": spec.spindles,
    }


def _node(cluster: Cluster, node: Node, seen: NodeFigures | None) -> Json:
    filled = params.of_node(cluster, node)
    live = seen is not None and node.vm_capable and not why_unreachable(node)
    always = {
        "tags": node.tags,
        "primary_ip": node.primary_ip,
        "secondary_ip": node.secondary_ip or node.primary_ip,
        "offline": not live and node.vm_capable,  # also one that is lost, or was never heard of
        "drained": node.drained,
        "master_candidate": node.master_candidate,
        "group": node.group,
        "master_capable": node.master_capable,
        "vm_capable": node.vm_capable,
        "ndparams": filled,
    }
    if not live:
        return always
    assert seen is not None
    here = [cluster.instances[uuid] for uuid in cluster.on_node(node.uuid)]
    memory = {one.uuid: _backend(cluster, one, "maxmem") for one in here}
    exclusive = bool(filled["exclusive_storage"])
    return {
        **always,
        "total_memory": seen.total_memory,
        "reserved_memory": seen.node_memory,
        "free_memory": seen.free_memory,
        "total_disk": seen.total_disk,
        "free_disk": seen.free_disk,
        "total_spindles": seen.spindles if exclusive else 0,
        "free_spindles": seen.free_spindles if exclusive else 0,
        "total_cpus": seen.cpus,
        "reserved_cpus": 1,
        "i_pri_memory": sum(memory.values()),
        "i_pri_up_memory": sum(memory[one.uuid] for one in here if one.admin_state == ADMIN_UP),
    }


def _instance(cluster: Cluster, instance: Instance) -> Json:
    return {
        "tags": instance.tags,
        "admin_state": instance.admin_state,
        "vcpus": _backend(cluster, instance, "vcpus"),
        "memory": _backend(cluster, instance, "maxmem"),
        "spindle_use": _backend(cluster, instance, "spindle_use"),
        "os": instance.os,
        "nodes": [cluster.nodes[node].name for node in instance.nodes],
        "nics": [_nic(cluster, nic) for nic in instance.nics],
        "disks": [_disk(disk) for disk in instance.disks],
        "disk_template": instance.template,
        "disks_active": instance.disks_active,
        "hypervisor": instance.hypervisor,
        "disk_space_total": _space(instance),
    }


def _coming(cluster: Cluster, nodes: list[Node]) -> dict[str, Json]:
    """What open plans are about to make: of it only what takes room is known."""
    numbers = {node.uuid: number for number, node in enumerate(nodes)}
    found = {}
    for one in coming(cluster, numbers):
        homes = [one.primary] if one.secondary == NO_NODE else [one.primary, one.secondary]
        found[one.name] = {
            "tags": [],
            "admin_state": "up" if one.uses_memory else "down",
            "vcpus": one.vcpus,
            "memory": one.memory,
            "spindle_use": one.spindle_use,
            "os": "",
            "nodes": [nodes[number].name for number in homes],
            "nics": [],
            "disks": [
                {"dev_type": one.template, "size": disk.size_mib, "mode": "rw", "spindles": None}
                for disk in one.disks
            ],
            "disk_template": one.template,
            "disks_active": one.uses_memory,
            "hypervisor": cluster.settings.enabled_hypervisors[0],
            "disk_space_total": one.disk,
        }
    return found


def _backend(cluster: Cluster, instance: Instance, name: str) -> int:
    return whole(params.of_instance(cluster, instance), name)


def _nic(cluster: Cluster, nic: Nic) -> Json:
    filled: Mapping[str, Any] = params.of_nic(cluster, nic)
    told = {"mac": nic.mac, "ip": nic.ip or None, "mode": filled["mode"], "link": filled["link"]}
    return {**told, "bridge": filled["link"]} if filled["mode"] == "bridged" else told


def _disk(disk: Disk) -> Json:
    return {
        "dev_type": disk.template,
        "size": disk.size_mib,
        "mode": disk.mode,
        "spindles": disk.spindles,
    }


def _space(instance: Instance) -> int:
    if instance.template in ("diskless", "blockdev"):
        return 0
    extra = DRBD_META_MIB if instance.template == "drbd" else 0
    return sum(disk.size_mib + extra for disk in instance.disks)
