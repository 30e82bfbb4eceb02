"""The steps that make a new instance, once it is known what it is and where it goes (pure)."""

from __future__ import annotations

import msgspec

from commands import adoption
from commands.disks import call, create_mirrors, create_volumes, deactivate, lead, wait_synced
from commands.runs import resource_of
from commands.runs import start as start_up
from commands.specs import instance_spec
from commands.wiping import wipe
from nodeagent.calls import EnsureInactive, InstallOs
from projections.cluster import Cluster
from projections.events.configuration import InstanceCreated, InstanceRemoved
from projections.objects import Instance
from projections.plans import Record, Step, fact, names

INSTALL_S = 6 * 3600.0
SYNC_S = 300.0  # new sides have nothing to copy; what lasts longer is a broken connection


def creation(
    cluster: Cluster,
    instance: Instance,
    sources: tuple[str, ...],
    *,
    install: bool,
    start: bool,
    wait_for_sync: bool,
) -> tuple[Step, ...]:
    """Return the steps from the disks to the first start.

    `sources`: what the disks are taken over from, nothing if they are made. `install`: the OS is to
    be installed, on disks that are made.
    """
    every = range(len(instance.disks))
    if sources:
        volumes = adoption.adopt_volumes(cluster, instance, sources)
    else:
        volumes = create_volumes(cluster, instance, every, instance.nodes)
    mirrors = create_mirrors(cluster, instance, every, names(volumes))
    active = lead(
        cluster, instance, instance.primary, names((*volumes, *mirrors)), undo=EnsureInactive
    )
    made = () if sources else every
    wiped = wipe(cluster, instance, made, names(active), wake=False)
    steps: list[Step] = [*volumes, *mirrors, *active, *wiped]
    ready = names((*active, *wiped))
    spec = instance_spec(cluster, instance, instance.primary)
    if install and instance.disks and not sources:
        steps.append(
            call(
                "os",
                instance.primary,
                InstallOs(instance=spec),
                resource=resource_of(instance),
                after=ready,
                timeout_s=INSTALL_S,
            )
        )
    if not start:
        steps += deactivate(cluster, instance, (*ready, *names(steps[-1:])))
    created = Record(
        id="created",
        facts=(fact(f"instance/{instance.uuid}", InstanceCreated(instance=instance)),),
        after=names(steps),
        undo=(
            fact(
                f"instance/{instance.uuid}",
                InstanceRemoved(instance=instance.uuid, name=instance.name),
            ),
        ),
    )
    steps.append(created)
    if not start:
        return tuple(steps)
    waits = wait_synced(cluster, instance, ("created",), indices=every if mirrors else ())
    if wait_for_sync:
        steps += (msgspec.structs.replace(wait, timeout_s=SYNC_S) for wait in waits)
    steps.append(
        start_up(
            cluster, instance, ("created", *names(waits if wait_for_sync else ())), tolerate=True
        )
    )
    return tuple(steps)
