"""OP_INSTANCE_STARTUP: the instance is wanted up, and runs (pure).

    wanted            it is meant to be up, its disks active (not with no_remember)
    active/node1/0    the secondary follows; tolerated if it cannot: a degraded mirror starts too
    active/node3/0    the primary can use the disks
    start

Starting one that runs already is harmless: every call states what shall be. `hvparams` and
`beparams` hold for this start alone. With the primary offline and `ignore_offline_nodes` only the
wish is recorded.

What can go wrong: too little memory is refused before anything is done; a failure puts everything
back, the wish too. If it was seen to run before, going back does not stop it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import allocation, bridges, looking, parse
from commands.backend import backend_params
from commands.capacity import memory_need_mib, seen_running
from commands.disks import activate
from commands.errors import WRONG_STATE, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, instance_locks, own_nodes, subject
from commands.looking import acted, look
from commands.nodes import require_reachable
from commands.runs import start
from projections import params
from projections.cluster import Cluster
from projections.events.configuration import InstanceDisksActive, InstanceStateSet
from projections.objects import ADMIN_OFFLINE, ADMIN_UP, Instance, Value
from projections.plans import Plan, Record, Reservation, Reservations, Step, fact, names

WITHOUT_EFFECT = {
    "force": "a secondary that cannot follow never stops a start",
    "shutdown_timeout": "nothing is shut down by a start",
}


class InstanceStartup(InstanceOpcode, frozen=True, kw_only=True):
    """Start an instance."""

    NAME: ClassVar[str] = "OP_INSTANCE_STARTUP"

    force: bool = False
    ignore_offline_nodes: Annotated[
        bool, Meta(description="Record the wish even if the primary is offline")
    ] = False
    hvparams: Annotated[dict[str, Value], Meta(description="For this start alone")] = {}
    beparams: Annotated[dict[str, Value], Meta(description="For this start alone")] = {}
    no_remember: Annotated[bool, Meta(description="Do not record that it is wanted up")] = False
    startup_paused: Annotated[bool, Meta(description="Paused before its first instruction")] = False
    shutdown_timeout: Annotated[int, Meta(ge=0)] = 120


def decide(op: InstanceStartup, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan the start."""
    if acted(so_far):
        return Done()
    instance = _as_asked(op, cluster, subject(op, cluster))
    if instance.admin_state == ADMIN_OFFLINE:
        raise Refused(
            WRONG_STATE,
            f"{instance.name} is offline",
            hint=f"gnt-instance modify --online {instance.name}",
        )
    primary = cluster.nodes[instance.primary]
    wanted = wish(instance, up=True)
    if primary.offline and op.ignore_offline_nodes and not op.no_remember:
        return Plan(steps=(wanted,), explanation=(f"{primary.name} is offline: only the wish",))
    require_reachable(primary)
    seen = looking.seen(given, so_far)
    if not so_far and primary.uuid not in seen:
        return look((primary,))
    runs = seen_running(seen, instance)
    if not runs:
        _check_memory(cluster, instance, primary.uuid, op, given, so_far)
        bridges.require(cluster, seen, primary, instance.nics)
    before: tuple[Step, ...] = () if op.no_remember else (wanted,)
    active = activate(cluster, instance, names(before), undo=not instance.disks_active)
    started = start(
        cluster, instance, names((*before, *active)), undo=not runs, paused=op.startup_paused
    )
    memory = 0 if runs or instance.admin_state == ADMIN_UP else memory_need_mib(cluster, instance)
    return Plan(
        steps=(*before, *active, started),
        reserves=Reservations(
            nodes=(Reservation(node=primary.uuid, memory_mib=memory),) if memory else ()
        ),
    )


def wish(instance: Instance, *, up: bool) -> Record:
    """Return the step that records whether the instance is wanted up, and its disks active."""
    stream = f"instance/{instance.uuid}"
    state = InstanceStateSet(instance=instance.uuid, admin_state="up" if up else "down")
    was = InstanceStateSet(
        instance=instance.uuid,
        admin_state=instance.admin_state,
        source=instance.admin_state_source,
    )
    return Record(
        id="wanted",
        facts=(
            fact(stream, state),
            fact(stream, InstanceDisksActive(instance=instance.uuid, active=up)),
        ),
        undo=(
            fact(stream, was),
            fact(
                stream,
                InstanceDisksActive(instance=instance.uuid, active=instance.disks_active),
            ),
        ),
    )


def _as_asked(op: InstanceStartup, cluster: Cluster, instance: Instance) -> Instance:
    """Return the instance with the parameters of this start."""
    if not op.hvparams and not op.beparams:
        return instance
    table = params.tables().hvparams.get(instance.hypervisor, {})
    what = f"hypervisor {instance.hypervisor}"
    return msgspec.structs.replace(
        instance,
        hvparams=parse.modified(instance.hvparams, op.hvparams, table, what),
        beparams=backend_params(cluster, instance.beparams, op.beparams),
    )


def _check_memory(
    cluster: Cluster,
    instance: Instance,
    primary: str,
    op: InstanceStartup,
    given: Given,
    so_far: Outcomes,
) -> None:
    """Refuse unless there is room; the instance's own wish, if it is wanted up, is no rival."""
    down = msgspec.structs.replace(instance, admin_state="down")
    without = msgspec.structs.replace(cluster, instances=cluster.instances.set(instance.uuid, down))
    allocation.require_room(
        without,
        looking.seen(given, so_far),
        cluster.nodes[primary],
        template=instance.template,
        memory_mib=memory_need_mib(cluster, instance),
    )


HANDLER = Handler(opcode=InstanceStartup, decide=decide, locks=instance_locks, looks_at=own_nodes)
