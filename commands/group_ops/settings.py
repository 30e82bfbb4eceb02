"""What opcodes about groups and the cluster share: policies, disk parameters, locks (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from commands import parse
from commands.instance_opcode import locks
from projections import params
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.events.jobs import Lock
from projections.objects import Params, Value

ALLOC_POLICIES = ("preferred", "last_resort", "unallocable")
NOT_YET = {
    "hv_state": "the state of nodes is what their agents report",
    "disk_state": "the state of nodes is what their agents report",
}


def disk_params(
    own: Mapping[str, Params], changes: Mapping[str, Mapping[str, Value]], what: str
) -> dict[str, Params]:
    """Return disk parameters, per template, after `changes`. Raises Refused."""
    tables = params.tables().diskparams
    result = dict(own)
    for template, values in changes.items():
        parse.choice(template, tables, "disk template")
        changed = parse.modified(
            result.get(template, {}), values, tables[template], f"{template} of {what}"
        )
        result[template] = changed
    return {template: values for template, values in result.items() if values}


def group_lock(cluster: Cluster, name: str, *more: str) -> tuple[Lock, ...]:
    """Return the locks of an opcode about one group, and `more` names."""
    try:
        group = cluster.group(name)
    except NoSuchObject:
        return ()
    return locks(exclusive=(f"group/{group.uuid}", f"name/{group.name}", *more))
