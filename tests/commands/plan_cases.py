"""Every opcode as it may be ordered, each in a town where it works: what the laws are held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from commands import opcode
from commands.cluster_ops import (
    activate_master_ip,
    add_witness,
    deactivate_master_ip,
    remove_witness,
    verify,
)
from commands.cluster_ops import destroy as cluster_destroy
from commands.cluster_ops import set_params as cluster_set_params
from commands.group_ops import add as group_add
from commands.group_ops import evacuate as group_evacuate
from commands.group_ops import remove as group_remove
from commands.group_ops import rename as group_rename
from commands.group_ops import set_params as group_set_params
from commands.handler import Handler
from commands.instance_ops import (
    activate_disks,
    change_group,
    console,
    create,
    deactivate_disks,
    failover,
    grow_disk,
    migrate,
    multi_alloc,
    reboot,
    recreate_disks,
    remove,
    rename,
    replace_disks,
    set_params,
    shutdown,
    startup,
)
from commands.node_ops import add as node_add
from commands.node_ops import ensure_voter, remove_voter
from commands.node_ops import evacuate as node_evacuate
from commands.node_ops import remove as node_remove
from commands.node_ops import set_params as node_set_params
from commands.tag_ops import delete_tags, set_tags
from nodeagent.calls import VolumeFound
from projections.events.configuration import MasterAddressWanted
from projections.objects import ADMIN_DOWN
from tests.commands.building import KEY, Town

WEB = "web1.example.net"


def plain_town(**fields: Any) -> Town:
    """web1 on node1."""
    town = Town(4)
    town.add_instance(1, nodes=(1,), **fields)
    return town


def mirror_town(**fields: Any) -> Town:
    """web1 on node3 and node1, with two disks."""
    town = Town(4)
    town.add_instance(1, nodes=(3, 1), template="drbd", sizes_mib=(1024, 2048), **fields)
    return town


def wiping_town(**fields: Any) -> Town:
    """web1 on node1, in a cluster that wipes new disks."""
    town = Town(4, prealloc_wipe_disks=True)
    town.add_instance(1, nodes=(1,), **fields)
    return town


def down(make: Callable[..., Town]) -> Callable[[], Town]:
    """The same, with web1 down."""
    return lambda: make(admin_state=ADMIN_DOWN, disks_active=False)


def tagged_town() -> Town:
    """web1 bears a tag."""
    return plain_town(tags=("a",))


def group_town() -> Town:
    """There is a second, empty group."""
    town = Town(4)
    town.carry_out(group_add.HANDLER, group_add.GroupAdd(group_name="rack2"))
    return town


def rack_town() -> Town:
    """web1 is in the first group; the second one has two nodes."""
    town = mirror_town()
    town.carry_out(group_add.HANDLER, group_add.GroupAdd(group_name="rack2"))
    for number in (5, 6):
        town.add_node(number, group=town.cluster.group("rack2").uuid)
    return town


def town_without_candidate() -> Town:
    """node4 is no master candidate any more."""
    town = Town(4)
    order = node_set_params.NodeSetParams(node_name="node4", master_candidate=False, force=True)
    town.carry_out(node_set_params.HANDLER, order)
    return town


def address_town() -> Town:
    """The cluster has an address of its master, which was taken down."""
    town = Town(master_ip="192.0.2.9", master_netdev="br0")
    town.fold("cluster", MasterAddressWanted(up=False))
    return town


def held_address_town() -> Town:
    """The master's node holds its address."""
    town = Town(master_ip="192.0.2.9", master_netdev="br0")
    town.carry_out(activate_master_ip.HANDLER, activate_master_ip.ClusterActivateMasterIp())
    return town


def small_node_town() -> Town:
    """node4 may neither lead nor hold instances."""
    town = Town(3)
    town.add_node(4, master_candidate=False, master_capable=False, vm_capable=False)
    return town


def witness_town() -> Town:
    """node4 is a witness."""
    town = small_node_town()
    town.carry_out(add_witness.HANDLER, add_witness.ClusterAddWitness(node_name="node4"))
    return town


def stray_town() -> Town:
    """A person has made two logical volumes, and connected a disk, on each node."""
    town = Town(enabled_disk_templates=("plain", "blockdev"))
    names = ("xenvg/theirs", "xenvg/more", "/dev/disk/by-id/wwn-1")
    town.volumes = tuple(VolumeFound(name=name, size_mib=2048) for name in names)
    return town


@dataclass(frozen=True)
class Case:
    """An order, and the town it is made in."""

    name: str
    handler: Handler[Any]
    op: opcode.Opcode
    town: Callable[[], Town]


def new(**fields: Any) -> create.InstanceCreate:
    """Return an order for a new instance."""
    wanted: dict[str, Any] = {
        "instance_name": "new.example.net",
        "os_type": "debian",
        "disk_template": "plain",
        "disks": ({"size": 1024}, {"size": 2048}),
        "nics": ({},),
    }
    return create.InstanceCreate(**{**wanted, **fields})


def replace(mode: str, **fields: Any) -> replace_disks.InstanceReplaceDisks:
    """Return an order to replace disks of web1."""
    return replace_disks.InstanceReplaceDisks(instance_name=WEB, mode=mode, **fields)


PLAIN = {
    "add plain": (create.HANDLER, new(pnode="node1"), Town),
    "add plain, chosen": (create.HANDLER, new(), mirror_town),
    "add drbd": (create.HANDLER, new(disk_template="drbd", pnode="node2", snode="node1"), Town),
    "add drbd, chosen": (create.HANDLER, new(disk_template="drbd"), mirror_town),
    "add drbd, not started": (create.HANDLER, new(disk_template="drbd", start=False), Town),
    "add drbd, wiped": (
        create.HANDLER,
        new(disk_template="drbd", start=False),
        lambda: Town(4, prealloc_wipe_disks=True),
    ),
    "grow, wiped": (
        grow_disk.HANDLER,
        grow_disk.InstanceGrowDisk(instance_name=WEB, disk=0, amount=1024),
        lambda: wiping_town(admin_state=ADMIN_DOWN, disks_active=False),
    ),
    "recreate, wiped": (
        recreate_disks.HANDLER,
        recreate_disks.InstanceRecreateDisks(instance_name=WEB),
        lambda: wiping_town(admin_state=ADMIN_DOWN, disks_active=False),
    ),
    "add a disk, wiped": (
        set_params.HANDLER,
        set_params.InstanceSetParams(instance_name=WEB, disks=(("add", -1, {"size": 1024}),)),
        lambda: wiping_town(admin_state=ADMIN_DOWN, disks_active=False),
    ),
    "add file": (create.HANDLER, new(disk_template="file"), Town),
    "add sharedfile": (create.HANDLER, new(disk_template="sharedfile"), Town),
    "adopt": (
        create.HANDLER,
        new(pnode="node1", disks=({"adopt": "theirs"}, {"adopt": "more"})),
        stray_town,
    ),
    "adopt a device": (
        create.HANDLER,
        new(
            pnode="node1",
            disk_template="blockdev",
            disks=({"adopt": "/dev/disk/by-id/wwn-1"},),
            start=False,
        ),
        stray_town,
    ),
    "add diskless": (create.HANDLER, new(disk_template="diskless", disks=()), Town),
    "replace -s": (replace_disks.HANDLER, replace("replace_on_secondary"), mirror_town),
    "replace -p": (replace_disks.HANDLER, replace("replace_on_primary"), mirror_town),
    "replace -n": (
        replace_disks.HANDLER,
        replace("replace_new_secondary", remote_node="node2"),
        mirror_town,
    ),
    "replace -I": (
        replace_disks.HANDLER,
        replace("replace_new_secondary", iallocator="."),
        mirror_town,
    ),
    "replace, early": (
        replace_disks.HANDLER,
        replace("replace_on_secondary", early_release=True),
        mirror_town,
    ),
    "startup": (startup.HANDLER, startup.InstanceStartup(instance_name=WEB), down(mirror_town)),
    "startup again": (startup.HANDLER, startup.InstanceStartup(instance_name=WEB), mirror_town),
    "shutdown": (shutdown.HANDLER, shutdown.InstanceShutdown(instance_name=WEB), mirror_town),
    "console": (console.HANDLER, console.InstanceConsole(instance_name=WEB), plain_town),
    "reboot soft": (
        reboot.HANDLER,
        reboot.InstanceReboot(instance_name=WEB, reboot_type="soft"),
        plain_town,
    ),
    "reboot full": (
        reboot.HANDLER,
        reboot.InstanceReboot(instance_name=WEB, reboot_type="full"),
        mirror_town,
    ),
    "failover": (failover.HANDLER, failover.InstanceFailover(instance_name=WEB), mirror_town),
    "failover, down": (
        failover.HANDLER,
        failover.InstanceFailover(instance_name=WEB),
        down(mirror_town),
    ),
    "failover, shared": (
        failover.HANDLER,
        failover.InstanceFailover(instance_name=WEB),
        lambda: plain_town(template="sharedfile"),
    ),
    "migrate": (migrate.HANDLER, migrate.InstanceMigrate(instance_name=WEB), mirror_town),
    "migrate, shared": (
        migrate.HANDLER,
        migrate.InstanceMigrate(instance_name=WEB, target_node="node2"),
        lambda: plain_town(template="sharedfile"),
    ),
    "activate": (
        activate_disks.HANDLER,
        activate_disks.InstanceActivateDisks(instance_name=WEB, wait_for_sync=True),
        down(mirror_town),
    ),
    "deactivate": (
        deactivate_disks.HANDLER,
        deactivate_disks.InstanceDeactivateDisks(instance_name=WEB),
        lambda: mirror_town(admin_state=ADMIN_DOWN),
    ),
    "grow": (
        grow_disk.HANDLER,
        grow_disk.InstanceGrowDisk(instance_name=WEB, disk=1, amount=1024),
        mirror_town,
    ),
    "grow, down": (
        grow_disk.HANDLER,
        grow_disk.InstanceGrowDisk(instance_name=WEB, disk=0, amount=4096, absolute=True),
        down(mirror_town),
    ),
    "recreate": (
        recreate_disks.HANDLER,
        recreate_disks.InstanceRecreateDisks(instance_name=WEB, disks=(1,)),
        down(mirror_town),
    ),
    "recreate elsewhere": (
        recreate_disks.HANDLER,
        recreate_disks.InstanceRecreateDisks(instance_name=WEB, nodes=("node2", "node4")),
        down(mirror_town),
    ),
    "recreate, chosen": (
        recreate_disks.HANDLER,
        recreate_disks.InstanceRecreateDisks(instance_name=WEB, iallocator="."),
        down(plain_town),
    ),
    "rename": (
        rename.HANDLER,
        rename.InstanceRename(instance_name=WEB, new_name="www.example.net"),
        down(mirror_town),
    ),
    "modify": (
        set_params.HANDLER,
        set_params.InstanceSetParams(
            instance_name=WEB,
            beparams={"memory": "1G"},
            nics=(("add", -1, {}), ("remove", 0, {})),
        ),
        plain_town,
    ),
    "modify disks": (
        set_params.HANDLER,
        set_params.InstanceSetParams(
            instance_name=WEB,
            disks=(
                ("remove", 0, {}),
                ("add", -1, {"size": "1G"}),
                ("modify", 0, {"mode": "ro", "name": "data"}),
            ),
        ),
        mirror_town,
    ),
    "modify disks, down": (
        set_params.HANDLER,
        set_params.InstanceSetParams(
            instance_name=WEB, disks=(("add", 0, {"size": "1G"}), ("remove", -1, {}))
        ),
        down(mirror_town),
    ),
    "modify offline": (
        set_params.HANDLER,
        set_params.InstanceSetParams(instance_name=WEB, offline=True),
        down(plain_town),
    ),
    "balloon": (
        set_params.HANDLER,
        set_params.InstanceSetParams(instance_name=WEB, runtime_mem=512),
        plain_town,
    ),
    "remove": (remove.HANDLER, remove.InstanceRemove(instance_name=WEB), mirror_town),
    "remove, down": (remove.HANDLER, remove.InstanceRemove(instance_name=WEB), down(plain_town)),
    "node add": (node_add.HANDLER, node_add.NodeAdd(node_name="node9", ticket_key=KEY), Town),
    "voter made": (ensure_voter.HANDLER, ensure_voter.NodeEnsureVoter(node_name="node2"), Town),
    "voter removed": (
        remove_voter.HANDLER,
        remove_voter.NodeRemoveVoter(node_name="node4", voter_key=KEY),
        town_without_candidate,
    ),
    "node remove": (node_remove.HANDLER, node_remove.NodeRemove(node_name="node4"), mirror_town),
    "node drain": (
        node_set_params.HANDLER,
        node_set_params.NodeSetParams(node_name="node2", drained=True, auto_promote=True),
        Town,
    ),
    "group add": (group_add.HANDLER, group_add.GroupAdd(group_name="rack9"), Town),
    "group remove": (
        group_remove.HANDLER,
        group_remove.GroupRemove(group_name="rack2"),
        group_town,
    ),
    "group rename": (
        group_rename.HANDLER,
        group_rename.GroupRename(group_name="rack2", new_name="rack3"),
        group_town,
    ),
    "group modify": (
        group_set_params.HANDLER,
        group_set_params.GroupSetParams(
            group_name="default", alloc_policy="unallocable", diskparams={"drbd": {"protocol": "A"}}
        ),
        Town,
    ),
    "add tags": (
        set_tags.HANDLER,
        set_tags.TagsSet(kind="instance", name=WEB, tags=("b", "c")),
        tagged_town,
    ),
    "remove tags": (
        delete_tags.HANDLER,
        delete_tags.TagsDel(kind="instance", name=WEB, tags=("a",)),
        tagged_town,
    ),
    "cluster modify": (
        cluster_set_params.HANDLER,
        cluster_set_params.ClusterSetParams(beparams={"vcpus": 2}, mac_prefix="aa:bb:cc"),
        plain_town,
    ),
    "witness": (
        add_witness.HANDLER,
        add_witness.ClusterAddWitness(node_name="node4"),
        small_node_town,
    ),
    "no witness": (
        remove_witness.HANDLER,
        remove_witness.ClusterRemoveWitness(node_name="node4"),
        witness_town,
    ),
    "address up": (
        activate_master_ip.HANDLER,
        activate_master_ip.ClusterActivateMasterIp(),
        address_town,
    ),
    "address down": (
        deactivate_master_ip.HANDLER,
        deactivate_master_ip.ClusterDeactivateMasterIp(),
        held_address_town,
    ),
    "cluster destroy": (
        cluster_destroy.HANDLER,
        cluster_destroy.ClusterDestroy(),
        lambda: Town(1),
    ),
    "verify": (verify.HANDLER, verify.ClusterVerify(), mirror_town),
    "evacuate node": (
        node_evacuate.HANDLER,
        node_evacuate.NodeEvacuate(node_name="node3", mode="all"),
        mirror_town,
    ),
    "evacuate node to another": (
        node_evacuate.HANDLER,
        node_evacuate.NodeEvacuate(node_name="node1", mode="secondary-only", remote_node="node2"),
        mirror_town,
    ),
    "evacuate group": (
        group_evacuate.HANDLER,
        group_evacuate.GroupEvacuate(group_name="default"),
        rack_town,
    ),
    "change group": (
        change_group.HANDLER,
        change_group.InstanceChangeGroup(instance_name=WEB),
        rack_town,
    ),
    "add many": (
        multi_alloc.HANDLER,
        multi_alloc.InstanceMultiAlloc(
            instances=(
                {"instance_name": "a", "disk_template": "diskless", "no_install": True},
                {"instance_name": "b", "disk_template": "diskless", "no_install": True},
            )
        ),
        Town,
    ),
}
CASES = [
    Case(name, handler, op, town)  # type: ignore[arg-type]
    for name, (handler, op, town) in PLAIN.items()
]
