"""How an instance stands: what is wanted of it against what was seen (pure).

wanted up      seen running on its primary      running
               seen running elsewhere           ERROR_wrongnode
               not seen running                 ERROR_down (USER_down if its guest ended it)
wanted down    seen running                     ERROR_up
               not seen running                 ADMIN_down (USER_down if its guest ended it)
offline        not seen running                 ADMIN_offline
its primary is offline                          ERROR_nodeoffline
its primary does not answer                     ERROR_nodedown
"""

from __future__ import annotations

from nodeagent.calls import InstanceSeen
from projections.objects import ADMIN_OFFLINE, ADMIN_UP, Instance
from projections.query.table import IS_OFFLINE, NOT_HERE, NOTHING, Cell, World

RUNNING = "running"


def status_of(world: World, instance: Instance) -> str:
    """Return Ganeti's status of an instance (params.json, instance.status)."""
    primary = world.node(instance.primary)
    if primary.offline:
        return "ERROR_nodeoffline"
    if primary.lost:
        return "ERROR_nodedown"
    if world.seen is None:
        return _without_running(instance) if not _is_meant_to_run(instance) else RUNNING
    if primary.uuid not in world.seen:
        return "ERROR_nodedown"
    place = world.running.get(instance.uuid)
    if place is None:
        return _without_running(instance)
    if place[0] != instance.primary:
        return "ERROR_wrongnode"
    return RUNNING if instance.admin_state == ADMIN_UP else "ERROR_up"


def live(world: World, instance: Instance) -> InstanceSeen | Cell:
    """Return what was seen of an instance, or the cell that says why there is nothing.

    An instance that does not run is "unavailable": its run-time values do not exist.
    """
    primary = world.node(instance.primary)
    if primary.offline:
        return IS_OFFLINE
    if world.status_of(primary) is None:
        return NOTHING
    place = world.running.get(instance.uuid)
    return NOT_HERE if place is None else place[1]


def _is_meant_to_run(instance: Instance) -> bool:
    return instance.admin_state == ADMIN_UP and not instance.crashed


def _without_running(instance: Instance) -> str:
    if instance.admin_state == ADMIN_OFFLINE:
        return "ADMIN_offline"
    if instance.admin_state_source == "user":
        return "USER_down"
    return "ERROR_down" if instance.admin_state == ADMIN_UP else "ADMIN_down"
