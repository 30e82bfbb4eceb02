"""OP_NODE_ADD: invite a node, wait until its agent has joined, look at it, make it a member (pure).

The client draws a one-time CURVE key pair, puts the secret half into a ticket that it lays down on
the node, and only the public half into the opcode. First plan:

    invited    the ticket's key may ask to join; the node is known, and takes no part yet
    joined     wait until the agent has shown the key that it will use from then on

Second plan, since that key is known only now:

    keyed      records nothing; going back from here on revokes the key
    probe      what the agent sees; what its drivers lack is told, and does not stop the node
    added      the node may hold instances

What can go wrong: the agent never comes, or came and cannot answer. Then the invitation is taken
back, the ticket is void, the node's key too, and the node is gone.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import parse
from commands.disks import call
from commands.errors import ALREADY_EXISTS, WRONG_INPUT, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.opcode import Opcode
from commands.unsupported import refuse_unsupported
from eventstore.events import STREAM as LOG_STREAM
from eventstore.events import KeyAdmitted, KeyRevoked
from nodeagent.calls import NodeCheck, Probe
from projections import params
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.configuration import NodeAdded, NodeInvited, NodeRemoved
from projections.events.jobs import Lock
from projections.objects import Group, Node, Value
from projections.plans import (
    Condition,
    Plan,
    Record,
    Reservations,
    Step,
    Wait,
    fact,
)

JOIN_S = 60.0
PROBE_S = 30.0
NOT_YET = {
    "readd": "remove the node and add it again",
    "hv_state": "the state of nodes is what their agents report",
    "disk_state": "the state of nodes is what their agents report",
    "node_setup": "the client lays the ticket down; there are no SSH keys to set up",
}


class NodeAdd(Opcode, frozen=True, kw_only=True):
    """Add a node to the cluster."""

    NAME: ClassVar[str] = "OP_NODE_ADD"
    SUMMARY: ClassVar[str] = "node_name"

    node_name: Annotated[str, Meta(description="Name of the node")]
    ticket_key: Annotated[str, Meta(description="Public half of the ticket's CURVE key, Z85")] = ""
    primary_ip: Annotated[str | None, Meta(description="Address of its agent")] = None
    secondary_ip: Annotated[str | None, Meta(description="Address for disk replication")] = None
    group: Annotated[
        str | None, Meta(description="Node group; the first one if none", extra={"names": "group"})
    ] = None
    master_capable: Annotated[bool | None, Meta(description="May become a master")] = None
    vm_capable: Annotated[bool | None, Meta(description="May hold instances")] = None
    ndparams: Annotated[dict[str, Value] | None, Meta(description="Node parameters")] = None
    readd: bool = False
    node_setup: bool = False
    hv_state: dict[str, Value] | None = None
    disk_state: dict[str, Value] | None = None


def lock(op: NodeAdd, cluster: Cluster) -> tuple[Lock, ...]:
    """Its name, alone; the group shared, so that it does not go meanwhile."""
    try:
        group = _group(op, cluster)
    except NoSuchObject:
        return ()
    return locks(
        exclusive=(f"name/{op.node_name.strip().lower()}",), shared=(f"group/{group.uuid}",)
    )


def decide(op: NodeAdd, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Invite; when it has joined, look and take in; then tell what its drivers lack."""
    if not so_far:
        return _invite(op, cluster, given)
    node = cluster.node(parse.host_name(op.node_name, "a node"))
    if len(so_far) == 1:
        return _take_in(node)
    check = msgspec.msgpack.decode(so_far[1].results["probe"], type=NodeCheck)
    return Done({"uuid": node.uuid, "missing": list(check.missing)})


def _invite(op: NodeAdd, cluster: Cluster, given: Given) -> Plan:
    refuse_unsupported(op, NOT_YET)
    node = _new_node(op, cluster, given)
    if len(op.ticket_key) != 40:
        raise Refused(
            WRONG_INPUT,
            f"{op.node_name}: the ticket's public key must have 40 characters",
            hint="gnt-node add draws it; a client of its own draws a CURVE key pair (Z85)",
        )
    stream = f"node/{node.uuid}"
    ticket = KeyAdmitted(name=f"node:{node.uuid}", role="ticket", curve_key=op.ticket_key)
    void = KeyRevoked(curve_key=op.ticket_key, reason="the invitation was taken back")
    steps: tuple[Step, ...] = (
        Record(
            id="invited",
            facts=(
                fact(LOG_STREAM, ticket),
                fact(stream, NodeInvited(node=node, ticket_key=op.ticket_key)),
            ),
            undo=(fact(LOG_STREAM, void), fact(stream, NodeRemoved(node=node.uuid))),
        ),
        Wait(
            id="joined",
            after=("invited",),
            until=Condition(kind="node-joined", subject=node.uuid),
            timeout_s=JOIN_S,
        ),
    )
    return Plan(steps=steps, reserves=Reservations(names=(f"node/{node.name}",)))


def _new_node(op: NodeAdd, cluster: Cluster, given: Given) -> Node:
    name = parse.host_name(op.node_name, "a node")
    if f"node/{name}" in cluster.names:
        raise Refused(
            ALREADY_EXISTS, f"there is a node {name} already", hint="gnt-node list shows all nodes"
        )
    for other in cluster.nodes.values():
        if op.primary_ip and op.primary_ip == other.primary_ip and _distinct(op.primary_ip):
            raise Refused(
                ALREADY_EXISTS,
                f"{other.name} has the address {op.primary_ip}",
                hint="give the new node an address of its own",
            )
    own = parse.modified({}, op.ndparams or {}, params.tables().ndparams, f"node {name}")
    capable = op.master_capable is not False
    return Node(
        uuid=given.uuid("node"),
        name=name,
        group=_group(op, cluster).uuid,
        primary_ip=op.primary_ip or "",
        secondary_ip=op.secondary_ip or "",
        master_candidate=capable and _pool_has_room(cluster),
        master_capable=capable,
        vm_capable=op.vm_capable is not False,
        ndparams=own,
    )


def _distinct(address: str) -> bool:
    """Loopback is shared by all nodes of a lab on one machine."""
    return not address.startswith("127.") and address != "::1"


def _pool_has_room(cluster: Cluster) -> bool:
    candidates = sum(node.master_candidate for node in cluster.nodes.values())
    return candidates < cluster.settings.candidate_pool_size


def _group(op: NodeAdd, cluster: Cluster) -> Group:
    if op.group:
        return cluster.group(op.group)
    groups = sorted(cluster.groups.values(), key=lambda group: (group.ctime_ms, group.name))
    return groups[0]


def _take_in(node: Node) -> Plan:
    stream = f"node/{node.uuid}"
    revoked = KeyRevoked(curve_key=node.curve_key, reason="the node could not be added")
    return Plan(
        steps=(
            Record(id="keyed", facts=(), undo=(fact(LOG_STREAM, revoked),)),
            call(
                "probe",
                node.uuid,
                Probe(),
                resource=stream,
                after=("keyed",),
                timeout_s=PROBE_S,
            ),
            Record(
                id="added",
                facts=(fact(stream, NodeAdded(node=node.uuid)),),
                after=("probe",),
            ),
        )
    )


HANDLER = Handler(opcode=NodeAdd, decide=decide, locks=lock)
