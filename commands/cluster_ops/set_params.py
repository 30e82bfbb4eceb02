"""OP_CLUSTER_SET_PARAMS: settings of the whole cluster (pure). One record.

What can go wrong: what is in use cannot be disabled (a hypervisor or a disk template of an
instance; the volume group of disks). Smaller pools of candidates make no node give its mark up;
larger ones take in nodes that may be candidates, as far as there are any.
Another address of the master, or another device for it: the leader moves it, by jobs of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from commands import ipolicy, parse, uid_pool
from commands.cluster_ops.master_address import netmask, with_checked_address
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from commands.group_ops.settings import disk_params
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.new_disks import TEMPLATES
from commands.node_ops.set_params import fill_pool, modification
from commands.opcode import Opcode
from commands.parse import CLUSTER
from commands.unsupported import refuse_unsupported
from projections import params
from projections.cluster import Cluster
from projections.events.configuration import ClusterModified
from projections.events.jobs import Lock
from projections.objects import ClusterInfo, Params, Value
from projections.plans import Plan, Record, fact

PerName = dict[str, dict[str, Value]]  # hypervisor or disk template -> parameters
NO_SUCH = "there is no such setting in this cluster yet"
NOT_YET = dict.fromkeys(
    (
        "hv_state",
        "disk_state",
        "osparams_private_cluster",
        "max_running_jobs",
        "max_tracked_jobs",
        "maintain_node_health",
        "drbd_helper",
        "reserved_lvs",
        "hidden_os",
        "blacklisted_os",
        "use_external_mip_script",
        "modify_etc_hosts",
        "gluster_storage_dir",
        "install_image",
        "instance_communication_network",
        "zeroing_image",
        "compression_tools",
        "enabled_user_shutdown",
        "enabled_data_collectors",
        "data_collector_interval",
    ),
    NO_SUCH,
)
HAIL_OPTIONS = ("no-capacity-checks", "ignore-soft-errors")
_PREFIX = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){2}")
# Any: the type of a setting that is refused whatever it is
Unsupported = Any


WITHOUT_EFFECT = {
    "force": "nothing is refused that force would allow",
}


class ClusterSetParams(Opcode, frozen=True, kw_only=True):
    """Change settings of the cluster."""

    NAME: ClassVar[str] = "OP_CLUSTER_SET_PARAMS"

    vg_name: Annotated[str | None, Meta(description="Volume group of disks")] = None
    enabled_hypervisors: Annotated[
        tuple[str, ...] | None, Meta(description="The first one is the default")
    ] = None
    enabled_disk_templates: Annotated[
        tuple[str, ...] | None, Meta(description="The first one is the default")
    ] = None
    hvparams: Annotated[PerName | None, Meta(description="Per hypervisor: parameters")] = None
    beparams: Annotated[dict[str, Value] | None, Meta(description="Backend parameters")] = None
    nicparams: Annotated[dict[str, Value] | None, Meta(description="Of interfaces")] = None
    ndparams: Annotated[dict[str, Value] | None, Meta(description="Node parameters")] = None
    diskparams: Annotated[PerName | None, Meta(description="Per disk template: parameters")] = None
    os_hvp: Annotated[
        dict[str, PerName] | None, Meta(description="Per OS and hypervisor: parameters")
    ] = None
    osparams: Annotated[
        dict[str, dict[str, str | None]] | None, Meta(description="Per OS: its parameters")
    ] = None
    ipolicy: Annotated[
        dict[str, Any] | None, Meta(description="Which sizes and templates instances may have")
    ] = None
    candidate_pool_size: Annotated[
        Annotated[int, Meta(gt=0)] | None,
        Meta(description="How many master candidates there should be"),
    ] = None
    mac_prefix: Annotated[str | None, Meta(description="Of drawn MAC addresses")] = None
    file_storage_dir: Annotated[str | None, Meta(description="Directory of file disks")] = None
    shared_file_storage_dir: Annotated[
        str | None, Meta(description="Directory of sharedfile disks")
    ] = None
    default_iallocator: Annotated[
        str | None, Meta(description="What chooses nodes; hail, or a program of the nodes")
    ] = None
    default_iallocator_params: Annotated[
        dict[str, Value] | None, Meta(description="Options that it gets")
    ] = None
    master_netdev: Annotated[
        str | None, Meta(description="Interface of the master's address; empty: no address")
    ] = None
    master_netmask: Annotated[
        str | None, Meta(description="Bits of its network; 0: the address alone")
    ] = None
    master_ip: Annotated[str | None, Meta(description="Address by which the master is reached")] = (
        None
    )
    prealloc_wipe_disks: Annotated[
        Unsupported, Meta(description="Yes or no: empty new disks before anybody gets them")
    ] = None  # orders from when it was refused hold whatever was given
    # As above: text or pairs
    uid_pool: Annotated[
        Unsupported, Meta(description="Users whom guests run as with security_model=pool")
    ] = None
    add_uids: Annotated[Unsupported, Meta(description="Users that join the pool")] = None
    remove_uids: Annotated[Unsupported, Meta(description="Users that leave it")] = None
    force: bool = False
    hv_state: Unsupported = None
    disk_state: Unsupported = None
    osparams_private_cluster: Unsupported = None
    max_running_jobs: Unsupported = None
    max_tracked_jobs: Unsupported = None
    maintain_node_health: Unsupported = None
    drbd_helper: Unsupported = None
    reserved_lvs: Unsupported = None
    hidden_os: Unsupported = None
    blacklisted_os: Unsupported = None
    use_external_mip_script: Unsupported = None
    modify_etc_hosts: Unsupported = None
    gluster_storage_dir: Unsupported = None
    install_image: Unsupported = None
    instance_communication_network: Unsupported = None
    zeroing_image: Unsupported = None
    compression_tools: Unsupported = None
    enabled_user_shutdown: Unsupported = None
    enabled_data_collectors: Unsupported = None
    data_collector_interval: Unsupported = None


def lock(op: ClusterSetParams, cluster: Cluster) -> tuple[Lock, ...]:
    """The cluster's settings."""
    return locks(exclusive=("cluster",))


def looks_at(op: ClusterSetParams, cluster: Cluster) -> Iterable[str]:
    """The master's node, which runs the allocator that is named."""
    return (cluster.settings.master,) if op.default_iallocator else ()


def decide(op: ClusterSetParams, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Record the settings."""
    if so_far:
        return Done()
    refuse_unsupported(op, NOT_YET)
    now = cluster.settings
    new = _changed(op, now)
    if op.default_iallocator is not None:
        _check_is_there(new.default_iallocator, cluster, given)
    _check_in_use(cluster, now, new)
    size = op.candidate_pool_size
    taken_in = () if size is None else fill_pool(cluster, size)
    if new == now and not taken_in:
        raise Refused(
            WRONG_INPUT, "nothing would change", hint="such as --enabled-disk-templates=drbd,plain"
        )
    modified = Record(
        id="modified",
        facts=(
            fact("cluster", ClusterModified(info=new)),
            *(fact(f"node/{each.uuid}", modification(each)) for each in taken_in),
        ),
        undo=(
            fact("cluster", ClusterModified(info=now)),
            *(
                fact(f"node/{each.uuid}", modification(cluster.nodes[each.uuid]))
                for each in taken_in
            ),
        ),
    )
    return Plan(steps=(modified,), explanation=tuple(f"promoted={each.name}" for each in taken_in))


def _changed(op: ClusterSetParams, now: ClusterInfo) -> ClusterInfo:
    tables = params.tables()
    changes: dict[str, Any] = {  # Any: fields of different types
        "beparams": parse.modified(now.beparams, op.beparams or {}, tables.beparams, CLUSTER),
        "nicparams": parse.modified(now.nicparams, op.nicparams or {}, tables.nicparams, CLUSTER),
        "ndparams": parse.modified(now.ndparams, op.ndparams or {}, tables.ndparams, CLUSTER),
        "diskparams": disk_params(now.diskparams, op.diskparams or {}, CLUSTER),
        "hvparams": _hvparams(now.hvparams, op.hvparams or {}),
        "os_hvp": {
            **now.os_hvp,
            **{
                os: _hvparams(now.os_hvp.get(os, {}), sets)
                for os, sets in (op.os_hvp or {}).items()
            },
        },
        "osparams": _osparams(now.osparams, op.osparams or {}),
    }
    if op.vg_name is not None:
        changes["vg_name"] = op.vg_name
    if op.ipolicy:
        changes["ipolicy"] = ipolicy.modified(now.ipolicy, op.ipolicy, of_group=False)
        ipolicy.require_consistent(changes["ipolicy"])
    if op.candidate_pool_size is not None:
        changes["candidate_pool_size"] = op.candidate_pool_size
    if op.enabled_hypervisors is not None:
        changes["enabled_hypervisors"] = _some(
            op.enabled_hypervisors, tables.hvparams, "hypervisor"
        )
    if op.enabled_disk_templates is not None:
        templates = _some(op.enabled_disk_templates, TEMPLATES, "disk template")
        changes["enabled_disk_templates"] = templates
    if op.prealloc_wipe_disks is not None:
        changes["prealloc_wipe_disks"] = _flag(op.prealloc_wipe_disks, "prealloc_wipe_disks")
    changes["uid_pool"] = _uid_pool(op, now)
    if op.mac_prefix is not None:
        changes["mac_prefix"] = _mac_prefix(op.mac_prefix)
    if op.default_iallocator is not None:
        changes["default_iallocator"] = allocator_name(op.default_iallocator)
    if op.default_iallocator_params is not None:
        changes["default_iallocator_params"] = op.default_iallocator_params
    if op.master_netmask is not None:
        changes["master_netmask"] = netmask(op.master_netmask)
    for field in ("master_netdev", "master_ip"):
        if getattr(op, field) is not None:
            changes[field] = getattr(op, field)
    for field in ("file_storage_dir", "shared_file_storage_dir"):
        if getattr(op, field) is not None:
            changes[field] = _directory(getattr(op, field), field)
    new = msgspec.structs.replace(now, **changes)
    return with_checked_address(with_checked_allocator(new))


def _uid_pool(op: ClusterSetParams, now: ClusterInfo) -> tuple[uid_pool.Range, ...]:
    pool = now.uid_pool if op.uid_pool is None else uid_pool.uid_ranges(op.uid_pool, "uid_pool")
    return uid_pool.changed(
        pool,
        add=uid_pool.uid_ranges(op.add_uids or "", "add_uids"),
        remove=uid_pool.uid_ranges(op.remove_uids or "", "remove_uids"),
    )


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise Refused(WRONG_INPUT, f"{name}: {value!r} is neither yes nor no", hint="true, false")
    return value


def with_checked_allocator(info: ClusterInfo) -> ClusterInfo:
    """Return the settings. Raises Refused if the built-in allocator has not one of its options."""
    if not info.default_iallocator:
        for option in info.default_iallocator_params:
            parse.choice(option, HAIL_OPTIONS, "option of hail")
    return info


def _check_is_there(name: str, cluster: Cluster, given: Given) -> None:
    """Raise Refused for an allocator that the master's node has not, as far as it is known."""
    node = cluster.nodes[cluster.settings.master]
    status = given.seen.get(node.uuid)
    known = None if status is None else status.allocators
    if name and known is not None and name not in known:
        raise Refused(
            WRONG_INPUT,
            f"node {node.name} has no allocator {name!r}",
            hint=f"there are: {', '.join(('hail', *known))}; a new one is seen after some seconds",
        )


def allocator_name(name: str) -> str:
    """Return the name as it is kept: nothing for the built-in one. Raises Refused."""
    if "/" in name or name.startswith((".", "-")):
        raise Refused(
            WRONG_INPUT,
            f"{name!r} cannot be the name of an allocator",
            hint="hail, or the name of a program on the agents' allocator_path",
        )
    return "" if name == "hail" else name


def _hvparams(own: dict[str, Params], changes: PerName) -> dict[str, Params]:
    result = dict(own)
    for name, values in changes.items():
        parse.choice(name, params.tables().hvparams, "hypervisor")
        table = params.tables().hvparams[name]
        result[name] = parse.modified(result.get(name, {}), values, table, CLUSTER)
    return {name: values for name, values in result.items() if values}


def _osparams(
    own: dict[str, dict[str, str]], changes: dict[str, dict[str, str | None]]
) -> dict[str, dict[str, str]]:
    result = dict(own)
    for os, values in changes.items():
        merged = {**result.get(os, {}), **values}
        result[os] = {name: value for name, value in merged.items() if value is not None}
    return {os: values for os, values in result.items() if values}


def _some(names: Iterable[str], known: Iterable[str], what: str) -> tuple[str, ...]:
    every = tuple(dict.fromkeys(names))
    if not every:
        raise Refused(
            WRONG_INPUT, f"at least one {what} must be enabled", hint=", ".join(sorted(known))
        )
    return tuple(parse.choice(name, known, what) for name in every)


def _mac_prefix(text: str) -> str:
    prefix = text.strip().lower()
    if not _PREFIX.fullmatch(prefix):
        raise Refused(
            WRONG_INPUT,
            f"{text!r} is not the beginning of MAC addresses",
            hint="three bytes, the first one even: aa:00:00",
        )
    return prefix


def _directory(path: str, field: str) -> str:
    if path and (not path.startswith("/") or {".", ".."} & set(path.split("/"))):
        raise Refused(
            WRONG_INPUT, f"{field}: {path!r} is not an absolute path", hint="/srv/ganeti/files"
        )
    return path.rstrip("/")


def _check_in_use(cluster: Cluster, now: ClusterInfo, new: ClusterInfo) -> None:
    """Refuse what would leave an instance without what it uses."""
    lost_hypervisors = set(now.enabled_hypervisors) - set(new.enabled_hypervisors)
    lost_templates = set(now.enabled_disk_templates) - set(new.enabled_disk_templates)
    for instance in cluster.instances.values():
        in_use = {instance.hypervisor} & lost_hypervisors or {instance.template} & lost_templates
        if in_use:
            raise Refused(
                WRONG_STATE,
                f"{instance.name} uses {in_use.pop()}",
                hint="only what no instance uses can be disabled",
            )
        default_vg = any(not disk.vg for disk in instance.disks)
        if new.vg_name != now.vg_name and default_vg and instance.template in ("plain", "drbd"):
            raise Refused(
                WRONG_STATE,
                f"disks of {instance.name} are in {now.vg_name}",
                hint="the volume group can change while no disk is in it",
            )


HANDLER = Handler(opcode=ClusterSetParams, decide=decide, locks=lock, looks_at=looks_at)
