"""OP_GROUP_RENAME: a node group has another name (pure). One record; the result is the name."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import parse
from commands.errors import ALREADY_EXISTS, WRONG_INPUT, Refused
from commands.given import Given
from commands.group_ops.settings import group_lock
from commands.handler import Done, Handler, Outcomes
from commands.opcode import Opcode
from projections.cluster import Cluster
from projections.events.configuration import GroupModified
from projections.events.jobs import Lock
from projections.plans import Plan, Record, Reservations, fact


class GroupRename(Opcode, frozen=True, kw_only=True):
    """Rename a node group."""

    NAME: ClassVar[str] = "OP_GROUP_RENAME"

    group_name: Annotated[str, Meta(description="Name of the group", extra={"names": "group"})]
    new_name: Annotated[str, Meta(description="Its new name")]


def lock(op: GroupRename, cluster: Cluster) -> tuple[Lock, ...]:
    """The group and both names."""
    return group_lock(cluster, op.group_name, f"name/{op.new_name.strip().lower()}")


def decide(op: GroupRename, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Record it."""
    name = parse.host_name(op.new_name, "a group")
    if so_far:
        return Done(name)
    group = cluster.group(op.group_name)
    if name == group.name:
        raise Refused(WRONG_INPUT, f"group {name} has that name already", hint="another name")
    if f"group/{name}" in cluster.names:
        raise Refused(ALREADY_EXISTS, f"there is a group {name} already", hint="another name")
    stream = f"group/{group.uuid}"
    renamed = Record(
        id="renamed",
        facts=(fact(stream, GroupModified(group=msgspec.structs.replace(group, name=name))),),
        undo=(fact(stream, GroupModified(group=group)),),
    )
    return Plan(steps=(renamed,), reserves=Reservations(names=(f"group/{name}",)))


HANDLER = Handler(opcode=GroupRename, decide=decide, locks=lock)
