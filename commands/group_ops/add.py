"""OP_GROUP_ADD: a node group exists, with no nodes yet (pure). One record; nothing can go wrong."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from commands import ipolicy, parse
from commands.errors import ALREADY_EXISTS, Refused
from commands.given import Given
from commands.group_ops.settings import ALLOC_POLICIES, NOT_YET, disk_params
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import locks
from commands.opcode import Opcode
from commands.unsupported import refuse_unsupported
from projections import params
from projections.cluster import Cluster
from projections.events.configuration import GroupAdded, GroupRemoved
from projections.events.jobs import Lock
from projections.objects import NOTHING_SET, Group, Value
from projections.plans import Plan, Record, Reservations, fact


class GroupAdd(Opcode, frozen=True, kw_only=True):
    """Add a node group."""

    NAME: ClassVar[str] = "OP_GROUP_ADD"
    SUMMARY: ClassVar[str] = "group_name"

    group_name: Annotated[str, Meta(description="Name of the new group")]
    alloc_policy: Annotated[
        str | None,
        Meta(description="Whether new instances go there", extra={"choices": ALLOC_POLICIES}),
    ] = None
    ndparams: Annotated[dict[str, Value] | None, Meta(description="Node parameters")] = None
    diskparams: Annotated[
        dict[str, dict[str, Value]] | None, Meta(description="Per template: disk parameters")
    ] = None
    hv_state: dict[str, Value] | None = None
    disk_state: dict[str, Value] | None = None
    ipolicy: Annotated[
        dict[str, Any] | None, Meta(description="Which sizes and templates instances may have")
    ] = None


def lock(op: GroupAdd, cluster: Cluster) -> tuple[Lock, ...]:
    """Its name."""
    return locks(exclusive=(f"name/{op.group_name.strip().lower()}",))


def decide(op: GroupAdd, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Record the group."""
    if so_far:
        return Done()
    refuse_unsupported(op, NOT_YET)
    name = parse.host_name(op.group_name, "a group")
    if f"group/{name}" in cluster.names:
        raise Refused(ALREADY_EXISTS, f"there is a group {name} already", hint="another name")
    policy = op.alloc_policy or ALLOC_POLICIES[0]
    group = Group(
        uuid=given.uuid("group"),
        name=name,
        alloc_policy=parse.choice(policy, ALLOC_POLICIES, "allocation policy"),
        ndparams=parse.modified({}, op.ndparams or {}, params.tables().ndparams, "the group"),
        diskparams=disk_params({}, op.diskparams or {}, "the group"),
        ipolicy=ipolicy.modified(NOTHING_SET, op.ipolicy or {}, of_group=True),
    )
    stream = f"group/{group.uuid}"
    added = Record(
        id="added",
        facts=(fact(stream, GroupAdded(group=group)),),
        undo=(fact(stream, GroupRemoved(group=group.uuid)),),
    )
    return Plan(steps=(added,), reserves=Reservations(names=(f"group/{name}",)))


HANDLER = Handler(opcode=GroupAdd, decide=decide, locks=lock)
