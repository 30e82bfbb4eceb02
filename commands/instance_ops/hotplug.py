"""What of a changed configuration a running guest is given at once (pure).

Interfaces are taken out before the change is recorded and plugged in after it; more processors are
plugged in, fewer hold from the next start on. A change that the guest or its hypervisor does not
take is tolerated, as in Ganeti: the configuration has changed, and holds from the next start on.
The person is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from commands.disks import call
from commands.handler import PlanOutcome
from commands.runs import resource_of
from commands.specs import instance_spec
from nodeagent.calls import PlugNic, SetVcpus, UnplugNic
from projections.cluster import Cluster
from projections.objects import Instance, Nic
from projections.plans import Call

HOTPLUGS = frozenset({"fake", "kvm"})  # hypervisors whose guests take changes while they run
_TAKE_OUT, _PLUG_IN, _VCPUS = "take-out", "plug-in", "vcpus"


def take_out(cluster: Cluster, instance: Instance, after: tuple[Nic, ...]) -> tuple[Call, ...]:
    """Return the calls that take out interfaces which go, or which change."""
    spec = instance_spec(cluster, instance, instance.primary)
    stay = {nic.uuid: _heart(nic) for nic in after}
    return tuple(
        call(
            f"{_TAKE_OUT}/{at}",
            instance.primary,
            _unplug(instance, nic),
            resource=resource_of(instance),
            undo=PlugNic(instance=spec, nic=nic.uuid),
            tolerate=True,
        )
        for at, nic in enumerate(instance.nics)
        if stay.get(nic.uuid) != _heart(nic)
    )


def plug_in(
    cluster: Cluster, instance: Instance, after: tuple[Nic, ...], after_steps: Iterable[str]
) -> tuple[Call, ...]:
    """Return the calls that plug in interfaces which are new, or have changed."""
    were = {nic.uuid: _heart(nic) for nic in instance.nics}
    changed = msgspec.structs.replace(instance, nics=after)
    spec = instance_spec(cluster, changed, instance.primary)
    steps: list[Call] = []
    for at, nic in enumerate(after):
        if were.get(nic.uuid) != _heart(nic):
            steps.append(
                call(
                    f"{_PLUG_IN}/{at}",
                    instance.primary,
                    PlugNic(instance=spec, nic=nic.uuid),
                    resource=resource_of(instance),
                    # One after the other, so that they are found in the order of their indices.
                    after=(*after_steps, *(step.id for step in steps[-1:])),
                    undo=_unplug(instance, nic),
                    tolerate=True,
                )
            )
    return tuple(steps)


def more_vcpus(instance: Instance, before: int, vcpus: int, after_steps: Iterable[str]) -> Call:
    """Return the call that gives the guest so many processors; it had `before`."""

    def order(number: int) -> SetVcpus:
        return SetVcpus(instance=instance.uuid, hypervisor=instance.hypervisor, vcpus=number)

    return call(
        _VCPUS,
        instance.primary,
        order(vcpus),
        resource=resource_of(instance),
        after=after_steps,
        undo=order(before),
        tolerate=True,
    )


def not_taken(outcome: PlanOutcome) -> Iterator[tuple[str, str]]:
    """Yield what the running guest did not take, and why."""
    for step, (_, message) in sorted(outcome.failures.items()):
        if step.partition("/")[0] in (_TAKE_OUT, _PLUG_IN, _VCPUS):
            yield f"hotplug/{step}", f"from the next start on: {message}"


def _unplug(instance: Instance, nic: Nic) -> UnplugNic:
    return UnplugNic(instance=instance.uuid, hypervisor=instance.hypervisor, nic=nic.uuid)


def _heart(nic: Nic) -> tuple[object, ...]:
    """Return what of an interface the guest or its node would notice."""
    return nic.mac, nic.ip, nic.network, nic.params
