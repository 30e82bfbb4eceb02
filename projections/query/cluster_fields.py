"""The columns of the cluster itself: one row (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from projections import ipolicy, params
from projections.objects import ClusterInfo
from projections.query.table import (
    BOOL,
    NORMAL,
    NOT_HERE,
    NUMBER,
    OTHER,
    TEXT,
    TIMESTAMP,
    FieldDef,
    World,
    by_name,
    field,
    stamps,
    value,
)

SOFTWARE_VERSION = "0.1.0"
CONFIG_VERSION = 1
OS_API_VERSION = 20
PROTOCOL_VERSION = 1


def fields() -> dict[str, FieldDef]:
    """Return all columns of the cluster by name."""
    return by_name(*_identity(), *_versions(), *_settings(), *_parameters(), *stamps())


def _identity() -> Iterator[FieldDef]:
    yield value("name", "Name", TEXT, "Its name", lambda c: c.name)
    yield value("cluster_name", "Name", TEXT, "Its name", lambda c: c.name)
    yield field("master_node", "Master", TEXT, "The node that leads",
                lambda w, c: (NORMAL, w.node(c.master).name) if c.master else NOT_HERE)  # fmt: skip
    yield _of(
        "node_cnt", "Nodes", NUMBER, "How many nodes it has", lambda w, _: len(w.cluster.nodes)
    )
    yield _of("instance_cnt", "Instances", NUMBER, "How many instances it has",
              lambda w, _: len(w.cluster.instances))  # fmt: skip
    yield value("destroyed", "Destroyed", BOOL, "It was given up", lambda c: c.destroyed)


def _versions() -> Iterator[FieldDef]:
    yield value("software_version", "SoftwareVersion", TEXT, "Version of the master daemon",
                lambda c: SOFTWARE_VERSION)  # fmt: skip
    yield value("config_version", "ConfigVersion", NUMBER, "Version of the configuration",
                lambda c: CONFIG_VERSION)  # fmt: skip
    yield value("export_version", "ExportVersion", NUMBER, "Version of exports", lambda c: 0)
    yield value("os_api_version", "OsApiVersion", NUMBER, "Version of the OS interface",
                lambda c: OS_API_VERSION)  # fmt: skip
    yield value("protocol_version", "ProtocolVersion", NUMBER, "Version of the wire format",
                lambda c: PROTOCOL_VERSION)  # fmt: skip
    yield field("vcs_version", "VCSVersion", TEXT, "Revision it was built from",
                lambda _, c: NOT_HERE)  # fmt: skip
    yield field("architecture", "ArchInfo", OTHER, "Architecture of the nodes",
                lambda _, c: NOT_HERE)  # fmt: skip


def _settings() -> Iterator[FieldDef]:
    yield value("drain_flag", "QueueDrained", BOOL, "New jobs are refused", lambda c: False)
    yield field("watcher_pause", "WatcherPause", TIMESTAMP, "Until when the watcher rests",
                lambda _, c: NOT_HERE)  # fmt: skip
    yield value("volume_group_name", "VgName", TEXT, "Volume group of disks", lambda c: c.vg_name)
    yield value("prealloc_wipe_disks", "PreallocWipeDisks", BOOL, "New disks are emptied first",
                lambda c: c.prealloc_wipe_disks)  # fmt: skip
    yield value("uid_pool", "UidPool", OTHER, "Ranges of users whom guests may run as",
                lambda c: [list(each) for each in c.uid_pool])  # fmt: skip
    yield value("mac_prefix", "MacPrefix", TEXT, "How drawn MAC addresses begin",
                lambda c: c.mac_prefix)  # fmt: skip
    yield value("enabled_hypervisors", "Hypervisors", OTHER, "The first is the default",
                lambda c: list(c.enabled_hypervisors))  # fmt: skip
    yield value("enabled_disk_templates", "DiskTemplates", OTHER, "Templates that may be used",
                lambda c: list(c.enabled_disk_templates))  # fmt: skip
    yield value("candidate_pool_size", "CandidatePoolSize", NUMBER, "Wanted master candidates",
                lambda c: c.candidate_pool_size)  # fmt: skip
    yield value("default_iallocator", "DefaultIAllocator", TEXT, "What chooses nodes",
                lambda c: c.default_iallocator or "hail")  # fmt: skip
    yield value("default_iallocator_params", "DefaultIAllocatorParams", OTHER,
                "Options that it gets", lambda c: c.default_iallocator_params)  # fmt: skip
    yield value("file_storage_dir", "FileStorageDir", TEXT, "Where disks in files lie",
                lambda c: c.file_storage_dir)  # fmt: skip
    yield value("shared_file_storage_dir", "SharedFileStorageDir", TEXT,
                "Where disks in shared files lie", lambda c: c.shared_file_storage_dir)  # fmt: skip
    yield value("master_ip", "MasterIP", TEXT, "Address by which the master is reached",
                lambda c: c.master_ip)  # fmt: skip
    yield value("master_netdev", "MasterNetdev", TEXT, "Interface that bears it",
                lambda c: c.master_netdev)  # fmt: skip
    yield value("master_netmask", "MasterNetmask", NUMBER, "Bits of its network",
                lambda c: c.master_netmask)  # fmt: skip
    yield value("master_ip_up", "MasterIPUp", BOOL, "It is to be up", lambda c: c.master_ip_up)
    yield _of("master_ip_nodes", "MasterIPNodes", OTHER, "Nodes that were told to hold it",
              lambda w, c: [w.node(held.node).name for held in c.master_ip_held])  # fmt: skip
    yield value("drbd_port_first", "DrbdPortFirst", NUMBER, "Lowest port of a mirror",
                lambda c: c.drbd_port_first)  # fmt: skip


def _parameters() -> Iterator[FieldDef]:
    yield value("beparams", "BackendParameters", OTHER, "Backend parameters in force",
                lambda c: params.backend(c, {}))  # fmt: skip
    yield value("hvparams", "HypervisorParameters", OTHER,
                "Parameters in force of each enabled hypervisor", _hvparams)  # fmt: skip
    yield value("nicparams", "NicParameters", OTHER, "Interface parameters in force",
                lambda c: params.interface(c, {}))  # fmt: skip
    yield value("ndparams", "NodeParameters", OTHER, "Node parameters in force",
                lambda c: {**params.defaults(params.tables().ndparams), **c.ndparams})  # fmt: skip
    yield value("diskparams", "DiskParameters", OTHER,
                "Parameters in force of each enabled disk template", _diskparams)  # fmt: skip
    yield value("ipolicy", "InstancePolicy", OTHER, "The bounds of instances in force",
                lambda c: ipolicy.as_ganeti(ipolicy.in_force(c.ipolicy)))  # fmt: skip
    yield value("os_hvp", "OsHypervisorParameters", OTHER, "Hypervisor parameters set per OS",
                lambda c: c.os_hvp)  # fmt: skip
    yield value("osparams", "OpSysParameters", OTHER, "Parameters set per OS",
                lambda c: c.osparams)  # fmt: skip


def _of(
    name: str, title: str, kind: str, doc: str, get: Callable[[World, ClusterInfo], object]
) -> FieldDef:
    return field(name, title, kind, doc, lambda world, row: (NORMAL, get(world, row)))


def _hvparams(info: ClusterInfo) -> dict[str, object]:
    return {name: params.hypervisor(info, name, "", {}) for name in info.enabled_hypervisors}


def _diskparams(info: ClusterInfo) -> dict[str, object]:
    tables = params.tables().diskparams
    return {
        name: {**params.defaults(tables.get(name, {})), **info.diskparams.get(name, {})}
        for name in info.enabled_disk_templates
    }
