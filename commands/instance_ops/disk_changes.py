"""Disks of an instance that come, go, or change their name or mode (pure).

Of a mirror on node3 and node1, disk 1 is removed and another one added, while the guest runs:

    unplug/1                         the guest lets go of the disk that goes
    inactive/node3/1 ...             it is shut down, on both nodes
    unmirror/node3/1 ...             and its mirror taken down
    volume/node3/1/data ...          volumes of the new one, on both nodes
    mirror/node3/1, mirror/node1/1   both sides up, new and equal; active/node3/1: in use
    wipe/node3/1                     (if the cluster wants it) it is emptied
    modified                         the configuration has changed (set_params.py)
    plug/1                           the guest has the new disk
    synced/1                         (wait_for_sync) both sides are connected and in order
    remove/node3/1/data ...          the volumes of the old one are destroyed

What can go wrong: before the first `remove/...` everything is put back. A guest that does not let
go of a disk fails the opcode: its volume may not be taken from under it. One that does not take a
new disk has it from its next start on, and the person is told. Volumes that cannot be removed
belong to no disk any more, and are found by OP_CLUSTER_VERIFY.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from commands import allocation, parse
from commands.adoption import MUST_ADOPT
from commands.capacity import disk_need_mib
from commands.disks import (
    MIRRORED,
    call,
    create_mirrors,
    create_volumes,
    deactivate,
    lead,
    nodes_of,
    remove_volumes,
    unmirror,
    wait_synced,
)
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from commands.handler import PlanOutcome
from commands.instance_ops.hotplug import HOTPLUGS
from commands.new_disks import MAX_DISKS, DiskWish, Numbers, lay_out, reservations, wanted_disks
from commands.nodes import require_reachable
from commands.part_changes import Change, no_change, place, position
from commands.runs import resource_of
from commands.specs import instance_spec
from commands.wiping import wipe
from nodeagent.calls import EnsureInactive, NodeStatus, PlugDisk, UnplugDisk
from projections.cluster import Cluster
from projections.objects import Disk, Instance, Node
from projections.plans import Call, Reservation, Step, names

_UNPLUG, _PLUG, _REMOVE = "unplug", "plug", "remove"
_NOT_HERE = {
    "adopt": "volumes are taken over when an instance is created",
    "uuid": "it is drawn",
}
_DETACHED = {
    "attach": "there are no disks without an instance: add makes a new one",
    "detach": "a disk always belongs to an instance: remove destroys it",
}


@dataclass(frozen=True, slots=True)
class DiskChanges:
    """The instance before and after, and what of the cluster's numbers the new disks take."""

    before: Instance
    after: Instance
    numbers: Numbers

    @property
    def added(self) -> tuple[int, ...]:
        """Indices, afterwards, of disks that are new."""
        return _not_among(self.after.disks, self.before.disks)

    @property
    def removed(self) -> tuple[int, ...]:
        """Indices, before, of disks that go."""
        return _not_among(self.before.disks, self.after.disks)


def disk_changes(
    cluster: Cluster, given: Given, instance: Instance, changes: Iterable[Change]
) -> DiskChanges:
    """Return what the changes come to. Raises Refused where one makes no sense."""
    numbers = Numbers(cluster, instance.nodes)
    disks, new = list(instance.disks), 0
    for number, (action, which, wish) in enumerate(changes):
        label, what = f"disk change {number}", f"disk of {instance.name}"
        match action:
            case "add":
                _require_template(instance)
                at = place(disks, which, what)
                disks.insert(at, _new(cluster, given, instance, wish, numbers, number=new))
                new += 1
            case "remove":
                del disks[position(disks, which, what)]
            case "modify":
                at = position(disks, which, what)
                disks[at] = _modified(disks[at], wish, label)
            case "attach" | "detach":
                raise Refused(
                    WRONG_INPUT, f"disks cannot be {action}ed", hint=_DETACHED[str(action)]
                )
            case _:
                raise no_change(label, action)
    _require_number(instance, disks)
    after = msgspec.structs.replace(instance, disks=tuple(disks))
    return DiskChanges(instance, after, numbers)


def require(
    cluster: Cluster,
    seen: Mapping[str, NodeStatus],
    changes: DiskChanges,
    *,
    runs: bool,
    hotplug: bool,
) -> None:
    """Refuse what the nodes have no room for, and a removal from a guest that cannot let go."""
    for node in nodes_to_ask(cluster, changes):
        sizes = [changes.after.disks[index].size_mib for index in changes.added]
        need_mib = disk_need_mib(changes.before.template, sizes)
        if need_mib:
            allocation.require_room(
                cluster, seen, node, template=changes.before.template, disk_mib=need_mib
            )
    if changes.removed and runs and not (hotplug and changes.before.hypervisor in HOTPLUGS):
        raise Refused(
            WRONG_STATE,
            f"{changes.before.name} runs, and uses disk {changes.removed[0]}",
            hint=f"gnt-instance shutdown {changes.before.name}, or leave --no-hotplug out",
        )


def nodes_to_ask(cluster: Cluster, changes: DiskChanges) -> tuple[Node, ...]:
    """Return the nodes that have to act. Raises Refused if one of them is out of reach."""
    if not (changes.added or changes.removed):
        return ()
    return tuple(require_reachable(cluster.nodes[node]) for node in changes.before.nodes)


def reserved(changes: DiskChanges, *, memory_mib: int) -> tuple[Reservation, ...]:
    """Return what new disks take from the nodes, and memory from the primary."""
    wanted = reservations(
        [changes.after.disks[index] for index in changes.added],
        nodes=changes.before.nodes,
        primary=changes.before.primary,
        memory_mib=memory_mib,
        vcpus=0,
        numbers=changes.numbers,
    )
    return tuple(each for each in wanted if each != Reservation(node=each.node))


def told(changes: DiskChanges) -> Iterator[str]:
    """Yield `what=value` for each difference, as Ganeti tells it."""
    were = {disk.uuid: disk for disk in changes.before.disks}
    for index in changes.removed:
        yield f"disk/{index}=remove"
    for index, disk in enumerate(changes.after.disks):
        old = were.get(disk.uuid)
        if old is None:
            yield f"disk/{index}=add:size={disk.size_mib},mode={disk.mode}"
            continue
        if old.mode != disk.mode:
            yield f"disk.mode/{index}={disk.mode}"
        if old.name != disk.name:
            yield f"disk.name/{index}={disk.name}"


# --- the plan ---------------------------------------------------------------------------------


def before_record(cluster: Cluster, changes: DiskChanges, *, runs: bool) -> tuple[Step, ...]:
    """Return the steps before the configuration changes."""
    before, after = changes.before, changes.after
    unplug = _unplug(cluster, before, changes.removed) if runs else ()
    active = before.disks_active
    gone = deactivate(cluster, before, names(unplug), undo=active, indices=changes.removed)
    gone += unmirror(cluster, before, changes.removed, nodes_of(before), names((*unplug, *gone)))
    there = names((*unplug, *gone))
    volumes = create_volumes(cluster, after, changes.added, _holders(after), there)
    mirrors = create_mirrors(cluster, after, changes.added, (*there, *names(volumes)))
    made = names((*volumes, *mirrors))
    ready: tuple[Call, ...] = ()
    if active:
        ready = lead(
            cluster, after, after.primary, made, undo=EnsureInactive, indices=changes.added
        )
    wiped = wipe(cluster, after, changes.added, (*made, *names(ready)), wake=not active)
    ready += wiped
    if not active and (mirrors or wiped):
        ready += deactivate(
            cluster,
            after,
            (*made, *names(wiped)),
            undo=False,
            prefix="down",
            indices=changes.added,
        )
    return (*unplug, *gone, *volumes, *mirrors, *ready)


def after_record(
    cluster: Cluster, changes: DiskChanges, record: str, *, plugs: bool, wait: bool
) -> tuple[Step, ...]:
    """Return the steps after it: what was removed is destroyed last of all."""
    plug = _plug(cluster, changes, record) if plugs else ()
    waits: tuple[Step, ...] = ()
    if wait and changes.after.template in MIRRORED and changes.after.disks_active:
        waits = wait_synced(cluster, changes.after, (record,), indices=changes.added)
    removed = remove_volumes(
        cluster,
        changes.before,
        changes.removed,
        _holders(changes.before),
        (record, *names((*plug, *waits))),
        prefix=_REMOVE,
        tolerate=True,
    )
    return (*plug, *waits, *removed)


def not_done(outcome: PlanOutcome) -> Iterator[tuple[str, str]]:
    """Yield what failed and was tolerated, for people."""
    for step, (_, message) in sorted(outcome.failures.items()):
        match step.partition("/")[0]:
            case "plug":
                yield f"hotplug/{step}", f"from the next start on: {message}"
            case "remove":
                yield step, f"left there, see gnt-cluster verify: {message}"


def _unplug(cluster: Cluster, instance: Instance, indices: Iterable[int]) -> tuple[Call, ...]:
    spec = instance_spec(cluster, instance, instance.primary)
    return tuple(
        call(
            f"{_UNPLUG}/{index}",
            instance.primary,
            _taken_out(instance, instance.disks[index]),
            resource=resource_of(instance),
            undo=PlugDisk(instance=spec, disk=instance.disks[index].uuid),
        )
        for index in indices
    )


def _plug(cluster: Cluster, changes: DiskChanges, record: str) -> tuple[Call, ...]:
    instance = changes.after
    spec = instance_spec(cluster, instance, instance.primary)
    steps: list[Call] = []
    for index in changes.added:
        disk = instance.disks[index]
        steps.append(
            call(
                f"{_PLUG}/{index}",
                instance.primary,
                PlugDisk(instance=spec, disk=disk.uuid),
                resource=resource_of(instance),
                # One after the other, so that the guest finds them in the order of their indices.
                after=(record, *names(steps[-1:])),
                undo=_taken_out(instance, disk),
                tolerate=True,
            )
        )
    return tuple(steps)


def _taken_out(instance: Instance, disk: Disk) -> UnplugDisk:
    return UnplugDisk(instance=instance.uuid, hypervisor=instance.hypervisor, disk=disk.uuid)


def _holders(instance: Instance) -> tuple[str, ...]:
    return instance.nodes if instance.template in MIRRORED else instance.nodes[:1]


# --- the disks --------------------------------------------------------------------------------


def _new(
    cluster: Cluster,
    given: Given,
    instance: Instance,
    wish: DiskWish,
    numbers: Numbers,
    *,
    number: int,
) -> Disk:
    for key in wish.keys() & _NOT_HERE.keys():
        raise Refused(WRONG_INPUT, f"{key}: {_NOT_HERE[key]}", hint=f"leave {key} out")
    if instance.template in MUST_ADOPT:
        raise Refused(
            WRONG_STATE,
            f"disks of {instance.name} are block devices, and taken over when it is created",
            hint="create another instance with all of its devices",
        )
    (disk,) = lay_out(
        cluster,
        given,
        wanted_disks((wish,), instance.template),
        template=instance.template,
        nodes=instance.nodes,
        numbers=numbers,
        directory=instance.disks[0].sides[0].volume.rpartition("/")[0],
        first=len(instance.disks) + number,
    )
    return disk


def _modified(disk: Disk, wish: DiskWish, label: str) -> Disk:
    for key in wish:
        if key not in ("mode", "name"):
            raise Refused(
                WRONG_INPUT,
                f"{label}: the {key} of a disk cannot be changed here",
                hint="mode and name can; gnt-instance grow-disk enlarges a disk",
            )
    mode = parse.choice(str(wish.get("mode") or disk.mode), ("ro", "rw"), "access mode")
    name = str(wish["name"] or "") if "name" in wish else disk.name
    return msgspec.structs.replace(disk, mode=mode, name="" if name == "none" else name)


def _require_template(instance: Instance) -> None:
    if not instance.disks:
        raise Refused(
            WRONG_STATE,
            f"{instance.name} is {instance.template}, and has no disks",
            hint="create an instance with disks instead",
        )


def _require_number(instance: Instance, disks: Sequence[Disk]) -> None:
    if len(disks) > MAX_DISKS:
        raise Refused(
            WRONG_INPUT, f"{len(disks)} disks are too many", hint=f"at most {MAX_DISKS} disks"
        )
    if instance.disks and not disks:
        raise Refused(
            WRONG_INPUT,
            f"{instance.name} on {instance.template} would be left without a disk",
            hint=f"gnt-instance remove {instance.name} removes it altogether",
        )


def _not_among(disks: Sequence[Disk], others: Sequence[Disk]) -> tuple[int, ...]:
    there = {disk.uuid for disk in others}
    return tuple(index for index, disk in enumerate(disks) if disk.uuid not in there)
