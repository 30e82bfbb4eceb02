"""What a node's machine should be: tools, modules, links, addresses, clock, versions, OSes (pure).

What a driver lacks is of interest only where the cluster uses it: a node without LVM is sound in a
cluster of file-based disks. Nodes are compared with each other rather than with the master's
machine: the master may move.
"""

from __future__ import annotations

from collections.abc import Iterator

from commands import bridges
from commands.cluster_ops.finding import ERROR, WARNING, Checks, Finding, answered
from commands.nodes import why_unreachable
from nodeagent.calls import NodeCheck, OsStatus, Probe
from projections import params
from projections.cluster import Cluster
from projections.objects import Group, Node

MAX_SKEW_MS = 150_000  # Ganeti's bound (NODE_MAX_CLOCK_SKEW)
_CODES = {
    "lvm": "ENODELVM",
    "drbd": "ENODEDRBD",
    "file": "ENODEFILESTORAGEPATHUNUSABLE",
    "sharedfile": "ENODESHAREDFILESTORAGEPATHUNUSABLE",
    "network": "ENODENET",
}
_USED_BY = {"lvm": ("plain", "drbd"), "drbd": ("drbd",)}  # else the template of the same name
_ALIKE = 0.99 / 1.01  # Ganeti's margin for sizes that count as one (PARTITION_MARGIN)
_HARMLESS_HELPERS = ("", "disabled", "/bin/true", "/usr/bin/true")


def question(cluster: Cluster, node: Node) -> Probe:
    """Return what to ask a node when it is verified: what it has to have."""
    own = (node.primary_ip, node.secondary_ip)
    info = cluster.settings
    directories = {"file": info.file_storage_dir, "sharedfile": info.shared_file_storage_dir}
    return Probe(
        inventory=True,
        links=_links(cluster) if node.vm_capable else (),
        addresses=tuple(each for each in dict.fromkeys(own) if each and not _is_loopback(each)),
        directories={
            kind: path
            for kind, path in directories.items()
            if path and node.vm_capable and _is_used(cluster, kind)
        },
        programs=_power_programs(cluster) if node.master_candidate else (),
    )


def needs(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """Each node has the tools and modules of the drivers that the cluster uses."""
    for node, check in answered(cluster, checks):
        if not node.vm_capable:
            continue
        if not check.lacks:  # an agent that does not say what needs it
            yield from (Finding(ERROR, "ENODESETUP", node.name, what) for what in check.missing)
        for what, lacks in sorted(check.lacks.items()):
            if _is_used(cluster, what):
                code = _CODES.get(what, "ENODEHV")
                yield from (Finding(ERROR, code, node.name, lack) for lack in lacks)
        for what, advises in sorted(check.advice.items()):
            if _is_used(cluster, what):
                yield from (Finding(WARNING, "ENODEHV", node.name, each) for each in advises)


def links(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """Each node has the links that interfaces of guests are connected to, and its own addresses."""
    for node, check in answered(cluster, checks):
        if check.host is None:
            continue
        if check.host.missing_links:
            text = f"missing links: {', '.join(check.host.missing_links)}"
            yield Finding(ERROR, "ENODENET", node.name, text)
        for address in check.host.missing_addresses:
            text = f"no interface has its address {address}"
            yield Finding(ERROR, "ENODENET", node.name, text)


def interfaces(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """No interface is left of a guest that is not there. One on its way here is found for once."""
    for node, check in answered(cluster, checks):
        for uuid in check.interfaces_left:
            known = cluster.instances.get(uuid)
            text = f"has interfaces of {known.name if known else uuid}, which does not run here"
            yield Finding(WARNING, "ENODENET", node.name, text)


def files(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """Each node keeps disks where the cluster does, and its site's scripts can be run."""
    for node, check in answered(cluster, checks):
        if check.host is None:
            continue
        for path in check.host.forbidden:
            text = f"{path}: its agent keeps no disks there (file_path in agent.json)"
            yield Finding(ERROR, "ENODEFILESTORAGEPATHS", node.name, text)
        for path in check.host.missing_programs:
            text = f"{path}, which turns nodes on and off, cannot be run here"
            yield Finding(ERROR, "ENODEOOBPATH", node.name, text)
        for path in check.host.bad_scripts:
            text = f"the script {path} cannot be run, and is passed over: chmod +x"
            yield Finding(ERROR, "ENODEUSERSCRIPTS", node.name, text)


def disk_sizes(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """Under exclusive storage a disk is as large as physical volumes are: alike in a group."""
    for group, members in _groups(cluster, checks):
        sizes = [
            size_mib
            for node, check in members
            if params.of_node(cluster, node)["exclusive_storage"] and check.host is not None
            for size_mib in check.host.disks_mib or ()
        ]
        if sizes and min(sizes) < max(sizes) * _ALIKE:
            text = f"its physical volumes have from {min(sizes)} to {max(sizes)} MiB"
            yield Finding(ERROR, "EGROUPDIFFERENTPVSIZE", group.name, text)


def clocks(cluster: Cluster, checks: Checks, now_ms: int) -> Iterator[Finding]:
    """No clock differs much from the leader's. `now_ms`: the leader's, after the answers."""
    for node, check in answered(cluster, checks):
        if check.host is not None and abs(check.host.clock_ms - now_ms) > MAX_SKEW_MS:
            ahead_s = (check.host.clock_ms - now_ms) / 1000
            text = (
                f"its clock differs by {abs(ahead_s):.0f} s from that of the master: "
                f"it is {'ahead' if ahead_s > 0 else 'behind'}"
            )
            yield Finding(ERROR, "ENODETIME", node.name, text)


def versions(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """All agents are of one version; within a group, so is DRBD, and its helper does nothing."""
    agents = {check.status.versions.get("cairn", "") for check in checks.values()} - {""}
    for node, check in answered(cluster, checks):
        version = check.status.versions.get("cairn", "")
        if len(agents) > 1 and version:
            others = ", ".join(sorted(agents - {version}))
            text = f"its agent has version {version}, others have {others}"
            yield Finding(WARNING, "ENODEVERSION", node.name, text)
        helper = check.host.drbd_helper if check.host is not None else ""
        if _is_used(cluster, "drbd") and helper not in _HARMLESS_HELPERS:
            text = f"DRBD's module calls {helper} at every change: load it with /bin/true"
            yield Finding(ERROR, "ENODEDRBDHELPER", node.name, text)
    for _, members in _groups(cluster, checks):
        seen = {check.status.versions.get("drbd", "") for _, check in members} - {""}
        for node, check in members if len(seen) > 1 else ():
            if version := check.status.versions.get("drbd", ""):
                text = f"DRBD {version}, others of its group have {', '.join(sorted(seen))}"
                yield Finding(ERROR, "ENODEDRBDVERSION", node.name, text)


def definitions(cluster: Cluster, checks: Checks) -> Iterator[Finding]:
    """OS definitions are sound, and the same on all nodes of a group."""
    for node, check in answered(cluster, checks):
        for os in check.os:
            if os.problem:
                yield Finding(WARNING, "ENODEOS", node.name, f"OS {os.name}: {os.problem}")
    for _, members in _groups(cluster, checks):
        if not members:
            continue
        (first, reference), *others = members
        wanted = _sound(reference)
        for node, check in others:
            for problem in _differences(wanted, _sound(check), first.name):
                yield Finding(ERROR, "ENODEOS", node.name, problem)


def _differences(
    wanted: dict[str, OsStatus], found: dict[str, OsStatus], reference: str
) -> Iterator[str]:
    for name in sorted(wanted.keys() - found.keys()):
        yield f"OS {name} is on {reference}, and not here"
    for name in sorted(found.keys() - wanted.keys()):
        yield f"OS {name} is here, and not on {reference}"
    for name in sorted(wanted.keys() & found.keys()):
        for what in ("api_versions", "variants", "parameters"):
            there, here = (sorted(getattr(each[name], what)) for each in (wanted, found))
            if there != here:
                word = what.replace("_", " ")
                yield f"OS {name}: its {word} differ from those on {reference}"


def _sound(check: NodeCheck) -> dict[str, OsStatus]:
    return {os.name: os for os in check.os if not os.problem}


def _groups(
    cluster: Cluster, checks: Checks
) -> Iterator[tuple[Group, list[tuple[Node, NodeCheck]]]]:
    """Yield each group with those of its nodes that may hold instances and have answered."""
    for group in sorted(cluster.groups.values(), key=lambda group: group.name):
        yield (
            group,
            [
                (node, check)
                for node, check in answered(cluster, checks)
                if node.group == group.uuid and node.vm_capable and not why_unreachable(node)
            ],
        )


def _links(cluster: Cluster) -> tuple[str, ...]:
    """Return the bridges that guests are connected to; any node may get any of them."""
    nics = (nic for instance in cluster.instances.values() for nic in instance.nics)
    return bridges.links(cluster, nics)


def _power_programs(cluster: Cluster) -> tuple[str, ...]:
    """Return the programs that turn nodes on and off; a master candidate may have to run any."""
    programs = (params.of_node(cluster, node)["oob_program"] for node in cluster.nodes.values())
    return tuple(sorted({str(each) for each in programs if each}))


def _is_used(cluster: Cluster, what: str) -> bool:
    """Whether the cluster uses a kind of volume, DRBD, a hypervisor; the network always is."""
    enabled = cluster.settings.enabled_disk_templates
    if what in cluster.settings.enabled_hypervisors or what == "network":
        return True
    return any(template in enabled for template in _USED_BY.get(what, (what,)))


def _is_loopback(address: str) -> bool:
    """Loopback is shared by all nodes of a lab on one machine."""
    return address.startswith("127.") or address == "::1"
