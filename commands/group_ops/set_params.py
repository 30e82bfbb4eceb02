"""OP_GROUP_SET_PARAMS: allocation policy and parameters of a node group (pure). One record.

The result is Ganeti's: pairs of what changed and its new value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from commands import ipolicy, parse
from commands.errors import WRONG_INPUT, Refused
from commands.given import Given
from commands.group_ops.settings import ALLOC_POLICIES, NOT_YET, disk_params, group_lock
from commands.handler import Done, Handler, Outcomes
from commands.opcode import Opcode
from commands.unsupported import refuse_unsupported
from projections import params
from projections.cluster import Cluster
from projections.events.configuration import GroupModified
from projections.events.jobs import Lock
from projections.ipolicy import as_ganeti
from projections.objects import Group, Value
from projections.plans import Plan, Record, fact


class GroupSetParams(Opcode, frozen=True, kw_only=True):
    """Change the allocation policy or the parameters of a node group."""

    NAME: ClassVar[str] = "OP_GROUP_SET_PARAMS"
    SUMMARY: ClassVar[str] = "group_name"

    group_name: Annotated[str, Meta(description="Name of the group", extra={"names": "group"})]
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


def lock(op: GroupSetParams, cluster: Cluster) -> tuple[Lock, ...]:
    """The group."""
    return group_lock(cluster, op.group_name)


def decide(op: GroupSetParams, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Record it."""
    if so_far:
        return Done([tuple(line.split("=", 1)) for line in so_far[0].plan.explanation])
    refuse_unsupported(op, NOT_YET)
    group = cluster.group(op.group_name)
    new = _changed(op, group)
    differences = tuple(_differences(group, new))
    if not differences:
        raise Refused(
            WRONG_INPUT, f"nothing would change on {group.name}", hint="--alloc-policy=last_resort"
        )
    stream = f"group/{group.uuid}"
    modified = Record(
        id="modified",
        facts=(fact(stream, GroupModified(group=new)),),
        undo=(fact(stream, GroupModified(group=group)),),
    )
    return Plan(steps=(modified,), explanation=differences)


def _changed(op: GroupSetParams, group: Group) -> Group:
    what = f"group {group.name}"
    policy = op.alloc_policy or group.alloc_policy
    return msgspec.structs.replace(
        group,
        alloc_policy=parse.choice(policy, ALLOC_POLICIES, "allocation policy"),
        ndparams=parse.modified(group.ndparams, op.ndparams or {}, params.tables().ndparams, what),
        diskparams=disk_params(group.diskparams, op.diskparams or {}, what),
        ipolicy=ipolicy.modified(group.ipolicy, op.ipolicy or {}, of_group=True),
    )


def _differences(old: Group, new: Group) -> Iterable[str]:
    for field in ("alloc_policy", "ndparams", "diskparams"):
        if getattr(old, field) != getattr(new, field):
            yield f"{field}={getattr(new, field)}"
    if old.ipolicy != new.ipolicy:
        yield f"ipolicy={as_ganeti(new.ipolicy)}"


HANDLER = Handler(opcode=GroupSetParams, decide=decide, locks=lock)
