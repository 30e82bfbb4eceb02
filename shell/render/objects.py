"""Objects in full, as the `info` commands of Ganeti print them (pure).

A value that is inherited stands as `default (value)`, one that is set on the object as itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commands import uid_pool
from shell.render.cells import moment, size
from shell.render.tree import Leaf, Tree

Row = Mapping[str, Any]  # field -> value

INSTANCE_FIELDS = (
    "name", "uuid", "serial_no", "ctime", "mtime", "admin_state", "oper_state", "status", "pnode",
    "pnode.group", "pnode.group.uuid", "snodes", "snodes.group", "snodes.group.uuid", "os",
    "osparams", "network_port", "hypervisor", "hvparams", "custom_hvparams", "beparams",
    "custom_beparams", "nic.details", "disk_template", "disk.details", "tags", "generation",
)  # fmt: skip
NODE_FIELDS = (
    "name", "pip", "sip", "master_candidate", "drained", "offline", "powered", "master_capable",
    "vm_capable", "group", "role", "joined", "lost", "pinst_list", "sinst_list", "ndparams",
    "custom_ndparams", "tags", "uuid", "serial_no", "ctime", "mtime", "simulated", "versions",
)  # fmt: skip
GROUP_FIELDS = (
    "name", "uuid", "alloc_policy", "node_list", "pinst_list", "ndparams", "custom_ndparams",
    "diskparams", "custom_diskparams", "ipolicy", "custom_ipolicy", "tags", "serial_no", "ctime",
    "mtime",
)  # fmt: skip
CLUSTER_FIELDS = (
    "name", "uuid", "ctime", "mtime", "master_node", "tags", "enabled_hypervisors", "hvparams",
    "os_hvp", "osparams", "candidate_pool_size", "mac_prefix", "volume_group_name",
    "prealloc_wipe_disks", "uid_pool",
    "master_ip", "master_netdev", "master_netmask", "master_ip_nodes",
    "enabled_disk_templates", "file_storage_dir", "shared_file_storage_dir", "drbd_port_first",
    "ndparams", "beparams", "nicparams", "diskparams", "ipolicy", "node_cnt", "instance_cnt",
    "serial_no",
)  # fmt: skip


def instance(row: Row, *, static: bool) -> Tree:
    """Return one instance. `static`: only what is configured."""
    return {
        "Instance name": row["name"],
        "UUID": row["uuid"],
        "Serial number": row["serial_no"],
        "Creation time": moment(row["ctime"]),
        "Modification time": moment(row["mtime"]),
        "State": _state(row, static=static),
        "Nodes": _nodes(row),
        "Operating system": row["os"],
        "Operating system parameters": _plain(row["osparams"]),
        "Allocated network port": _or_none(row["network_port"]),
        "Hypervisor": row["hypervisor"],
        "Hypervisor parameters": _parameters(row["hvparams"], row["custom_hvparams"]),
        "Back-end parameters": _parameters(row["beparams"], row["custom_beparams"]),
        "NICs": [_nic(nic) for nic in row["nic.details"]],
        "Disk template": row["disk_template"],
        "Disks": [_disk(disk, static=static) for disk in row["disk.details"]],
        "Tags": _tags(row["tags"]),
    }


def _state(row: Row, *, static: bool) -> str:
    wanted = f"configured to be {row['admin_state']}"
    if static:
        return wanted
    if row["oper_state"] is None:
        return f"{wanted}, actual state is not known ({row['status']})"
    return f"{wanted}, actual state is {'up' if row['oper_state'] else 'down'}"


def _nodes(row: Row) -> Tree:
    group = f"{row['pnode.group']} (UUID {row['pnode.group.uuid']})"
    secondaries = [
        f"{name} (group {of}, group UUID {uuid})"
        for name, of, uuid in zip(
            row["snodes"], row["snodes.group"], row["snodes.group.uuid"], strict=True
        )
    ]
    return [
        {"primary": row["pnode"], "group": group},
        {"secondaries": ", ".join(secondaries)},
    ]


def _nic(nic: Row) -> Tree:
    settings = {name: _leaf(nic["params"].get(name)) for name in ("mode", "link", "vlan")}
    return {
        f"nic/{nic['index']}": "",
        "MAC": nic["mac"],
        "IP": _or_none(nic["ip"]),
        **settings,
        "network": _or_none(nic["network"]),
        "UUID": nic["uuid"],
        "name": _or_none(nic["name"]),
    }


def _disk(disk: Row, *, static: bool) -> Tree:
    tree: dict[str, Tree] = {
        f"disk/{disk['index']}": f"{disk['template']}, size {size(disk['size_mib'])}",
        "access mode": disk["mode"],
    }
    sides = disk["sides"]
    if disk["template"] == "drbd":
        for letter, side in zip("AB", sides, strict=False):
            tree[f"node{letter}"] = f"{side['node']}, minor={side['minor']}"
        tree["port"] = str(disk["port"])
    if not static:
        for side in sides:
            tree[f"on {side['role']}"] = _health(side)
    tree["name"] = _or_none(disk["name"])
    tree["UUID"] = disk["uuid"]
    if any(side["meta_volume"] for side in sides):
        tree["child devices"] = [child for side in sides for child in _children(disk, side)]
    elif sides:
        tree["logical_id"] = sides[0]["volume"]
    return tree


def _children(disk: Row, side: Row) -> list[Tree]:
    return [
        {
            f"data on {side['node']}": f"plain, size {size(disk['size_mib'])}",
            "logical_id": side["volume"],
        },
        {f"metadata on {side['node']}": "plain", "logical_id": side["meta_volume"]},
    ]


def _health(side: Row) -> str:
    seen = side["seen"] or "not seen"
    words = f" ({side['words']})" if side["words"] else ""
    percent = "" if side["sync_percent"] is None else f", {side['sync_percent']:.1f} % in sync"
    left = "" if side["sync_eta_s"] is None else f", {side['sync_eta_s']:.0f} s left"
    wrong = "" if side["health"] == "ok" else f", last reported {side['health']}"
    return f"{side['node']}, status {seen}{words}{percent}{left}{wrong}"


def node(row: Row) -> Tree:
    """Return one node."""
    tree: dict[str, Tree] = {
        "Node name": row["name"],
        "primary ip": row["pip"],
        "secondary ip": row["sip"],
        "master candidate": row["master_candidate"],
        "drained": row["drained"],
        "offline": row["offline"],
        "powered": row["powered"],
        "master_capable": row["master_capable"],
        "vm_capable": row["vm_capable"],
        "joined": row["joined"],
        "reachable": not row["lost"],
        "group": row["group"],
    }
    if row["vm_capable"]:
        tree["primary for instances"] = row["pinst_list"]
        tree["secondary for instances"] = row["sinst_list"]
    tree["node parameters"] = _parameters(row["ndparams"], row["custom_ndparams"])
    if row["versions"]:
        tree["versions"] = _plain(row["versions"])
    if row["simulated"]:
        tree["drivers"] = "simulated"
    tree["tags"] = _tags(row["tags"])
    return tree


def group(row: Row) -> Tree:
    """Return one node group."""
    return {
        "Group": row["name"],
        "UUID": row["uuid"],
        "Allocation policy": row["alloc_policy"],
        "Nodes": row["node_list"],
        "Instances": row["pinst_list"],
        "Node parameters": _parameters(row["ndparams"], row["custom_ndparams"]),
        "Disk parameters": {
            name: _parameters(values, row["custom_diskparams"].get(name, {}))
            for name, values in row["diskparams"].items()
            if values
        },
        "Instance policy": _policy(row["ipolicy"], row["custom_ipolicy"]),
        "Tags": _tags(row["tags"]),
    }


def cluster(row: Row) -> Tree:
    """Return the cluster."""
    return {
        "Cluster name": row["name"],
        "Cluster UUID": row["uuid"],
        "Creation time": moment(row["ctime"]),
        "Modification time": moment(row["mtime"]),
        "Master node": row["master_node"],
        "Tags": _tags(row["tags"]),
        "Default hypervisor": (row["enabled_hypervisors"] or [""])[0],
        "Enabled hypervisors": ", ".join(row["enabled_hypervisors"]),
        "Hypervisor parameters": {name: _plain(own) for name, own in row["hvparams"].items()},
        "OS-specific hypervisor parameters": _plain(row["os_hvp"]),
        "OS parameters": _plain(row["osparams"]),
        "Cluster parameters": {
            "candidate pool size": row["candidate_pool_size"],
            "mac prefix": row["mac_prefix"],
            "master ip": _or_none(row["master_ip"]),
            "master netdev": _or_none(row["master_netdev"]),
            "master netmask": row["master_netmask"],
            "master ip held by": ", ".join(row["master_ip_nodes"]) or "nobody",
            "lvm volume group": row["volume_group_name"],
            "wipe new disks": row["prealloc_wipe_disks"],
            "uid pool": _or_none(uid_pool.text(row["uid_pool"])),
            "enabled disk templates": ", ".join(row["enabled_disk_templates"]),
            "default instance disk template": (row["enabled_disk_templates"] or [""])[0],
            "file storage path": _or_none(row["file_storage_dir"]),
            "shared file storage path": _or_none(row["shared_file_storage_dir"]),
            "first drbd port": row["drbd_port_first"],
            "nodes": row["node_cnt"],
            "instances": row["instance_cnt"],
        },
        "Default node parameters": _plain(row["ndparams"]),
        "Default instance parameters": {"default": _plain(row["beparams"])},
        "Default nic parameters": {"default": _plain(row["nicparams"])},
        "Default disk parameters": {
            name: _plain(own) for name, own in row["diskparams"].items() if own
        },
        "Instance policy - limits for instances": _policy(row["ipolicy"], row["ipolicy"]),
    }


def _policy(filled: Row, own: Row) -> Tree:
    """Return an instance policy; what is inherited stands as `default (value)`."""

    def line(key: str, shown: object) -> Leaf:
        return _leaf(shown) if key in own else f"default ({shown})"

    bounds = [
        {f"{end}/{number}": line("minmax", _sizes(pair[end])) for end in ("min", "max")}
        for number, pair in enumerate(filled["minmax"])
    ]
    tree: dict[str, Tree] = {"bounds specs": bounds}
    if "std" in own:
        tree["std"] = _sizes(filled["std"])
    templates = ", ".join(sorted(filled["disk-templates"]))
    tree["allowed disk templates"] = line("disk-templates", templates)
    for key in ("vcpu-ratio", "spindle-ratio"):
        tree[key] = line(key, filled[key])
    return tree


def _sizes(sizes: Row) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(sizes.items()))


def _parameters(filled: Row, own: Row) -> Tree:
    return {
        name: _leaf(filled[name]) if name in own else f"default ({_leaf(filled[name])})"
        for name in sorted(filled)
    }


def _plain(values: Row) -> Tree:
    return {
        name: _plain(value) if isinstance(value, Mapping) else _leaf(value)
        for name, value in sorted(values.items())
    }


def _leaf(value: object) -> Leaf:
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _or_none(value: object) -> str:
    return "None" if value in (None, "") else str(value)


def _tags(tags: list[str]) -> str:
    return ", ".join(tags) or "(none)"
