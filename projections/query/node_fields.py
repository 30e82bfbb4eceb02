"""The columns of nodes (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nodeagent.calls import NodeStatus
from projections import params
from projections.objects import Node
from projections.query.table import (
    BOOL,
    FLOAT,
    IS_OFFLINE,
    NORMAL,
    NOT_HERE,
    NOTHING,
    NUMBER,
    OTHER,
    TEXT,
    UNIT,
    Cell,
    FieldDef,
    World,
    by_name,
    field,
    stamps,
    value,
)

_NDP_TITLES = {
    "exclusive_storage": "ExclusiveStorage",
    "oob_program": "OutOfBandProgram",
    "ovs": "OpenvSwitch",
    "ovs_link": "OpenvSwitchLink",
    "ovs_name": "OpenvSwitchName",
    "spindle_count": "SpindleCount",
}
_NDP_KINDS = {"float": FLOAT, "bool": BOOL, "int": NUMBER}  # others: other


def fields() -> dict[str, FieldDef]:
    """Return all columns of nodes by name."""
    return by_name(*_own(), *_related(), *_parameters(), *_live(), *stamps())


def ndp_columns() -> Iterator[tuple[str, str, str]]:
    """Yield name, title and kind of the columns of node parameters; groups have them too."""
    for name, parameter in params.tables().ndparams.items():
        kind = _NDP_KINDS.get(parameter.type, OTHER)
        yield name, _NDP_TITLES.get(name, f"ndp/{name}"), kind


def role_of(world: World, node: Node) -> str:
    """Return Ganeti's letter: M master, C master candidate, D drained, O offline, R regular."""
    if node.uuid == world.cluster.settings.master:
        return "M"
    if node.master_candidate:
        return "C"
    if node.drained:
        return "D"
    return "O" if node.offline else "R"


def _own() -> Iterator[FieldDef]:
    yield value("name", "Node", TEXT, "Its name", lambda n: n.name)
    yield value("pip", "PrimaryIP", TEXT, "Its primary address", lambda n: n.primary_ip)
    yield value("sip", "SecondaryIP", TEXT, "Its address for replication",
                lambda n: n.secondary_ip or n.primary_ip)  # fmt: skip
    yield value("offline", "Offline", BOOL, "Not to be contacted", lambda n: n.offline)
    yield value("drained", "Drained", BOOL, "To get no new instances", lambda n: n.drained)
    yield value("witness", "Witness", BOOL, "Votes on the log and never leads", lambda n: n.witness)
    yield value("master_candidate", "MasterC", BOOL, "May become master",
                lambda n: n.master_candidate)  # fmt: skip
    yield value("master_capable", "MasterCapable", BOOL, "Could become a candidate",
                lambda n: n.master_capable)  # fmt: skip
    yield value("vm_capable", "VMCapable", BOOL, "Can hold instances", lambda n: n.vm_capable)
    yield value("powered", "Powered", BOOL, "Meant to be powered on", lambda n: n.powered)
    yield value("joined", "Joined", BOOL, "Its agent has joined", lambda n: n.joined)
    yield value("lost", "Lost", BOOL, "Silent for longer than it may be", lambda n: n.lost)


def _related() -> Iterator[FieldDef]:
    yield _of("role", "Role", TEXT, "M master, C candidate, D drained, O offline, R regular",
              role_of)  # fmt: skip
    yield _of("master", "IsMaster", BOOL, "It leads", lambda w, n: role_of(w, n) == "M")
    yield _of("group", "Group", TEXT, "Its group", lambda w, n: w.group_of(n).name)
    yield value("group.uuid", "GroupUUID", TEXT, "The id of its group", lambda n: n.group)
    yield _of("pinst_cnt", "Pinst", NUMBER, "Instances whose primary it is",
              lambda w, n: len(w.cluster.primaries.get(n.uuid, ())))  # fmt: skip
    yield _of("sinst_cnt", "Sinst", NUMBER, "Instances whose secondary it is",
              lambda w, n: len(w.cluster.secondaries.get(n.uuid, ())))  # fmt: skip
    yield _of("pinst_list", "PriInstances", OTHER, "Instances whose primary it is",
              lambda w, n: [instance.name for instance in w.primaries(n)])  # fmt: skip
    yield _of("sinst_list", "SecInstances", OTHER, "Instances whose secondary it is",
              lambda w, n: [instance.name for instance in w.secondaries(n)])  # fmt: skip


def _parameters() -> Iterator[FieldDef]:
    yield _of("ndparams", "NodeParameters", OTHER, "Node parameters in force", _filled)
    yield value("custom_ndparams", "CustomNodeParameters", OTHER, "Node parameters set on it",
                lambda n: n.ndparams)  # fmt: skip
    for name, title, kind in ndp_columns():
        yield _of(f"ndp/{name}", title, kind, f"The parameter {name} in force", _parameter(name))


def _live() -> Iterator[FieldDef]:
    yield _seen("mtotal", "MTotal", UNIT, "Memory", lambda s: s.memory_total_mib)
    yield _seen("mfree", "MFree", UNIT, "Free memory", lambda s: s.memory_free_mib)
    yield _seen("mnode", "MNode", UNIT, "Memory the node uses itself", lambda s: s.memory_own_mib)
    yield _seen("dtotal", "DTotal", UNIT, "Space for disks", lambda s: s.disk_total_mib)
    yield _seen("dfree", "DFree", UNIT, "Free space for disks", lambda s: s.disk_free_mib)
    yield _seen("ctotal", "CTotal", NUMBER, "Logical CPUs", lambda s: s.cpus)
    yield _seen("csockets", "CSockets", NUMBER, "CPU sockets", lambda s: s.cpu_sockets)
    yield _seen("cnodes", "CNodes", NUMBER, "NUMA nodes", lambda s: s.cpu_nodes)
    yield _seen("cnos", "CNOs", NUMBER, "Logical CPUs of the node itself", lambda s: None)
    yield _seen("sptotal", "SpTotal", NUMBER, "Spindles", lambda s: s.spindles_total)
    yield _seen("spfree", "SpFree", NUMBER, "Free spindles", lambda s: s.spindles_free)
    yield _seen("bootid", "BootID", TEXT, "New at every start of the node", lambda s: s.boot_id)
    yield _seen("hv_state", "HypervisorState", OTHER, "State of the hypervisor", lambda s: None)
    yield _seen("disk_state", "DiskState", OTHER, "State of the storage", lambda s: None)
    yield _seen("simulated", "Simulated", BOOL, "Its drivers are simulated", lambda s: s.simulated)
    yield _seen("versions", "Versions", OTHER, "Of kernel, hypervisor and tools",
                lambda s: s.versions)  # fmt: skip


def _of(
    name: str, title: str, kind: str, doc: str, get: Callable[[World, Node], object]
) -> FieldDef:
    return field(name, title, kind, doc, lambda world, row: (NORMAL, get(world, row)))


def _filled(world: World, node: Node) -> dict[str, object]:
    return dict(params.of_node(world.cluster, node))


def _parameter(name: str) -> Callable[[World, Node], object]:
    return lambda world, node: _filled(world, node).get(name)


def _seen(
    name: str, title: str, kind: str, doc: str, get: Callable[[NodeStatus], object]
) -> FieldDef:
    def of(world: World, node: Node) -> Cell:
        if node.offline:
            return IS_OFFLINE
        status = world.status_of(node)
        if status is None:
            return NOTHING
        found = get(status)
        return NOT_HERE if found is None else (NORMAL, found)

    return field(name, title, kind, doc, of)
