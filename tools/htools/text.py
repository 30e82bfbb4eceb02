"""The text format of clusters: `-t` reads it, `-S` and hscan write it.

Five sections, split by single empty lines: groups, nodes, instances, cluster tags, policies; the
last may be missing. Columns are split by `|`, lists by `,`; trailing columns have defaults. Errors
name the line and the column, both from 1, or who refers to whom where a name is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from commands.placement.model import (
    ALLOC_POLICIES,
    DEFAULT_POLICY,
    LARGEST,
    NO_NODE,
    STATUSES,
    TEMPLATES,
    Bounds,
    Cluster,
    Disk,
    Group,
    Instance,
    Node,
    Policy,
    Spec,
)
from tools.htools.errors import DataError
from tools.htools.figures import fixed, plain, shown

if TYPE_CHECKING:
    from commands.placement.state import Placement

_INTEGER: Final = re.compile(r" *-?\d+ *", re.ASCII)
_NUMBER: Final = re.compile(r" *-?\d+(\.\d+)?([eE][-+]?\d+)? *", re.ASCII)
T = TypeVar("T")


@dataclass(slots=True)
class _Row:
    """One line of a section, read column by column."""

    number: int
    cells: list[str]
    name: str = ""

    def fail(self, column: int, problem: str) -> DataError:
        """An error at the start of a column."""
        at = sum(len(cell) + 1 for cell in self.cells[:column]) + 1
        return DataError(f"{problem} (line {self.number}, column {at})")

    def text(self, column: int, default: str = "") -> str:
        """A cell, or its default where the line is shorter."""
        return self.cells[column] if column < len(self.cells) else default

    def words(self, column: int) -> tuple[str, ...]:
        """A list of words."""
        return tuple(self.text(column).split(",")) if self.text(column) else ()

    def integer(self, column: int, default: str = "", *, least: int = -LARGEST) -> int:
        """A whole number in range."""
        return int(self._checked(column, default, _INTEGER, least))

    def real(self, column: int, default: str = "", *, least: float = 0.0) -> float:
        """A number in range."""
        return self._checked(column, default, _NUMBER, least)

    def _checked(self, column: int, default: str, pattern: re.Pattern[str], least: float) -> float:
        text = self.text(column, default)
        if not pattern.fullmatch(text):
            found = pattern.match(text)
            if found is None:
                raise self.fail(column, f"{self.name}: cannot parse string '{text}'")
            rest = text[found.end() :]
            raise self.fail(
                column, f"{self.name}: leftover characters when parsing '{text}': '{rest}'"
            )
        value = int(text) if pattern is _INTEGER else float(text)
        if not least <= value <= LARGEST:
            raise self.fail(column, f"{self.name}: value '{text}' is out of range")
        return value

    def flag(self, column: int, default: str, problem: str) -> bool:
        """Y or N."""
        text = self.text(column, default)
        if text not in ("Y", "N"):
            raise self.fail(column, problem.format(text))
        return text == "Y"

    def choice(self, column: int, values: Sequence[str], what: str) -> str:
        """One of some words."""
        text = self.text(column)
        if text not in values:
            raise self.fail(column, f"Invalid {what} '{text}' for {self.name}")
        return text

    def number_of(self, column: int, numbers: dict[str, int], problem: str) -> int:
        """The position of something named elsewhere.

        If there is none the message is the original's alone: it names both ends.
        """
        text = self.text(column)
        if text not in numbers:
            raise DataError(problem.format(text))
        return numbers[text]


def parse_cluster(text: str) -> Cluster:
    """Read a cluster; raises DataError."""
    sections = _sections(text)
    if len(sections) < 4:
        lines = text.count("\n") + 1
        raise DataError(
            f"Invalid format of the input file: {len(sections)} sections instead of 4 or more"
            f" (line {lines}, column 1)"
        )
    groups = [_group(row) for row in sections[0]]
    uuids = _unique(sections[0], 1, "group uuid")
    nodes = [_node(row, uuids) for row in sections[1]]
    numbers = _unique(sections[1], 0, "node name")
    instances = tuple(_instance(row, numbers) for row in sections[2])
    policy = DEFAULT_POLICY
    names = {group.name: index for index, group in enumerate(groups)}
    for row in sections[4] if len(sections) > 4 else []:
        found = _policy(row)
        if row.cells[0] == "":
            policy = found
            continue
        if row.cells[0] not in names:
            raise row.fail(0, f"Wrong number of elems found with name {row.cells[0]}")
        position = names[row.cells[0]]
        groups[position] = msgspec.structs.replace(groups[position], policy=found)
    tags = tuple("|".join(row.cells) for row in sections[3])
    return Cluster(tuple(groups), tuple(nodes), instances, tags, policy)


def _sections(text: str) -> list[list[_Row]]:
    """Split at single empty lines; two in a row stand for an empty section."""
    lines = text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    if not lines:
        return []
    sections: list[list[_Row]] = [[]]
    for number, line in enumerate(lines, 1):
        if line == "":
            sections.append([])
        else:
            sections[-1].append(_Row(number, line.split("|")))
    return sections


def _unique(rows: Sequence[_Row], column: int, what: str) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for index, row in enumerate(rows):
        if row.text(column) in numbers:
            raise row.fail(column, f"Duplicate {what} '{row.text(column)}'")
        numbers[row.text(column)] = index
    return numbers


def _need(row: _Row, count: int, what: str) -> None:
    if len(row.cells) < count:
        cells = ",".join(f'"{cell}"' for cell in row.cells)
        end = len("|".join(row.cells)) + 1
        problem = f"Invalid/incomplete {what} data: '[{cells}]'"
        raise DataError(f"{problem} (line {row.number}, column {end})")
    row.name = row.cells[0]


def _group(row: _Row) -> Group:
    _need(row, 4, "group")
    policy = row.choice(2, ALLOC_POLICIES, "alloc policy")
    return Group(row.cells[0], row.cells[1], policy, row.words(3), row.words(4))


def _node(row: _Row, uuids: dict[str, int]) -> Node:
    _need(row, 9, "node")
    name = row.name
    group = row.number_of(8, uuids, f"Unknown group '{{}}' for node {name}")
    if "?" in row.cells[1:7]:
        return Node(name, group, 0.0, 0, 0, 0.0, 0, 0.0, node_cpus=0, offline=True, spindles=0)
    exclusive = row.flag(11, "N", f"Invalid exclusive_storage value for node '{name}': {{}}")
    speed = row.real(14, "1.0")
    if speed <= 0:
        raise row.fail(14, f"{name}: value '{row.text(14)}' is out of range")
    return Node(
        name=name,
        group=group,
        total_memory=row.real(1),
        node_memory=row.integer(2, least=0),
        free_memory=row.integer(3),
        total_disk=row.real(4),
        free_disk=row.integer(5),
        cpus=row.real(6),
        node_cpus=row.integer(13, "1", least=0),
        cpu_speed=speed,
        offline=row.text(7) == "Y",
        master=row.text(7) == "M",
        spindles=row.integer(9, "1", least=0),
        free_spindles=row.integer(12, "0"),
        exclusive_storage=exclusive,
        tags=row.words(10),
    )


def _instance(row: _Row, numbers: dict[str, int]) -> Instance:
    _need(row, 10, "instance")
    name = row.name
    unknown = f"Unknown node '{{}}' for instance {name}"
    primary = row.number_of(6, numbers, unknown)
    secondary = NO_NODE if row.text(7) == "" else row.number_of(7, numbers, unknown)
    disk = row.integer(2, least=0)
    spindles = None if row.text(11, "-") == "-" else row.integer(11, least=0)
    balanced = row.flag(5, "Y", f"Invalid auto_balance value '{{}}' for instance {name}")
    coming = row.flag(12, "N", f"Invalid forthcoming value '{{}}' for instance {name}")
    template = row.choice(8, tuple(TEMPLATES), "disk template")
    if template == "drbd" and primary == secondary:
        raise row.fail(7, f"Instance {name} has same primary and secondary node - {row.text(6)}")
    return Instance(
        name=name,
        memory=row.integer(1, least=0),
        disk=disk,
        vcpus=row.integer(3, least=0),
        status=row.choice(4, tuple(STATUSES), "status"),
        template=template,
        primary=primary,
        secondary=secondary,
        disks=(Disk(disk, spindles),),
        auto_balance=balanced,
        spindle_use=row.integer(10, "1", least=0),
        tags=row.words(9),
        forthcoming=coming,
    )


def _policy(row: _Row) -> Policy:
    if len(row.cells) < 6:
        _need(row, 6, "ipolicy")
    owner = row.cells[0]
    row.name = owner
    specs = row.text(2).split(";") if row.text(2) else []
    if len(specs) % 2:
        raise row.fail(2, f"Odd number of min/max specs for {owner}")
    found = [_spec(row, 2, spec, ("/minspec", "/maxspec")[n % 2]) for n, spec in enumerate(specs)]
    templates = row.words(3)
    for template in templates:
        if template not in TEMPLATES:
            raise row.fail(3, f"Invalid disk template '{template}' for {owner or 'the cluster'}")
    standard = _spec(row, 1, row.text(1), "/stdspec")
    row.name = f"{owner}/vcpu_ratio"
    vcpu_ratio = row.real(4)
    row.name = f"{owner}/spindle_ratio"
    return Policy(
        standard=standard,
        bounds=tuple(map(Bounds, found[::2], found[1::2])),
        templates=templates,
        vcpu_ratio=vcpu_ratio,
        spindle_ratio=row.real(5),
    )


def _spec(row: _Row, column: int, text: str, what: str) -> Spec:
    parts = text.split(",")
    if len(parts) < 6:
        raise row.fail(column, f"Invalid ispec data for {row.name}{what}: '{text}'")
    for part in parts[:6]:
        if not _INTEGER.fullmatch(part):
            raise row.fail(column, f"{row.name}{what}: cannot parse string '{part}'")
        if not 0 <= int(part) <= LARGEST:
            raise row.fail(column, f"{row.name}{what}: value '{part}' is out of range")
    return Spec(*(int(part) for part in parts[:6]))


# --- writing ----------------------------------------------------------------------------------


def cluster_text(
    cluster: Cluster,
    placement: Placement,
    *,
    nodes: Sequence[int] | None = None,
    instances: Sequence[int] | None = None,
    offline: Callable[[int], bool] | None = None,
) -> str:
    """Write a cluster as it is in `placement`, or the given nodes and instances of it.

    `offline` overrides which nodes are marked so; by default those that the data marks.
    """
    down = offline or (lambda node: cluster.nodes[node].offline)
    shown_nodes = range(len(cluster.nodes)) if nodes is None else nodes
    shown_instances = range(len(placement.instances)) if instances is None else instances
    sections = (
        [_group_line(group) for group in cluster.groups],
        [_node_line(cluster, placement, node, down(node)) for node in shown_nodes],
        [_instance_line(cluster, placement, index) for index in shown_instances],
        list(cluster.tags),
        [
            _policy_line("", cluster.policy),
            *(_policy_line(group.name, group.policy) for group in cluster.groups),
        ],
    )
    return "\n".join("".join(f"{line}\n" for line in lines) for lines in sections)


def _group_line(group: Group) -> str:
    lists = ",".join(group.tags), ",".join(group.networks)
    return "|".join((group.name, group.uuid, group.alloc_policy, *lists))


def _node_line(cluster: Cluster, placement: Placement, index: int, offline: bool) -> str:
    node = cluster.nodes[index]
    return "|".join(
        (
            node.name,
            fixed(node.total_memory, 0),
            str(placement.frame.node_memory[index]),
            str(node.free_memory),
            fixed(node.total_disk, 0),
            str(placement.free_disk[index]),
            fixed(node.cpus, 0),
            "Y" if offline else "M" if node.master else "N",
            cluster.groups[node.group].uuid,
            str(node.spindles),
            ",".join(node.tags),
            "Y" if node.exclusive_storage else "N",
            str(placement.free_spindles[index]),
            str(node.node_cpus),
            plain(node.cpu_speed),
        )
    )


def _instance_line(cluster: Cluster, placement: Placement, index: int) -> str:
    inst = placement.instances[index]
    secondary = placement.secondary[index]
    spindles = inst.total_spindles
    return "|".join(
        (
            inst.name,
            str(inst.memory),
            str(inst.disk),
            str(inst.vcpus),
            inst.status,
            "Y" if inst.auto_balance else "N",
            cluster.nodes[placement.primary[index]].name,
            "" if secondary == NO_NODE else cluster.nodes[secondary].name,
            inst.template,
            ",".join(inst.tags),
            str(inst.spindle_use),
            "-" if spindles is None else str(spindles),
            "Y" if inst.forthcoming else "N",
        )
    )


def _policy_line(owner: str, policy: Policy) -> str:
    bounds = (_spec_text(spec) for pair in policy.bounds for spec in (pair.low, pair.high))
    return "|".join(
        (
            owner,
            _spec_text(policy.standard),
            ";".join(bounds),
            ",".join(policy.templates),
            shown(policy.vcpu_ratio),
            shown(policy.spindle_ratio),
        )
    )


def _spec_text(spec: Spec) -> str:
    return ",".join(map(str, msgspec.structs.astuple(spec)))
