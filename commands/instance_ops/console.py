"""OP_INSTANCE_CONSOLE: how the console of a running instance is reached (pure).

Its node is asked, as only its hypervisor knows. The result is Ganeti's: `kind` is ssh (a command to
run on `host`), vnc or spice (at `host` and `port`), or msg. Beside Ganeti's keys, `address` is that
of the node, whose name may mean nothing where the person is.
"""

from __future__ import annotations

import shlex
from typing import ClassVar

import msgspec

from commands.disks import call
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.instance_opcode import InstanceOpcode, locks, subject, subject_or_none
from commands.nodes import require_reachable
from commands.runs import resource_of
from nodeagent.calls import ConsoleSeen, DescribeConsole
from projections.cluster import Cluster
from projections.events.jobs import Lock
from projections.objects import Instance
from projections.plans import Plan


class InstanceConsole(InstanceOpcode, frozen=True, kw_only=True):
    """Tell how the console of an instance is reached."""

    NAME: ClassVar[str] = "OP_INSTANCE_CONSOLE"


def decide(op: InstanceConsole, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Ask its node; then tell."""
    instance = subject(op, cluster)
    if so_far:
        seen = msgspec.msgpack.decode(so_far[0].results["console"], type=ConsoleSeen)
        return Done(_told(cluster, instance, seen))
    node = require_reachable(cluster.nodes[instance.primary])
    order = DescribeConsole(
        instance=instance.uuid, name=instance.name, hypervisor=instance.hypervisor
    )
    return Plan(steps=(call("console", node.uuid, order, resource=resource_of(instance)),))


def _told(cluster: Cluster, instance: Instance, seen: ConsoleSeen) -> dict[str, object]:
    node = cluster.nodes[instance.primary]
    return {
        "instance": instance.name,
        "kind": seen.kind,
        "message": seen.message or None,
        "host": node.name if seen.kind == "ssh" else seen.host or node.primary_ip,
        "port": seen.port,
        "user": "root" if seen.kind == "ssh" else None,
        "command": shlex.join(seen.command) if seen.command else None,
        "display": seen.display,
        "address": node.primary_ip,
    }


def _locks(op: InstanceConsole, cluster: Cluster) -> tuple[Lock, ...]:
    """It changes nothing, so several may ask at once."""
    instance = subject_or_none(op, cluster)
    if instance is None:
        return ()
    return locks(shared=(f"instance/{instance.uuid}", f"node/{instance.primary}"))


HANDLER = Handler(opcode=InstanceConsole, decide=decide, locks=_locks)
