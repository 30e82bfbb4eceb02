"""Synthetic clusters for the tests: random, small, and with every feature that the score reads."""

from __future__ import annotations

import random

from commands.placement.frame import Frame, Settings, build_frame
from commands.placement.model import (
    DEFAULT_POLICY,
    NO_NODE,
    Cluster,
    Disk,
    Group,
    Instance,
    Node,
)

STATUSES = ("running", "running", "running", "ADMIN_down", "ADMIN_offline", "ERROR_up")
TEMPLATES = ("drbd", "drbd", "drbd", "plain", "ext", "rbd", "diskless", "file")
CLUSTER_TAGS = (
    "htools:iextags:svc",
    "htools:nlocation:power",
    "htools:desiredlocation:power",
    "htools:migration:cpu",
    "htools:allowmigration:cpu:old::cpu:new",
)


def random_node(rng: random.Random, number: int, *, fancy: bool) -> Node:
    """A node with room for some instances."""
    memory = rng.choice([16384, 32768, 65536])
    disk = rng.choice([200_000, 400_000, 1_000_000])
    exclusive = fancy and rng.random() < 0.2
    tags = []
    if fancy:
        tags = [f"power:{rng.randrange(3)}", rng.choice(["cpu:old", "cpu:new", "other"])]
    return Node(
        name=f"node{number}.example.com",
        group=0,
        total_memory=float(memory),
        node_memory=rng.choice([0, 512, 1024]),
        free_memory=memory - 4096,
        total_disk=float(disk),
        free_disk=disk // 2,
        cpus=float(rng.choice([8, 16, 32])),
        cpu_speed=rng.choice([1.0, 1.0, 1.3]) if fancy else 1.0,
        offline=fancy and rng.random() < 0.15,
        master=number == 0,
        spindles=rng.choice([1, 4, 12]) if not exclusive else 40,
        free_spindles=20 if exclusive else 0,
        exclusive_storage=exclusive,
        tags=tuple(tags),
    )


def random_instance(rng: random.Random, number: int, nodes: int, *, fancy: bool) -> Instance:
    """An instance somewhere; without `fancy` a running DRBD one."""
    template = rng.choice(TEMPLATES) if fancy else "drbd"
    primary = rng.randrange(nodes)
    secondary = NO_NODE
    if template == "drbd":
        secondary = rng.choice([node for node in range(nodes) if node != primary])
    disk = rng.choice([1024, 5000, 20000])
    spindles = rng.choice([None, 1, 2, 3]) if fancy else None
    tags = tuple({f"svc:{rng.randrange(4)}", f"power:{rng.randrange(4)}"}) if fancy else ()
    return Instance(
        name=f"inst{number}.example.com",
        memory=rng.choice([256, 512, 1024, 2048]),
        disk=disk,
        vcpus=rng.choice([1, 2, 4]),
        status=rng.choice(STATUSES) if fancy else "running",
        template=template,
        primary=primary,
        secondary=secondary,
        disks=(Disk(disk, spindles),),
        auto_balance=not fancy or rng.random() < 0.9,
        spindle_use=rng.choice([1, 2]),
        tags=tags,
        forthcoming=fancy and rng.random() < 0.1,
    )


def random_cluster(
    seed: int, *, nodes: int = 6, instances: int = 20, fancy: bool = True
) -> Cluster:
    """A cluster of one group; the same seed gives the same cluster."""
    rng = random.Random(seed)
    group = Group("default", "uuid-0", "preferred", policy=DEFAULT_POLICY)
    return Cluster(
        groups=(group,),
        nodes=tuple(random_node(rng, number, fancy=fancy) for number in range(nodes)),
        instances=tuple(
            random_instance(rng, number, nodes, fancy=fancy) for number in range(instances)
        ),
        tags=CLUSTER_TAGS if fancy else (),
    )


def random_frame(seed: int, *, nodes: int = 6, instances: int = 20, fancy: bool = True) -> Frame:
    """The frame of such a cluster, in some cases with stated loads and a disk reserve."""
    cluster = random_cluster(seed, nodes=nodes, instances=instances, fancy=fancy)
    rng = random.Random(~seed)
    loads = {
        inst.name: (rng.random(), rng.random(), rng.random(), rng.random())
        for inst in cluster.instances
        if rng.random() < 0.5
    }
    if not fancy or rng.random() < 0.5:
        return build_frame(cluster)
    return build_frame(cluster, Settings(loads=loads, min_disk=rng.choice([0.0, 0.1])))
