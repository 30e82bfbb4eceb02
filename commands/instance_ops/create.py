"""OP_INSTANCE_CREATE: a new instance, from its disks to its first start (pure).

First plans, only where a node that matters has not reported yet (a new leader), or where another
allocator than the built-in one was asked for:

    look/node1                    what node1 has free
    ask/allocator                 which nodes it would take (commands/allocator_call.py)

Then, for a mirror on node3 and node1:

    volume/node3/0/data ...       all volumes, on all nodes, at once; or adopt/node3/0, if they are
                                  taken over (commands/adoption.py)
    mirror/node3/0, mirror/node1/0    both sides up; they are new and empty, so they count as equal
    active/node3/0                usable on the primary
    os                            the OS definition's `create` runs on it
    created                       the instance exists, and is wanted up
    synced/0                      (wait_for_sync) both sides are connected and in order
    start

What can go wrong: anything before `start` fails -> all is undone, in the end nothing is left. The
start itself fails -> the instance stays, wanted up, and the opcode fails saying so (as in Ganeti);
its disks hold an installed system that nobody wants to lose. A node is lost meanwhile -> the undo
on it becomes a duty. Two creations at once -> each reserves its room, name, minors, ports and MACs
with its plan, and the second decides on what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import (
    adoption,
    allocation,
    allocator_call,
    bridges,
    ipolicy,
    looking,
    os_definitions,
    parse,
)
from commands.allocation import Choice
from commands.backend import backend_params
from commands.errors import ALREADY_EXISTS, WRONG_INPUT, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes, PlanOutcome
from commands.instance_opcode import locks
from commands.instance_ops.creating import creation
from commands.looking import acted, look
from commands.new_disks import (
    DiskWish,
    Numbers,
    Wanted,
    file_directory,
    lay_out,
    reservations,
    template_for,
    wanted_disks,
)
from commands.new_nics import NicWish, new_nics
from commands.nodes import require_for_instances
from commands.opcode import Opcode
from commands.placement import request
from commands.placement.from_cluster import figures, new_instance
from commands.placement.model import Instance as Wish
from commands.runs import not_started
from commands.tags import checked_tags
from commands.unsupported import refuse_unsupported
from nodeagent.calls import (
    NodeStatus,
    VolumeFound,
)
from projections import params
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.objects import ADMIN_DOWN, ADMIN_UP, Instance, Node, Params, Value
from projections.plans import Plan, Reservations

NEEDS_PORT = frozenset({"kvm", "xen-hvm"})  # their consoles listen on one
NOT_YET = {
    "name_check": "names are not resolved",
    "ip_check": "addresses are not probed",
    "force_variant": "the OS definition decides which variants there are",
    "identify_defaults": "it belongs to imports",
    "instance_communication": "there is no communication network yet",
    "forthcoming": "instances cannot be announced yet",
    "commit": "instances cannot be announced yet",
    "osparams_private": "secrets cannot be kept yet",
    "osparams_secret": "secrets cannot be kept yet",
    "source_handshake": "it belongs to imports",
    "source_instance_name": "it belongs to imports",
    "source_x509_ca": "it belongs to imports",
    "source_shutdown_timeout": "it belongs to imports",
    "src_node": "it belongs to imports",
    "src_node_uuid": "it belongs to imports",
    "src_path": "it belongs to imports",
    "compress": "it belongs to imports",
    "helper_startup_timeout": "it belongs to imports",
    "helper_shutdown_timeout": "it belongs to imports",
}
WITHOUT_EFFECT = {
    "opportunistic_locking": "creations run side by side without it",
    "conflicts_check": "there are no networks yet whose addresses could conflict",
}
LOOP = "loop"  # how files are attached, the only way there is
# a field of the opcode that completes from a table of names
_NODE = {"names": "node"}
_GROUP = {"names": "group"}


class InstanceCreate(Opcode, frozen=True, kw_only=True):
    """Create an instance, install its operating system and start it."""

    NAME: ClassVar[str] = "OP_INSTANCE_CREATE"
    SUMMARY: ClassVar[str] = "instance_name"

    instance_name: Annotated[str, Meta(description="Name of the new instance")]
    mode: Annotated[str, Meta(description="Only create, so far")] = "create"
    disk_template: Annotated[
        str | None, Meta(description="How its disks are stored", extra={"names": "disk-template"})
    ] = None
    disks: Annotated[
        tuple[DiskWish, ...],
        Meta(description="Per disk: size (MiB) or adopt; mode, name, vg, metavg"),
    ] = ()
    nics: Annotated[
        tuple[NicWish, ...], Meta(description="Per interface: mac, ip, mode, link, vlan, name")
    ] = ()
    os_type: Annotated[str | None, Meta(description="OS definition, +variant")] = None
    no_install: Annotated[bool | None, Meta(description="Do not run the OS scripts")] = None
    hypervisor: Annotated[
        str | None, Meta(description="Hypervisor; the cluster's first if none")
    ] = None
    beparams: Annotated[dict[str, Value], Meta(description="Backend parameters")] = {}
    hvparams: Annotated[dict[str, Value], Meta(description="Hypervisor parameters")] = {}
    osparams: Annotated[dict[str, str], Meta(description="Parameters of the OS definition")] = {}
    pnode: Annotated[str | None, Meta(description="Primary node", extra=_NODE)] = None
    pnode_uuid: str | None = None
    snode: Annotated[str | None, Meta(description="Secondary node", extra=_NODE)] = None
    snode_uuid: str | None = None
    iallocator: Annotated[str | None, Meta(description="Have the nodes chosen")] = None
    group_name: Annotated[str | None, Meta(description="Choose in this group", extra=_GROUP)] = None
    start: Annotated[bool, Meta(description="Start it")] = True
    wait_for_sync: Annotated[bool, Meta(description="Wait until mirrors are in order")] = True
    tags: Annotated[tuple[str, ...], Meta(description="Tags")] = ()
    file_storage_dir: Annotated[
        str | None, Meta(description="Directory of its disks, below the cluster's")
    ] = None
    file_driver: Annotated[str | None, Meta(description="How files are attached: loop")] = None
    ignore_ipolicy: Annotated[
        bool, Meta(description="Choose nodes against the policy of their group, too")
    ] = False
    conflicts_check: bool = True
    name_check: bool = False
    ip_check: bool = False
    force_variant: bool = False
    opportunistic_locking: bool = False
    identify_defaults: bool = False
    instance_communication: bool = False
    forthcoming: bool = False
    commit: bool = False
    osparams_private: dict[str, Value] | None = None
    osparams_secret: dict[str, Value] | None = None
    source_handshake: list[Value] | None = None
    source_instance_name: str | None = None
    source_shutdown_timeout: int = 120
    source_x509_ca: str | None = None
    src_node: str | None = None
    src_node_uuid: str | None = None
    src_path: str | None = None
    compress: str = "none"
    helper_startup_timeout: int | None = None
    helper_shutdown_timeout: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """The opcode with everything checked that does not depend on the nodes."""

    name: str
    template: str
    disks: tuple[Wanted, ...]
    sources: tuple[str, ...]  # of disks that are taken over
    directory: str
    hypervisor: str
    beparams: Params
    hvparams: Params
    tags: tuple[str, ...]
    wish: Wish  # what it asks of its nodes


def lock(op: InstanceCreate, cluster: Cluster) -> tuple[Lock, ...]:
    """The name and devices that are taken over, alone; every node that may be taken, shared."""
    nodes = (f"node/{node.uuid}" for node in _possible(op, cluster))
    name = f"name/{op.instance_name.strip().lower()}"
    return locks(exclusive=(name, *adoption.lock_names(op.disks)), shared=nodes)


def looks_at(op: InstanceCreate, cluster: Cluster) -> Iterable[str]:
    """The nodes that were named; all of them if there is a choice, for the score is of them all."""
    if is_named(op):
        return tuple(node.uuid for node in _possible(op, cluster))
    return tuple(cluster.nodes)


def decide(op: InstanceCreate, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Look where nothing was seen yet; then choose the nodes and create; then say how it went."""
    if outcomes := acted(so_far):
        return _told(op, cluster, outcomes[-1])
    there = adoption.found(so_far)
    order = _checked(op, cluster, there)
    seen = looking.seen(given, so_far)
    if order.sources and there is None:
        return adoption.ask(cluster, _holder(op, cluster), order.sources, order.template)
    if not so_far:
        unseen = [node for node in _possible(op, cluster) if node.uuid not in seen]
        if unseen:
            return look(require_for_instances(node) for node in unseen)
    answer = allocator_call.answer(so_far)
    allocator = None if is_named(op) else allocator_call.external(cluster, op.iallocator)
    if answer is None and allocator is not None:
        return _ask(op, cluster, given, seen, order, allocator)
    chosen = _nodes(op, cluster, seen, order, answer)
    nodes = chosen.nodes
    ipolicy.require(
        cluster,
        cluster.groups[cluster.nodes[nodes[0]].group],
        order.name,
        _extent(op, cluster, order),
        ignore=op.ignore_ipolicy,
    )
    if not op.no_install:
        os_definitions.require(seen, cluster.nodes[nodes[0]], op.os_type or "")
    numbers = Numbers(cluster, nodes)
    instance = _instance(op, cluster, given, order, nodes, numbers)
    bridges.require(cluster, seen, cluster.nodes[nodes[0]], instance.nics)
    return Plan(
        steps=creation(
            cluster,
            instance,
            order.sources,
            install=not op.no_install,
            start=starts(op),
            wait_for_sync=op.wait_for_sync,
        ),
        reserves=Reservations(
            nodes=reservations(
                () if order.sources else instance.disks,
                nodes=nodes,
                primary=instance.primary,
                memory_mib=order.wish.memory if starts(op) else 0,
                vcpus=order.wish.vcpus,
                numbers=numbers,
            ),
            names=(f"instance/{order.name}",),
            ports=numbers.ports_taken,
            macs=tuple(nic.mac for nic in instance.nics),
            ips=tuple(nic.ip for nic in instance.nics if nic.ip),
        ),
        explanation=(*chosen.explanation, *_not_started_because(op)),
        basis=msgspec.Raw(chosen.basis),
    )


# --- what is asked for ------------------------------------------------------------------------


def _checked(
    op: InstanceCreate, cluster: Cluster, there: Mapping[str, VolumeFound] | None = None
) -> Order:
    """Return the order. `there`: what was found of the disks that are taken over."""
    refuse_unsupported(op, NOT_YET)
    if op.mode != "create":
        raise Refused(WRONG_INPUT, f"mode {op.mode} is not supported yet", hint="mode create")
    if op.file_driver not in (None, LOOP):
        raise Refused(
            WRONG_INPUT,
            f"file driver {op.file_driver} is not supported: files are attached by loop devices",
            hint=f"--file-driver={LOOP}, or nothing",
        )
    name = parse.host_name(op.instance_name, "an instance")
    if f"instance/{name}" in cluster.names:
        raise Refused(
            ALREADY_EXISTS,
            f"there is an instance {name} already",
            hint=f"another name, or first: gnt-instance remove {name}",
        )
    if not op.os_type and not op.no_install:
        raise Refused(
            WRONG_INPUT, "no operating system was named", hint="-o debian; or --no-install"
        )
    template = template_for(cluster, op.disk_template)
    disks = wanted_disks(op.disks, template)
    sources = adoption.sources(cluster, disks, template)
    if there is not None:
        disks = adoption.measured(disks, sources, there)
    hypervisor = op.hypervisor or cluster.settings.enabled_hypervisors[0]
    parse.choice(hypervisor, cluster.settings.enabled_hypervisors, "enabled hypervisor")
    beparams = backend_params(cluster, {}, op.beparams)
    hvparams = parse.modified(
        {}, op.hvparams, params.tables().hvparams[hypervisor], f"hypervisor {hypervisor}"
    )
    tags = checked_tags(op.tags)
    return Order(
        name=name,
        template=template,
        disks=disks,
        sources=sources,
        directory=file_directory(cluster, template, op.file_storage_dir),
        hypervisor=hypervisor,
        beparams=beparams,
        hvparams=hvparams,
        tags=tags,
        # Counted as running, as Ganeti's request says, whether it is started at once or later.
        wish=new_instance(
            name=name,
            backend=params.backend(cluster.settings, beparams),
            template=template,
            disks=((disk.size_mib, disk.spindles) for disk in disks),
            tags=tags,
        ),
    )


def _extent(op: InstanceCreate, cluster: Cluster, order: Order) -> ipolicy.Extent:
    return ipolicy.extent(
        params.backend(cluster.settings, order.beparams),
        template=order.template,
        disks_mib=tuple(disk.size_mib for disk in order.disks),
        nics=len(op.nics),
    )


# --- where it goes ----------------------------------------------------------------------------


def _possible(op: InstanceCreate, cluster: Cluster) -> tuple[Node, ...]:
    """Return the nodes that were named, or those that may be chosen. Unknown names: none."""
    named = [each for each in (op.pnode_uuid or op.pnode, op.snode_uuid or op.snode) if each]
    try:
        if named:
            return tuple(cluster.node(each) for each in named)
        group = cluster.group(op.group_name) if op.group_name else None
    except NoSuchObject:
        return ()
    return allocation.candidates(cluster, group)


def _holder(op: InstanceCreate, cluster: Cluster) -> Node:
    """Return the node whose volumes are taken over."""
    primary = op.pnode_uuid or op.pnode
    if primary is None:
        raise Refused(
            WRONG_INPUT,
            "disks are to be taken over, and no node was named",
            hint="-n NODE: where the volumes are",
        )
    return require_for_instances(cluster.node(primary))


def choose_nodes(
    op: InstanceCreate, cluster: Cluster, seen: Mapping[str, NodeStatus]
) -> tuple[Choice, Wish]:
    """Return the nodes that the engine would choose, and what was asked of it. Raises Refused."""
    order = _checked(op, cluster)
    if order.sources:
        _holder(op, cluster)
    return _chosen(op, cluster, seen, order), order.wish


def starts(op: InstanceCreate) -> bool:
    """Whether it is started: what nothing was installed on cannot boot, as in Ganeti."""
    return op.start and not op.no_install


def is_named(op: InstanceCreate) -> bool:
    """Whether the order names any node."""
    return any((op.pnode_uuid, op.pnode, op.snode_uuid, op.snode))


def _ask(
    op: InstanceCreate,
    cluster: Cluster,
    given: Given,
    seen: Mapping[str, NodeStatus],
    order: Order,
    allocator: str,
) -> Plan:
    """Return the plan that asks the operator's own allocator."""
    asked = _question(op, cluster, given, order)
    return allocator_call.ask(cluster, allocator, figures(cluster, seen), asked)


def question(op: InstanceCreate, cluster: Cluster, given: Given) -> request.Json:
    """Return what an allocator is asked about one creation. Raises Refused."""
    return _question(op, cluster, given, _checked(op, cluster))


def _question(op: InstanceCreate, cluster: Cluster, given: Given, order: Order) -> request.Json:
    return request.allocate(
        cluster,
        order.wish,
        os=op.os_type or "",
        nics=new_nics(cluster, given, op.nics),
        hypervisor=order.hypervisor,
        group=cluster.group(op.group_name).name if op.group_name else "",
    )


def _nodes(
    op: InstanceCreate,
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    order: Order,
    answer: allocator_call.Answer | None,
) -> Choice:
    """Return the nodes, and why just these."""
    primary, secondary = op.pnode_uuid or op.pnode, op.snode_uuid or op.snode
    if primary is None and secondary is None:
        if answer is not None:
            return _answered(op, cluster, seen, order, answer)
        return _chosen(op, cluster, seen, order)
    if op.iallocator is not None or op.group_name is not None:
        raise Refused(
            WRONG_INPUT,
            "nodes are named, and yet to be chosen",
            hint="either -n NODE, or -I . and -g GROUP",
        )
    nodes = _named(cluster, primary, secondary, order)
    _require(cluster, seen, order, nodes, start=starts(op))
    return Choice(tuple(node.uuid for node in nodes), ("the nodes were named",))


def _chosen(
    op: InstanceCreate, cluster: Cluster, seen: Mapping[str, NodeStatus], order: Order
) -> Choice:
    """Return the engine's choice, among the nodes that have the OS: a mirror may fail over."""
    group = cluster.group(op.group_name) if op.group_name else None
    groups = {node.group for node in allocation.candidates(cluster, group)}
    ipolicy.require_of_one(
        cluster,
        (cluster.groups[each] for each in groups),
        order.name,
        _extent(op, cluster, order),
        ignore=op.ignore_ipolicy,
    )
    unfit: dict[str, str] = {}
    if not op.no_install:
        heard = (node for node in allocation.candidates(cluster, group) if node.uuid in seen)
        unfit = os_definitions.lacking(seen, heard, op.os_type or "")
    return allocation.choose(
        cluster, seen, order.wish, group, ignore_policy=op.ignore_ipolicy, unfit=unfit
    )


def _answered(
    op: InstanceCreate,
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    order: Order,
    answer: allocator_call.Answer,
) -> Choice:
    """Return an allocator's choice, checked like one that a person has made."""
    group = cluster.group(op.group_name).uuid if op.group_name else ""
    count = 2 if order.wish.mirrored else 1
    choice = allocator_call.chosen(cluster, answer, count=count, group=group)
    _require(cluster, seen, order, [cluster.nodes[each] for each in choice.nodes], start=starts(op))
    return choice


def _require(
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    order: Order,
    nodes: Sequence[Node],
    *,
    start: bool,
) -> None:
    for node in nodes:
        require_for_instances(node)
        allocation.require_room(
            cluster,
            seen,
            node,
            template=order.template,
            memory_mib=order.wish.memory if start and node is nodes[0] else 0,
            disk_mib=0 if order.sources else order.wish.disk,
        )


def _named(
    cluster: Cluster, primary: str | None, secondary: str | None, order: Order
) -> tuple[Node, ...]:
    both = "-n PRIMARY:SECONDARY"
    if primary is None:
        raise Refused(WRONG_INPUT, "a secondary node without a primary", hint=both)
    first = cluster.node(primary)
    if not order.wish.mirrored:
        if secondary is not None:
            raise Refused(
                WRONG_INPUT, f"{order.template} has no secondary node", hint=f"-n {first.name}"
            )
        return (first,)
    if secondary is None:
        raise Refused(
            WRONG_INPUT,
            f"{order.template} needs a secondary node",
            hint=f"{both}, or leave -n out to have both chosen",
        )
    second = cluster.node(secondary)
    if first.uuid == second.uuid:
        raise Refused(
            WRONG_INPUT, f"{first.name} cannot be primary and secondary", hint="two nodes"
        )
    return first, second


# --- the instance and its steps ---------------------------------------------------------------


def _instance(
    op: InstanceCreate,
    cluster: Cluster,
    given: Given,
    order: Order,
    nodes: tuple[str, ...],
    numbers: Numbers,
) -> Instance:
    disks = lay_out(
        cluster,
        given,
        order.disks,
        template=order.template,
        nodes=nodes,
        numbers=numbers,
        directory=order.directory,
    )
    return Instance(
        uuid=given.uuid("instance"),
        name=order.name,
        primary=nodes[0],
        os=op.os_type or "",
        hypervisor=order.hypervisor,
        template=order.template,
        admin_state=ADMIN_UP if starts(op) else ADMIN_DOWN,
        disks=disks,
        nics=new_nics(cluster, given, op.nics),
        beparams=order.beparams,
        hvparams=order.hvparams,
        osparams=op.osparams,
        disks_active=starts(op),
        network_port=numbers.take_port() if order.hypervisor in NEEDS_PORT else None,
        tags=order.tags,
    )


def _not_started_because(op: InstanceCreate) -> Iterable[str]:
    if op.start and op.no_install:
        yield "it is not started, since nothing is installed on it"


def _told(op: InstanceCreate, cluster: Cluster, outcome: PlanOutcome) -> Done:
    """Return the names of its nodes, which is Ganeti's result."""
    instance = cluster.instance(parse.host_name(op.instance_name, "an instance"))
    nodes = [cluster.nodes[node].name for node in instance.nodes]
    return Done(nodes, not_started(instance, outcome, "was created"))


HANDLER = Handler(opcode=InstanceCreate, decide=decide, locks=lock, looks_at=looks_at)
