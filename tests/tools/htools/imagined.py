"""Random clusters with every feature of the text format, and requests to an allocator about them.

The same seed gives the same text. Numbers are kept consistent (what is free is what is left) most
of the time, as on real clusters; some clusters are contradictory on purpose.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any, Final

DRBD, PLAIN, SHARED = "drbd", "plain", ("rbd", "ext", "sharedfile", "gluster", "blockdev")
STATUSES: Final = ("ADMIN_down", "ADMIN_offline", "ERROR_up", "ERROR_down", "ERROR_nodedown")
NO_MEMORY: Final = ("ADMIN_down", "ADMIN_offline", "ERROR_down", "USER_down")
SPEC_KEYS: Final = (
    "memory-size", "cpu-count", "disk-size", "disk-count", "nic-count", "spindle-use",
)  # fmt: skip


@dataclass(slots=True)
class Machine:
    """A node; `used` and `stored` grow as instances are put on it."""

    name: str
    group: int
    memory: int
    own: int
    disk: int
    cpus: int
    flag: str
    spindles: int
    tags: list[str]
    exclusive: bool
    speed: float
    own_cpus: int
    extra: int  # memory that is neither free nor accounted for; below zero: too much is free
    used: int = 0
    stored: int = 0
    spun: int = 0

    @property
    def free(self) -> int:
        return max(0, self.memory - self.own - self.used - self.extra)


@dataclass(slots=True)
class Guest:
    """An instance."""

    name: str
    memory: int
    disk: int
    vcpus: int
    status: str
    balanced: bool
    primary: Machine
    secondary: Machine | None
    template: str
    tags: list[str]
    spindle_use: int
    spindles: int | None
    forthcoming: bool


@dataclass(slots=True)
class Imagined:
    """A whole cluster, and the traits that it was made with."""

    traits: set[str]
    groups: list[tuple[str, str, str, list[str], list[str]]]
    machines: list[Machine] = field(default_factory=list)
    guests: list[Guest] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    policies: list[dict[str, Any]] = field(default_factory=list)  # the cluster's, then the groups'


TRAITS: Final = (
    "groups", "offline", "exclusive", "exclusion", "location", "desired", "migration", "shared",
    "plain", "statuses", "forthcoming", "speed", "overcommitted", "tight", "spindles", "standby",
    "networks", "unbalanced", "policies", "domain", "split",
)  # fmt: skip


def imagine(seed: int) -> Imagined:
    """The cluster of this seed: each trait is present in every third."""
    rng = random.Random(seed)
    traits = {trait for trait in TRAITS if rng.random() < 0.3}
    count = rng.choice([2, 3]) if "groups" in traits else 1
    policy = ("preferred", "preferred", "last_resort", "unallocable")
    nets = ["net-a", "net-b"]
    groups: list[tuple[str, str, str, list[str], list[str]]] = [
        (
            f"group-{n}",
            f"uuid-{n}",
            rng.choice(policy) if n else "preferred",
            [],
            [net for net in nets if rng.random() < 0.7] if "networks" in traits else [],
        )
        for n in range(count)
    ]
    made = Imagined(traits, groups)
    made.machines = [
        _machine(rng, traits, g, n) for g in range(count) for n in range(rng.randint(2, 7))
    ]
    made.machines[0].flag = "M"
    for number in range(rng.randint(0, 5 * len(made.machines))):
        guest = _guest(rng, made, number)
        if guest is not None:
            made.guests.append(guest)
    made.tags = _cluster_tags(traits)
    made.policies = [_policy(rng, traits, made) for _ in range(count + 1)]
    if "policies" not in traits:
        made.policies = [made.policies[0]] * (count + 1)
    return made


def _machine(rng: random.Random, traits: set[str], group: int, number: int) -> Machine:
    tags = []
    if "location" in traits or "desired" in traits:
        tags.append(f"power:{rng.randrange(3)}")
    if "migration" in traits:
        tags.append(rng.choice(["cpu:old", "cpu:new", "other"]))
    offline = "offline" in traits and rng.random() < 0.25
    if "standby" in traits and offline:
        tags.append("htools:standby:auto")
    exclusive = "exclusive" in traits and (rng.random() < 0.5 or group == 0)
    domain = ".example.com" if "domain" in traits else ""
    tight = "tight" in traits
    return Machine(
        name=f"node-{group}-{number}{domain}",
        group=group,
        memory=rng.choice([8192, 12288, 16384] if tight else [32768, 65536]),
        own=rng.choice([0, 512, 1024]),
        disk=rng.choice([100_000, 160_000] if tight else [500_000, 1_000_000]),
        cpus=rng.choice([4, 8, 16]),
        flag="Y" if offline else "N",
        spindles=rng.choice([2, 4, 12]) if "spindles" in traits or exclusive else 1,
        tags=tags,
        exclusive=exclusive,
        speed=rng.choice([1.0, 1.3, 0.75]) if "speed" in traits else 1.0,
        own_cpus=rng.choice([0, 1, 2]),
        extra=rng.choice([0, 700, -300]) if "overcommitted" in traits else 0,
    )


def _guest(rng: random.Random, made: Imagined, number: int) -> Guest | None:
    traits = made.traits
    templates = [DRBD] * 6
    templates += list(SHARED) if "shared" in traits else []
    templates += [PLAIN, PLAIN, "file", "diskless"] if "plain" in traits else []
    if "exclusive" in traits:
        # Spindles of instances on other storage are counted differently, by decision.
        templates = [one for one in templates if one in (DRBD, PLAIN)]
    template = rng.choice(templates)
    primary = rng.choice(made.machines)
    split = "split" in traits and rng.random() < 0.1
    others = [
        one for one in made.machines if one is not primary and (split or one.group == primary.group)
    ]
    status = rng.choice(STATUSES) if "statuses" in traits and rng.random() < 0.4 else "running"
    coming = "forthcoming" in traits and rng.random() < 0.15
    memory = rng.choice([128, 256, 512, 1024, 2048])
    disk = rng.choice([1024, 5000, 10240, 20480]) if template != "diskless" else 0
    if template == DRBD and not others:
        return None
    secondary = rng.choice(others) if template == DRBD else None
    homes = [primary, secondary] if secondary else [primary]
    exclusive = any(one.exclusive for one in homes)
    spindles = rng.choice([1, 2]) if exclusive else rng.choice([None, None, 1])
    if primary.used + memory > 0.7 * primary.memory:
        return None
    if any(one.stored + disk > 0.9 * one.disk for one in homes):
        return None
    if any(one.exclusive and one.spun + (spindles or 0) > one.spindles for one in homes):
        return None
    if status not in NO_MEMORY and not coming:
        primary.used += memory
    if template in (DRBD, PLAIN) and not coming:
        for one in homes:
            one.stored += disk
            one.spun += spindles or 0
    tags = []
    if "exclusion" in traits and rng.random() < 0.6:
        tags.append(f"svc:{rng.randrange(5)}")
    if "desired" in traits and rng.random() < 0.5:
        tags.append(f"power:{rng.randrange(3)}")
    domain = ".example.com" if "domain" in traits else ""
    return Guest(
        name=f"inst-{number:02d}{domain}",
        memory=memory,
        disk=disk,
        vcpus=rng.choice([1, 2, 4]),
        status=status,
        balanced="unbalanced" not in traits or rng.random() < 0.8,
        primary=primary,
        secondary=secondary,
        template=template,
        tags=tags,
        spindle_use=rng.choice([1, 2]) if "spindles" in traits else 1,
        spindles=spindles,
        forthcoming=coming,
    )


def _cluster_tags(traits: set[str]) -> list[str]:
    wanted = {
        "exclusion": ["htools:iextags:svc"],
        "location": ["htools:nlocation:power"],
        "desired": ["htools:desiredlocation:power", "htools:nlocation:power"],
        "migration": ["htools:migration:cpu", "htools:allowmigration:cpu:old::cpu:new"],
    }
    found: dict[str, None] = {}
    for trait, tags in wanted.items():
        if trait in traits:
            found.update(dict.fromkeys(tags))
    return list(found)


def _policy(rng: random.Random, traits: set[str], made: Imagined) -> dict[str, Any]:
    templates = [DRBD, PLAIN, "diskless", "ext", "rbd", "sharedfile"]
    if "shared" in traits and "policies" in traits:
        rng.shuffle(templates)
    largest = max(one.memory for one in made.machines)
    wide = {
        "memory-size": rng.choice([largest // 4, largest // 2, 32768]),
        "cpu-count": rng.choice([4, 8]),
        "disk-size": rng.choice([20480, 102400, 1048576]),
        "disk-count": 16,
        "nic-count": 8,
        "spindle-use": 12,
    }
    low = dict(zip(SPEC_KEYS, (128, 1, 1024, 1, 1, 1), strict=True))
    pairs = [(low, wide)]
    if "policies" in traits and rng.random() < 0.5:
        pairs.append((low, {**wide, "memory-size": 1024, "cpu-count": 16}))
    usual = (rng.choice([512, 1024, 2048]), rng.choice([1, 2]), rng.choice([2048, 10240]), 1, 1, 1)
    return {
        "std": dict(zip(SPEC_KEYS, usual, strict=True)),
        "minmax": [{"min": low, "max": high} for low, high in pairs],
        "disk-templates": templates,
        "vcpu-ratio": rng.choice([4.0, 4.0, 1.5]),
        "spindle-ratio": rng.choice([32.0, 4.0]),
    }


# --- as text ----------------------------------------------------------------------------------


def text(made: Imagined) -> str:
    """The cluster in the text format."""
    groups = [
        "|".join((name, uuid, policy, ",".join(tags), ",".join(networks)))
        for name, uuid, policy, tags, networks in made.groups
    ]
    owners = ["", *(group[0] for group in made.groups)]
    sections = (
        groups,
        [_node_line(one, made) for one in made.machines],
        [_guest_line(one) for one in made.guests],
        made.tags,
        [_policy_line(owner, policy) for owner, policy in zip(owners, made.policies, strict=True)],
    )
    return "\n".join("".join(f"{line}\n" for line in lines) for lines in sections)


def _node_line(one: Machine, made: Imagined) -> str:
    cells = (
        one.name, one.memory, one.own, one.free, one.disk, one.disk - one.stored, one.cpus,
        one.flag, made.groups[one.group][1], one.spindles, ",".join(one.tags),
        "Y" if one.exclusive else "N", one.spindles - one.spun if one.exclusive else 0,
        one.own_cpus, one.speed,
    )  # fmt: skip
    return "|".join(map(str, cells))


def _guest_line(one: Guest) -> str:
    cells = (
        one.name, one.memory, one.disk, one.vcpus, one.status, "Y" if one.balanced else "N",
        one.primary.name, one.secondary.name if one.secondary else "", one.template,
        ",".join(one.tags), one.spindle_use, "-" if one.spindles is None else one.spindles,
        "Y" if one.forthcoming else "N",
    )  # fmt: skip
    return "|".join(map(str, cells))


def _policy_line(owner: str, policy: dict[str, Any]) -> str:
    def spec(sizes: dict[str, int]) -> str:
        return ",".join(str(sizes[key]) for key in SPEC_KEYS)

    bounds = ";".join(spec(pair[end]) for pair in policy["minmax"] for end in ("min", "max"))
    ratios = f"{policy['vcpu-ratio']}|{policy['spindle-ratio']}"
    return f"{owner}|{spec(policy['std'])}|{bounds}|{','.join(policy['disk-templates'])}|{ratios}"


# --- as a request -----------------------------------------------------------------------------


def question(rng: random.Random, made: Imagined) -> dict[str, Any]:
    """A question about the cluster; most have an answer."""
    kinds = ["allocate"] * 4 + ["multi-allocate"]
    if made.guests:
        kinds += ["relocate", "node-evacuate", "node-evacuate", "change-group"]
        if any(one.template == PLAIN for one in made.guests):
            kinds.append("allocate-secondary")
    kind = rng.choice(kinds)
    if kind == "allocate":
        return {"type": kind, **_wish(rng, made, 0)}
    if kind == "multi-allocate":
        return {"type": kind, "instances": [_wish(rng, made, n) for n in range(rng.randint(1, 4))]}
    if kind == "allocate-secondary":
        plain = [one for one in made.guests if one.template == PLAIN]
        return {"type": kind, "name": rng.choice(plain).name}
    if kind == "relocate":
        one = rng.choice(made.guests)
        leave = one.secondary or one.primary
        return {
            "type": kind,
            "name": one.name,
            "disk_space_total": one.disk,
            "required_nodes": 1,
            "relocate_from": [leave.name],
        }
    place = rng.choice([one.primary for one in made.guests])
    mode = rng.choice(["primary-only", "secondary-only", "all"])
    names = [
        one.name
        for one in made.guests
        if (one.primary is place and mode != "secondary-only")
        or (one.secondary is place and mode != "primary-only")
    ]
    if kind == "node-evacuate":
        return {"type": kind, "instances": names, "evac_mode": mode}
    targets = [uuid for _, uuid, *_ in made.groups if rng.random() < 0.5]
    return {"type": kind, "instances": names[:3], "target_groups": targets}


def _wish(rng: random.Random, made: Imagined, number: int) -> dict[str, Any]:
    template = rng.choice([DRBD, DRBD, DRBD, PLAIN, "ext"])
    sizes = [rng.choice([1024, 10240, 30000]) for _ in range(rng.choice([1, 1, 2]))]
    asked: dict[str, Any] = {
        "name": f"new-{number}",
        "disk_template": template,
        "group_name": rng.choice([None, None, None, rng.choice(made.groups)[0]]),
        "tags": [f"svc:{rng.randrange(5)}"] if rng.random() < 0.5 else [],
        "os": "noop",
        "vcpus": rng.choice([1, 2, 4]),
        "memory": rng.choice([128, 1024, 4096]),
        "spindle_use": rng.choice([1, 2]),
        "disks": [{"size": size, "mode": "rw", "spindles": 1} for size in sizes],
        "disk_space_total": sum(sizes) + (128 * len(sizes) if template == DRBD else 0),
        "nics": [_nic(rng, made)],
        "required_nodes": 2 if template == DRBD else 1,
        "hypervisor": "xen-pvm",
    }
    if rng.random() < 0.15:
        chosen = rng.sample(made.machines, max(2, len(made.machines) // 2))
        asked["restrict-to-nodes"] = [one.name for one in chosen]
    return asked


def _nic(rng: random.Random, made: Imagined) -> dict[str, Any]:
    nic: dict[str, Any] = {"mac": "aa:00:00:00:00:01", "ip": None, "mode": "bridged", "link": "br0"}
    return {**nic, "network": rng.choice(["net-a", "net-b"])} if "networks" in made.traits else nic


def request(made: Imagined, asked: dict[str, Any]) -> str:
    """A request to an allocator: this cluster and a question about it."""
    return json.dumps(
        {
            "version": 2,
            "cluster_name": "imagined",
            "cluster_tags": made.tags,
            "enabled_hypervisors": ["xen-pvm"],
            "ipolicy": made.policies[0],
            "nodegroups": {
                uuid: {
                    "name": name,
                    "alloc_policy": policy,
                    "networks": networks,
                    "ipolicy": made.policies[index + 1],
                    "tags": tags,
                }
                for index, (name, uuid, policy, tags, networks) in enumerate(made.groups)
            },
            "nodes": {one.name: _node_record(one, made) for one in made.machines},
            "instances": {one.name: _guest_record(one) for one in made.guests},
            "request": asked,
        },
        indent=1,
    )


def _node_record(one: Machine, made: Imagined) -> dict[str, Any]:
    return {
        "tags": one.tags,
        "offline": one.flag == "Y",
        "drained": False,
        "group": made.groups[one.group][1],
        "vm_capable": True,
        "ndparams": {"spindle_count": one.spindles, "exclusive_storage": one.exclusive},
        "total_memory": one.memory,
        "reserved_memory": one.own,
        "free_memory": one.free,
        "total_disk": one.disk,
        "free_disk": one.disk - one.stored,
        "total_spindles": one.spindles,
        "free_spindles": one.spindles - one.spun if one.exclusive else 0,
        "total_cpus": one.cpus,
        "reserved_cpus": one.own_cpus,
    }


def _guest_record(one: Guest) -> dict[str, Any]:
    state = {"ADMIN_down": "down", "ADMIN_offline": "offline"}.get(one.status, "up")
    return {
        "tags": one.tags,
        "admin_state": state,
        "vcpus": one.vcpus,
        "memory": one.memory,
        "spindle_use": one.spindle_use,
        "os": "noop",
        "nodes": [one.primary.name, *([one.secondary.name] if one.secondary else [])],
        "nics": [],
        "disks": [
            {"dev_type": one.template, "size": one.disk, "mode": "rw", "spindles": one.spindles}
        ],
        "disk_template": one.template,
        "disks_active": True,
        "hypervisor": "xen-pvm",
        "disk_space_total": one.disk,
        "forthcoming": one.forthcoming,
    }
