"""Values as Ganeti's debugging output writes them: records of Haskell, `Name {field = value}`.

People and scripts look for fields of these lines (`runSt = StatusDown`), so names and notation are
Ganeti's. Fields that only its own engine has (aliases, weights, twins for what is reserved) are
left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from commands.placement.model import Cluster, Group, Instance, Node, Policy, Spec
from tools.htools import iallocator
from tools.htools.figures import shown

_TEMPLATES: Final = {
    "diskless": "DTDiskless",
    "file": "DTFile",
    "sharedfile": "DTSharedFile",
    "plain": "DTPlain",
    "blockdev": "DTBlock",
    "drbd": "DTDrbd8",
    "rbd": "DTRbd",
    "ext": "DTExt",
    "gluster": "DTGluster",
}

_STATUSES: Final = {
    "running": "Running",
    "ADMIN_down": "StatusDown",
    "ADMIN_offline": "StatusOffline",
    "ERROR_up": "ErrorUp",
    "ERROR_down": "ErrorDown",
    "ERROR_nodedown": "NodeDown",
    "ERROR_nodeoffline": "NodeOffline",
    "ERROR_wrongnode": "WrongNode",
    "USER_down": "UserDown",
}

_POLICIES: Final = {
    "preferred": "AllocPreferred",
    "last_resort": "AllocLastResort",
    "unallocable": "AllocUnallocable",
}

_MODES: Final = {
    "primary-only": "ChangePrimary",
    "secondary-only": "ChangeSecondary",
    "all": "ChangeAll",
}


def policy_text(policy: Policy) -> str:
    """An instance policy."""
    pairs = (
        _record(
            "MinMaxISpecs",
            minMaxISpecsMinSpec=_spec(pair.low),
            minMaxISpecsMaxSpec=_spec(pair.high),
        )
        for pair in policy.bounds
    )
    return _record(
        "IPolicy",
        iPolicyMinMaxISpecs=_list(pairs),
        iPolicyStdSpec=_spec(policy.standard),
        iPolicyDiskTemplates=_list(_TEMPLATES[template] for template in policy.templates),
        iPolicyVcpuRatio=shown(policy.vcpu_ratio),
        iPolicySpindleRatio=shown(policy.spindle_ratio),
    )


def question_text(question: iallocator.Question, cluster: Cluster) -> str:
    """The question of a request; instances, nodes and groups by their numbers."""
    instances = {inst.name: index for index, inst in enumerate(cluster.instances)}
    nodes = {node.name: index for index, node in enumerate(cluster.nodes)}
    groups = {group.name: index for index, group in enumerate(cluster.groups)}
    groups |= {group.uuid: index for index, group in enumerate(cluster.groups)}
    match question:
        case iallocator.Allocate(new=new, restrict_to=only):
            allowed = "Nothing" if only is None else f"(Just {_texts(sorted(only))})"
            return f"Allocate {_new(new)} {allowed}"
        case iallocator.MultiAllocate(new=many):
            return f"MultiAllocate {_list(_new(new, joint=',') for new in many)}"
        case iallocator.AllocateSecondary(name=name):
            return f"AllocateSecondary {instances[name]}"
        case iallocator.Relocate(name=name, nodes=count, leave=leave):
            return f"Relocate {instances[name]} {count} {_numbers(leave, nodes)}"
        case iallocator.NodeEvacuate(names=names, mode=mode):
            return f"NodeEvacuate {_numbers(names, instances)} {_MODES[mode]}"
        case iallocator.ChangeGroup(names=names, groups=wanted):
            return f"ChangeGroup {_numbers(wanted, groups)} {_numbers(names, instances)}"
    assert_never(question)


def cluster_record(cluster: Cluster) -> str:
    """All data of a cluster."""
    return _record(
        "ClusterData",
        cdGroups=_map(_group(number, group) for number, group in enumerate(cluster.groups)),
        cdNodes=_map(_node(number, node) for number, node in enumerate(cluster.nodes)),
        cdInstances=_map(_instance(number, inst) for number, inst in enumerate(cluster.instances)),
        cdTags=_texts(cluster.tags),
        cdIPolicy=policy_text(cluster.policy),
    )


# --- parts ------------------------------------------------------------------------------------


def _group(number: int, group: Group) -> str:
    return _record(
        "Group",
        name=_text(group.name),
        uuid=_text(group.uuid),
        idx=str(number),
        allocPolicy=_POLICIES[group.alloc_policy],
        networks=_texts(group.networks),
        iPolicy=policy_text(group.policy),
        allTags=_texts(group.tags),
    )


def _node(number: int, node: Node) -> str:
    return _record(
        "Node",
        name=_text(node.name),
        tMem=shown(node.total_memory),
        nMem=str(node.node_memory),
        fMem=str(node.free_memory),
        tDsk=shown(node.total_disk),
        fDsk=str(node.free_disk),
        tCpu=shown(node.cpus),
        tCpuSpeed=shown(node.cpu_speed),
        nCpu=str(node.node_cpus),
        tSpindles=str(node.spindles),
        fSpindles=str(node.free_spindles),
        idx=str(number),
        offline=str(node.offline),
        isMaster=str(node.master),
        nTags=_texts(node.tags),
        group=str(node.group),
        exclStorage=str(node.exclusive_storage),
    )


def _instance(number: int, inst: Instance) -> str:
    disks = (
        _record(
            "Disk",
            dskSize=str(disk.size_mib),
            dskSpindles="Nothing" if disk.spindles is None else f"Just {disk.spindles}",
        )
        for disk in inst.disks
    )
    return _record(
        "Instance",
        name=_text(inst.name),
        mem=str(inst.memory),
        dsk=str(inst.disk),
        disks=_list(disks),
        vcpus=str(inst.vcpus),
        runSt=_STATUSES[inst.status],
        pNode=str(inst.primary),
        sNode=str(inst.secondary),
        idx=str(number),
        autoBalance=str(inst.auto_balance),
        diskTemplate=_TEMPLATES[inst.template],
        spindleUse=str(inst.spindle_use),
        allTags=_texts(inst.tags),
        forthcoming=str(inst.forthcoming),
    )


def _new(new: iallocator.NewInstance, *, joint: str = " ") -> str:
    group = "Nothing" if new.group is None else f"(Just {_text(new.group)})"
    instance, details = _instance(-1, new.instance), f"AllocDetails {new.nodes} {group}"
    return f"({instance}{joint}{details})" if joint == "," else f"({instance}) ({details})"


def _spec(spec: Spec) -> str:
    return _record(
        "ISpec",
        iSpecMemorySize=str(spec.memory_mib),
        iSpecCpuCount=str(spec.cpus),
        iSpecDiskSize=str(spec.disk_mib),
        iSpecDiskCount=str(spec.disks),
        iSpecNicCount=str(spec.nics),
        iSpecSpindleUse=str(spec.spindles),
    )


def _record(kind: str, /, **fields: str) -> str:
    inner = ", ".join(f"{name} = {value}" for name, value in fields.items())
    return f"{kind} {{{inner}}}"


def _list(items: Iterable[str]) -> str:
    return f"[{','.join(items)}]"


def _map(items: Iterable[str]) -> str:
    return f"fromList {_list(f'({number},{item})' for number, item in enumerate(items))}"


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _texts(texts: Iterable[str]) -> str:
    return _list(map(_text, texts))


def _numbers(names: Iterable[str], numbers: dict[str, int]) -> str:
    return _list(str(numbers[name]) for name in names)
