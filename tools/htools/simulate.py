"""`--simulate`: empty clusters of equal nodes, one group for each specification."""

from __future__ import annotations

from collections.abc import Sequence

from commands.placement.model import ALLOC_POLICIES, Cluster, Group, Node
from tools.htools.choices import BadValue, integer, parse_unit
from tools.htools.errors import DataError


def simulated(specs: Sequence[str]) -> Cluster:
    """The cluster that the specifications describe; the last one given is the first group.

    `policy,count,disk,memory,cpus[,spindles[,exclusive]]`; a policy may be its first letter, or
    `a` for last_resort. Raises DataError.
    """
    groups: list[Group] = []
    nodes: list[Node] = []
    for number, spec in enumerate(specs, 1):
        policy, made = _group(number, spec)
        groups.append(Group(f"group-{number:02d}", f"fake-uuid-{number:02d}", policy))
        nodes += made
    return Cluster(tuple(groups), tuple(nodes), (), first_index=1)


def _group(number: int, spec: str) -> tuple[str, list[Node]]:
    parts = spec.split(",")
    if not 5 <= len(parts) <= 7:
        raise DataError(
            "Invalid cluster specification, expected 6 comma-separated sections (allocation"
            " policy, node count, disk size, memory size, number of CPUs, spindles) but got"
            f" {len(parts)}: '{spec}'"
        )
    short = dict(zip("pau", ALLOC_POLICIES, strict=True))
    policy = short.get(parts[0], parts[0])
    if policy not in ALLOC_POLICIES:
        raise DataError(f"Cannot parse AllocPolicy abbreviation '{parts[0]}'")
    try:
        count = integer(parts[1], "node count")
        disk = parse_unit(parts[2], "disk size")
        memory = parse_unit(parts[3], "memory size")
        cpus = integer(parts[4], "cpu count")
        spindles = integer(parts[5], "spindles") if len(parts) > 5 else 1
    except BadValue as problem:
        raise DataError(str(problem)) from problem
    exclusive = parts[6] if len(parts) > 6 else "False"
    if exclusive not in ("True", "False"):
        raise DataError(f"exclusive storage: cannot parse string '{exclusive}'")
    if min(count, disk, memory, cpus, spindles) < 0 or count > 100_000:
        raise DataError(f"Invalid cluster specification, value out of range: '{spec}'")
    return policy, [
        Node(
            name=f"node-{number:02d}-{position:03d}",
            group=number - 1,
            total_memory=float(memory),
            node_memory=0,
            free_memory=memory,
            total_disk=float(disk),
            free_disk=disk,
            cpus=float(cpus),
            master=number == 1 and position == 1,
            spindles=spindles,
            exclusive_storage=exclusive == "True",
        )
        for position in range(1, count + 1)
    ]
