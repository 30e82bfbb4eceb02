"""What `gnt-cluster verify` looks for: pure functions from what is wanted and seen to findings.

Codes are Ganeti's (`ENODE...` about a node, `EINSTANCE...` about an instance, `ECLUSTER...`), so
that `--ignore-errors` and scripts go on working. Three are Cairn's own: `ENODEDUTY` (a node still
owes the undo of something), `EJOBATTENTION` (a job can go neither forward nor back) and
`EMASTERADDRESS` (the master's address is on no node, or may be on a second one).

What moves while the nodes are asked may be found wrong for a moment: nothing is locked, since a
verification that waits for every job would be of no use when one is stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from commands import ipolicy
from commands.capacity import RUNS, memory_need_mib, room_on, running
from commands.cluster_ops import holdings, hosts
from commands.cluster_ops.finding import ERROR, WARNING, Checks, Finding, answered, sorted_nodes
from commands.cluster_ops.master_address import wanted_address
from commands.disks import MIRRORED
from commands.nodes import why_unreachable
from projections.cluster import Cluster
from projections.objects import ADMIN_UP, Instance

NPLUSONE = "nplusone_mem"

Check = Callable[[Cluster, Checks], Iterator[Finding]]


def candidates(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """As many master candidates as there should be."""
    info = cluster.settings
    have = sum(node.master_candidate for node in cluster.nodes.values())
    could = sum(
        node.master_capable and not (node.offline or node.drained)
        for node in cluster.nodes.values()
    )
    wanted = min(info.candidate_pool_size, could)
    if have < wanted:
        text = f"{have} master candidates, {wanted} are wanted"
        yield Finding(WARNING, "ECLUSTERCFG", info.name, text)


def reach(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """Every node answers, unless an operator has said that it is off."""
    for node in sorted_nodes(cluster):
        problem = why_unreachable(node)
        if problem:
            severity = WARNING if node.offline else ERROR
            yield Finding(severity, "ENODERPC", node.name, problem)
        elif node.uuid not in checks:
            yield Finding(ERROR, "ENODERPC", node.name, "did not answer")


def parked(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """No opcode waits for a person, with its locks held and something left on nodes."""
    for (job, _), opcode in sorted(cluster.parked.items()):
        left = f"; left: {'; '.join(opcode.left)}" if opcode.left else ""
        text = f"{opcode.summary} needs attention: {opcode.message}{left} (gnt-job resolve {job})"
        yield Finding(ERROR, "EJOBATTENTION", f"job {job}", text)


def duties(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """No node owes the undo of something; one that could not do it waits for a person."""
    for owed in cluster.duties.values():
        name = cluster.nodes[owed.node].name if owed.node in cluster.nodes else owed.node
        text = f"still owes {owed.what} (job {owed.job})"
        if owed.failed:
            text += f", and could not: {owed.failed} (gnt-job resolve --retry|--accept {owed.job})"
        yield Finding(ERROR if owed.failed else WARNING, "ENODEDUTY", name, text)


def master_address(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """The master's node holds the master's address, and no other one does."""
    info = cluster.settings
    wanted = wanted_address(info)
    if wanted is not None and wanted not in info.master_ip_held:
        text = f"{wanted.address} is on no node (gnt-job list shows what became of the try)"
        yield Finding(ERROR, "EMASTERADDRESS", info.name, text)
    for held in info.master_ip_held:
        if held != wanted:
            name = cluster.nodes[held.node].name
            text = f"may hold {held.address} on {held.device} still; it is told when it answers"
            yield Finding(WARNING, "EMASTERADDRESS", name, text)


def disks(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """No side of a disk is faulty, degraded or still copying."""
    for instance in _instances(cluster):
        for index, disk in enumerate(instance.disks):
            for node, state in sorted(disk.health.items()):
                name = cluster.nodes[node].name if node in cluster.nodes else node
                severity = WARNING if state == "syncing" else ERROR
                text = f"disk {index} is {state} on {name}"
                yield Finding(severity, "EINSTANCEFAULTYDISK", instance.name, text)


def run_states(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """Each instance runs where it should, and only if it should."""
    for instance in _instances(cluster):
        primary = cluster.nodes[instance.primary]
        check = checks.get(primary.uuid)
        runs = check is not None and running(check.status, instance.uuid)
        if instance.admin_state == ADMIN_UP and check is not None and not runs:
            text = f"does not run on its primary node {primary.name}"
            yield Finding(ERROR, "EINSTANCEDOWN", instance.name, text)
        if instance.admin_state != ADMIN_UP and runs:
            text = f"runs on {primary.name}, and is meant to be {instance.admin_state}"
            yield Finding(ERROR, "EINSTANCEWRONGNODE", instance.name, text)
        if primary.offline:
            text = f"its primary node {primary.name} is offline"
            yield Finding(ERROR, "EINSTANCEBADNODE", instance.name, text)
    for node, found in answered(cluster, checks):
        for seen in found.status.instances:
            known = cluster.instances.get(seen.uuid)
            if known is None:
                text = f"{seen.name} runs and is no instance of this cluster"
                yield Finding(ERROR, "ENODEORPHANINSTANCE", node.name, text)
            elif known.primary != node.uuid and seen.state in RUNS:
                text = f"runs on {node.name}, which is not its primary node"
                yield Finding(ERROR, "EINSTANCEWRONGNODE", known.name, text)


def places(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """An instance's nodes may hold it, and are of one group."""
    for instance in _instances(cluster):
        nodes = [cluster.nodes[node] for node in instance.nodes]
        for node in nodes:
            if not node.vm_capable:
                text = f"{node.name} is not vm_capable"
                yield Finding(ERROR, "EINSTANCEUNSUITABLENODE", instance.name, text)
        groups = sorted({cluster.groups[node.group].name for node in nodes})
        if len(groups) > 1:
            text = f"its nodes are of different groups: {', '.join(groups)}"
            yield Finding(WARNING, "EINSTANCESPLITGROUPS", instance.name, text)


def layouts(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """All mirrors of an instance lie on the same two nodes."""
    for instance in _instances(cluster):
        mirrored = [disk for disk in instance.disks if disk.template in MIRRORED]
        pairs = {frozenset(side.node for side in disk.sides) for disk in mirrored}
        if len(pairs) > 1 or any(len(pair) != 2 for pair in pairs):
            text = "its disks are not all mirrored between the same two nodes"
            yield Finding(ERROR, "EINSTANCELAYOUT", instance.name, text)


def policies(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """Each instance is of a size that the instance policy of its group allows."""
    for instance in _instances(cluster):
        group = cluster.groups[cluster.nodes[instance.primary].group]
        extent = ipolicy.extent_of(cluster, instance)
        found = ipolicy.violations(ipolicy.in_force(cluster, group), extent)
        if found:
            text = f"violates the instance policy of group {group.name}: {'; '.join(found)}"
            yield Finding(ERROR, "EINSTANCEPOLICY", instance.name, text)


def redundancy(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """If any one node fails, each of its secondaries has memory for what comes to it (N+1)."""
    for node, check in answered(cluster, checks):
        free_mib = room_on(cluster, node, check.status).memory_mib
        arriving: dict[str, int] = {}
        for uuid in cluster.mirrored_on(node.uuid):
            instance = cluster.instances[uuid]
            if instance.admin_state == ADMIN_UP:
                need = memory_need_mib(cluster, instance)
                arriving[instance.primary] = arriving.get(instance.primary, 0) + need
        for primary, need_mib in sorted(arriving.items()):
            if need_mib > free_mib:
                text = (
                    f"too little memory if {cluster.nodes[primary].name} fails: "
                    f"{need_mib} MiB needed, {free_mib} MiB free"
                )
                yield Finding(ERROR, "ENODEN1", node.name, text)


ALL: Mapping[str, Check] = {
    "candidates": candidates,
    "reach": reach,
    "needs": hosts.needs,
    "links": hosts.links,
    "interfaces": hosts.interfaces,
    "files": hosts.files,
    "disk sizes": hosts.disk_sizes,
    "versions": hosts.versions,
    "definitions": hosts.definitions,
    "parked": parked,
    "duties": duties,
    "master_address": master_address,
    "orphan_volumes": holdings.orphan_volumes,
    "missing_volumes": holdings.missing_volumes,
    "minors": holdings.minors,
    "uncompared": holdings.uncompared,
    "disks": disks,
    "run_states": run_states,
    "places": places,
    "layouts": layouts,
    "policies": policies,
    NPLUSONE: redundancy,
}


def _instances(cluster: Cluster) -> list[Instance]:
    return sorted(cluster.instances.values(), key=lambda instance: instance.name)
