"""The columns of instances: Ganeti's, and the details that `gnt-instance info` shows (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nodeagent.calls import InstanceSeen
from projections import params
from projections.objects import ADMIN_UP, Instance
from projections.query import run_state
from projections.query.nic_and_disk_fields import disks_in_detail, nics_in_detail
from projections.query.nic_and_disk_fields import fields as nic_and_disk_fields
from projections.query.table import (
    BOOL,
    NORMAL,
    NOT_HERE,
    NUMBER,
    OTHER,
    TEXT,
    UNIT,
    Cell,
    FieldDef,
    Getter,
    World,
    by_name,
    field,
    stamps,
    value,
)

# Titles that do not follow from the name.
_TITLES = {
    "be/auto_balance": "Auto_balance",
    "be/maxmem": "ConfigMaxMem",
    "be/memory": "ConfigMaxMem",
    "be/minmem": "ConfigMinMem",
    "be/vcpus": "ConfigVCPUs",
    "hv/acpi": "ACPI",
    "hv/boot_order": "Boot_order",
    "hv/cdrom_image_path": "CDROM_image_path",
    "hv/cpu_type": "cpu_type",
    "hv/disk_type": "Disk_type",
    "hv/initrd_path": "Initrd_path",
    "hv/kernel_path": "Kernel_path",
    "hv/nic_type": "NIC_type",
    "hv/pae": "PAE",
    "hv/pci_pass": "pci_pass",
    "hv/vnc_bind_address": "VNC_bind_address",
}
_KINDS = {"size": UNIT, "int": NUMBER, "bool": BOOL}  # by type of the parameter; others: other

# A mirror keeps so much beside the data for its own administration, per side.
DRBD_META_MIB = 128


def fields() -> dict[str, FieldDef]:
    """Return all columns of instances by name."""
    return by_name(
        *_identity(),
        *_placement(),
        *_state(),
        *_parameters(),
        *nic_and_disk_fields(),
        *_disks(),
        *stamps(),
    )


def _identity() -> Iterator[FieldDef]:
    yield value("name", "Instance", TEXT, "Its name", lambda i: i.name)
    yield value("os", "OS", TEXT, "Its operating system", lambda i: i.os)
    yield value("hypervisor", "Hypervisor", TEXT, "Its hypervisor", lambda i: i.hypervisor)
    yield value("forthcoming", "Forthcoming", BOOL, "Only reserved yet", lambda i: False)
    yield field("network_port", "Network_port", OTHER, "The port of its console", _port)
    yield field("console", "Console", OTHER, "How its console is reached", lambda _, i: NOT_HERE)


def _placement() -> Iterator[FieldDef]:
    yield _of(
        "pnode", "Primary_node", TEXT, "Its primary node", lambda w, i: w.node(i.primary).name
    )
    yield _of("pnode.group", "PrimaryNodeGroup", TEXT, "The group of its primary node",
              lambda w, i: w.group_of(w.node(i.primary)).name)  # fmt: skip
    yield _of("pnode.group.uuid", "PrimaryNodeGroupUUID", TEXT, "The id of that group",
              lambda w, i: w.node(i.primary).group)  # fmt: skip
    yield _of("snodes", "Secondary_Nodes", OTHER, "Its secondary nodes",
              lambda w, i: [w.node(uuid).name for uuid in i.nodes[1:]])  # fmt: skip
    yield _of("snodes.group", "SecondaryNodesGroups", OTHER, "The groups of its secondary nodes",
              lambda w, i: [w.group_of(w.node(uuid)).name for uuid in i.nodes[1:]])  # fmt: skip
    yield _of("snodes.group.uuid", "SecondaryNodesGroupsUUID", OTHER, "The ids of those groups",
              lambda w, i: [w.node(uuid).group for uuid in i.nodes[1:]])  # fmt: skip


def _state() -> Iterator[FieldDef]:
    yield value("admin_state", "InstanceState", TEXT, "Wanted: up, down or offline",
                lambda i: i.admin_state)  # fmt: skip
    yield value("admin_state_source", "InstanceStateSource", TEXT, "Who wanted it: admin or user",
                lambda i: i.admin_state_source)  # fmt: skip
    yield value("admin_up", "Autostart", BOOL, "Wanted up", lambda i: i.admin_state == ADMIN_UP)
    yield _of("status", "Status", TEXT, "Wanted and seen in one word", run_state.status_of)
    yield field("oper_state", "Running", BOOL, "Whether it is seen running", _oper_state)
    yield field("oper_ram", "Memory", UNIT, "Memory it is seen to have",
                _seen(lambda seen: seen.memory_mib))  # fmt: skip
    yield field("oper_vcpus", "VCPUs", NUMBER, "Virtual CPUs it is seen to have",
                _seen(lambda seen: seen.vcpus))  # fmt: skip


def _parameters() -> Iterator[FieldDef]:
    yield _of("beparams", "BackendParameters", OTHER, "Backend parameters in force", _be)
    yield _of("hvparams", "HypervisorParameters", OTHER, "Hypervisor parameters in force", _hv)
    yield _of("osparams", "OpSysParameters", OTHER, "OS parameters in force",
              lambda w, i: params.of_os(w.cluster.settings, i.os, i.osparams))  # fmt: skip
    yield value("custom_beparams", "CustomBackendParameters", OTHER,
                "Backend parameters set on it", lambda i: i.beparams)  # fmt: skip
    yield value("custom_hvparams", "CustomHypervisorParameters", OTHER,
                "Hypervisor parameters set on it", lambda i: i.hvparams)  # fmt: skip
    yield value("custom_osparams", "CustomOpSysParameters", OTHER,
                "OS parameters set on it", lambda i: i.osparams)  # fmt: skip
    yield value("custom_nicparams", "CustomNicParameters", OTHER,
                "Parameters set on each interface",
                lambda i: [nic.params for nic in i.nics])  # fmt: skip
    yield _parameter("vcpus", "ConfigVCPUs", NUMBER, _be, "vcpus")
    tables = params.tables()
    for name, parameter in tables.beparams.items():
        yield _parameter(f"be/{name}", "", _KINDS.get(parameter.type, OTHER), _be, name)
    yield _parameter("be/memory", "", UNIT, _be, "maxmem")
    of_any = {
        name: parameter
        for table in tables.hvparams.values()
        for name, parameter in table.items()
        if not parameter.cluster_global
    }
    for name, parameter in of_any.items():
        yield _parameter(f"hv/{name}", "", _KINDS.get(parameter.type, OTHER), _hv, name)


def _disks() -> Iterator[FieldDef]:
    yield value("disk_template", "Disk_template", TEXT, "Template of its disks",
                lambda i: i.template)  # fmt: skip
    yield value("disk.count", "Disks", NUMBER, "How many disks it has", lambda i: len(i.disks))
    yield value("nic.count", "NICs", NUMBER, "How many interfaces it has", lambda i: len(i.nics))
    yield value("disks_active", "DisksActive", BOOL, "Its disks are to be assembled",
                lambda i: i.disks_active)  # fmt: skip
    yield value("disk_usage", "DiskUsage", UNIT, "Space it takes on each of its nodes", _usage)
    yield _of("disk.details", "DiskDetails", OTHER, "All that is known of its disks",
              disks_in_detail)  # fmt: skip
    yield _of("nic.details", "NicDetails", OTHER, "All that is known of its interfaces",
              nics_in_detail)  # fmt: skip
    yield value("generation", "Generation", NUMBER, "How often its primary node changed, and one",
                lambda i: i.generation)  # fmt: skip
    yield value("crashed", "Crashed", BOOL, "Seen to have ended without an order",
                lambda i: i.crashed)  # fmt: skip


def _of(
    name: str, title: str, kind: str, doc: str, get: Callable[[World, Instance], object]
) -> FieldDef:
    return field(name, title, kind, doc, lambda world, row: (NORMAL, get(world, row)))


def _port(_: World, instance: Instance) -> Cell:
    return NOT_HERE if instance.network_port is None else (NORMAL, instance.network_port)


def _be(world: World, instance: Instance) -> dict[str, object]:
    return dict(params.of_instance(world.cluster, instance))


def _hv(world: World, instance: Instance) -> dict[str, object]:
    return dict(params.of_hypervisor(world.cluster, instance))


def _parameter(
    field_name: str,
    title: str,
    kind: str,
    filled: Callable[[World, Instance], dict[str, object]],
    name: str,
) -> FieldDef:
    def get(world: World, row: Instance) -> Cell:
        there = filled(world, row)
        return (NORMAL, there[name]) if name in there else NOT_HERE

    shown = title or _TITLES.get(field_name, field_name)
    return field(field_name, shown, kind, f"The parameter {name} in force", get)


def _seen(get: Callable[[InstanceSeen], object]) -> Getter:
    def of(world: World, row: Instance) -> Cell:
        found = run_state.live(world, row)
        return (NORMAL, get(found)) if isinstance(found, InstanceSeen) else found

    return of


def _oper_state(world: World, row: Instance) -> Cell:
    found = run_state.live(world, row)
    if isinstance(found, InstanceSeen):
        return NORMAL, True
    return (NORMAL, False) if found == NOT_HERE else found


def _usage(instance: Instance) -> int:
    extra = DRBD_META_MIB if instance.template == "drbd" else 0
    return sum(disk.size_mib + extra for disk in instance.disks)
