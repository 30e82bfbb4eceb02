"""Steps that start and stop an instance, and how a start that failed is told (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from commands.disks import call
from commands.errors import ENVIRONMENT_ERROR, Refused
from commands.handler import PlanOutcome
from commands.specs import instance_spec
from nodeagent.calls import EnsureRunning, EnsureStopped
from projections.cluster import Cluster
from projections.objects import Instance
from projections.plans import Call

START = "start"
START_S = 300.0
FORCE_S = 60.0  # what stopping by force may take, beyond the grace that a guest is given


def resource_of(instance: Instance) -> str:
    """Return the resource of an instance on its nodes."""
    return f"instance/{instance.uuid}"


def start(
    cluster: Cluster,
    instance: Instance,
    after: Iterable[str] = (),
    *,
    undo: bool = True,
    tolerate: bool = False,
    paused: bool = False,
) -> Call:
    """Return the call that makes the instance run on its primary. `undo`: it did not run before."""
    return call(
        START,
        instance.primary,
        EnsureRunning(instance=instance_spec(cluster, instance, instance.primary), paused=paused),
        resource=resource_of(instance),
        after=after,
        undo=by_force(instance) if undo else None,
        timeout_s=START_S,
        tolerate=tolerate,
    )


def stop(
    cluster: Cluster,
    instance: Instance,
    after: Iterable[str] = (),
    *,
    grace_s: int,
    undo: bool = True,
    force: bool = False,
    final: bool = False,
    tolerate: bool = False,
) -> Call:
    """Return the call that makes the instance stop. `undo`: it is wanted up, and starts again."""
    again = EnsureRunning(instance=instance_spec(cluster, instance, instance.primary))
    return call(
        "stop",
        instance.primary,
        EnsureStopped(
            instance=instance.uuid,
            name=instance.name,
            hypervisor=instance.hypervisor,
            grace_s=0 if force else grace_s,
            force=force,
        ),
        resource=resource_of(instance),
        after=after,
        undo=again if undo else None,
        timeout_s=grace_s + FORCE_S,
        final=final,
        tolerate=tolerate,
    )


def by_force(instance: Instance) -> EnsureStopped:
    """Return the call that takes a start back: there is nothing in the guest to save yet."""
    return EnsureStopped(
        instance=instance.uuid,
        name=instance.name,
        hypervisor=instance.hypervisor,
        grace_s=0,
        force=True,
    )


def not_started(instance: Instance, outcome: PlanOutcome, what: str) -> Refused | None:
    """Return why a tolerated start failed, for `Done.problem`; None if it did not fail."""
    failure = outcome.failures.get(START)
    if failure is None:
        return None
    code, message = failure
    return Refused(
        code or ENVIRONMENT_ERROR,
        f"{instance.name} {what}, and did not start: {message}",
        hint=f"put that right, then: gnt-instance startup {instance.name}",
    )
