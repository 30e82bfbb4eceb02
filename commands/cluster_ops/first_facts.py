"""The first facts of a cluster: what `gnt-cluster init` makes true before any daemon runs (pure).

The cluster, the group `default`, and the first node, which is invited like every later one: its
agent joins with the one-time key of its ticket. Repeating with the same `given` gives the same.
"""

from __future__ import annotations

import msgspec

from commands.given import Given
from commands.parse import choice, host_name
from eventstore.events import STREAM as LOG_STREAM
from eventstore.events import KeyAdmitted
from eventstore.record import Draft
from projections import params
from projections.events.configuration import ClusterCreated, GroupAdded, NodeInvited
from projections.objects import ClusterInfo, Group, Node

FIRST_GROUP = "default"
DISK_TEMPLATES = frozenset({"blockdev", "diskless", "drbd", "file", "plain", "sharedfile"})


def first_facts(
    *,
    info: ClusterInfo,
    node_name: str,
    node_ip: str,
    secondary_ip: str = "",
    ticket_key: str,
    given: Given,
    actor: str,
) -> tuple[Draft, ...]:
    """Return the drafts of one batch. The uuid of the first node is `given.uuid("node")`.

    Raises Refused where a name, a hypervisor or a disk template of `info` is not possible.
    """
    for name in info.enabled_hypervisors:
        choice(name, params.tables().hvparams, "hypervisor")
    for template in info.enabled_disk_templates:
        choice(template, DISK_TEMPLATES, "disk template")
    group = Group(uuid=given.uuid("group"), name=FIRST_GROUP)
    node = Node(
        uuid=given.uuid("node"),
        name=host_name(node_name, "a node"),
        group=group.uuid,
        primary_ip=node_ip,
        secondary_ip=secondary_ip,
        master_candidate=True,
    )
    named = msgspec.structs.replace(
        info, name=host_name(info.name, "a cluster"), master=node.uuid, uuid=info.uuid
    )
    admitted = KeyAdmitted(name=f"node:{node.uuid}", role="ticket", curve_key=ticket_key)
    return (
        Draft(stream="cluster", event=ClusterCreated(info=named), actor=actor),
        Draft(stream=f"group/{group.uuid}", event=GroupAdded(group=group), actor=actor),
        Draft(stream=LOG_STREAM, event=admitted, actor=actor),
        Draft(
            stream=f"node/{node.uuid}",
            event=NodeInvited(node=node, ticket_key=ticket_key),
            actor=actor,
        ),
    )
