"""Where the data of a cluster comes from, and the placement that is built from it.

A source of data is anything with `load() -> Cluster`; a back end for a running cluster only has
to be one more of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tools.htools.choices import BadValue, Choices, real
from tools.htools.errors import DataError, HtoolsError, position
from tools.htools.names import match_name, unmatched

if TYPE_CHECKING:
    from commands.placement.frame import Load, Settings
    from commands.placement.model import Cluster, Instance
    from commands.placement.state import Placement


class Source(Protocol):
    """Gives the data of one cluster. Raises DataError."""

    def load(self) -> Cluster:
        """Read the cluster once."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """`-t`: a file in the text format."""

    path: str

    def load(self) -> Cluster:
        """Read and parse the file."""
        from tools.htools.text import parse_cluster

        return parse_cluster(read_text(self.path))


@dataclass(frozen=True, slots=True)
class Simulation:
    """`--simulate`: empty groups of equal nodes."""

    specs: tuple[str, ...]

    def load(self) -> Cluster:
        """Make the cluster up."""
        from tools.htools.simulate import simulated

        return simulated(self.specs)


@dataclass(frozen=True, slots=True)
class AllocatorFile:
    """`-I`: the cluster in a request to an instance allocator."""

    path: str

    def load(self) -> Cluster:
        """Read and parse the request."""
        from tools.htools.iallocator import parse_request

        return parse_request(read_text(self.path)).cluster


@dataclass(frozen=True, slots=True)
class Rapi:
    """`-m`: the remote API of a cluster, or a directory with its answers."""

    address: str

    def load(self) -> Cluster:
        """Query groups, nodes, instances and the cluster."""
        from tools.htools.rapi import load_cluster

        return load_cluster(self.address)


def read_text(path: str) -> str:
    """The text of a file; DataError in the words of the original if it cannot be read."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except OSError as problem:
        reason = problem.strerror or "error"
        kind = "does not exist" if isinstance(problem, FileNotFoundError) else "cannot be read"
        raise DataError(f"{path}: openFile: {kind} ({reason})") from problem
    except UnicodeDecodeError as problem:
        where = position(problem.object, problem.start)
        raise DataError(f"{path}: not a text file: no UTF-8 {where}") from problem


def source(choices: Choices) -> Source:
    """The source that a command line selects. Raises HtoolsError for none, or for too many."""
    exclusive = [bool(choices.master), choices.luxi is not None, choices.data_file is not None]
    if sum(exclusive) > 1:
        raise HtoolsError("Only one of the rapi, luxi, and data files options should be given.")
    if choices.master:
        return Rapi(choices.master)
    if choices.luxi is not None:
        from tools.htools.live import Running, settings_of

        return Running(settings_of(choices))
    if choices.simulations:
        return Simulation(tuple(choices.simulations))
    if choices.data_file is not None:
        return TextFile(choices.data_file)
    if choices.allocator_file is not None:
        return AllocatorFile(choices.allocator_file)
    raise HtoolsError("failed to load data, aborting: No backend selected! Exiting.")


@dataclass(slots=True)
class Loaded:
    """A cluster, what was asked of it, and where its instances are."""

    cluster: Cluster
    settings: Settings
    placement: Placement
    warnings: list[str]
    alias_cut: int  # length of the domain that names are shown without
    domain: str

    def alias(self, name: str) -> str:
        """A name without the domain that all names share."""
        return name[: len(name) - self.alias_cut] if self.alias_cut else name


def load(choices: Choices, extra: Sequence[Instance] = ()) -> Loaded:
    """Read the cluster and build its placement; see `place`. Raises HtoolsError."""
    chosen = source(choices)
    loads = _dynamic_loads(choices)
    try:
        cluster = chosen.load()
    except DataError as problem:
        raise HtoolsError(f"failed to load data, aborting: {problem}") from problem
    return place(cluster, choices, loads, extra)


def place(
    cluster: Cluster,
    choices: Choices,
    loads: dict[str, Load] | None = None,
    extra: Sequence[Instance] = (),
) -> Loaded:
    """Build the placement of a cluster as the options ask for it. Raises HtoolsError.

    `extra` are the instances that are to be placed: their tags count as well.
    """
    from commands.placement.frame import Settings, build_frame, inconsistencies
    from commands.placement.model import common_domain
    from commands.placement.state import Placement

    node_names = [node.name for node in cluster.nodes]
    instance_names = [inst.name for inst in cluster.instances]
    settings = Settings(
        loads=loads or {},
        ignore_loads=choices.ignore_dynamic,
        exclusion_prefixes=tuple(f"{tag}:" for tag in choices.exclusion_tags),
        fixed=_fixed(choices, instance_names),
        offline=_offline(choices, node_names),
        max_cpu=choices.max_cpu,
        min_disk=choices.min_disk,
        static_node_memory=choices.static_kvm_memory,
    )
    frame = build_frame(cluster, settings, extra=extra)
    placement = Placement(frame)
    domain = common_domain(node_names + instance_names)
    return Loaded(
        cluster=cluster,
        settings=settings,
        placement=placement,
        warnings=inconsistencies(frame, _disk_used(placement)),
        alias_cut=len(domain),
        domain=domain,
    )


def add_seen_loads(loaded: Loaded, choices: Choices) -> None:
    """`--mond`: take the CPU loads that monitoring daemons saw into the placement."""
    if choices.mond and not choices.ignore_dynamic:
        from tools.htools.mond import apply_loads

        apply_loads(loaded, choices)


def _disk_used(placement: Placement):  # type: ignore[no-untyped-def]  # numpy comes late
    """Disk of all instances by node, whatever their storage."""
    import numpy as np

    used = np.zeros(placement.frame.size, dtype=np.int64)
    for nodes in (placement.primaries, placement.secondaries):
        for node, indices in enumerate(nodes):
            used[node] += sum(placement.instances[index].disk for index in indices)
    return used


def _fixed(choices: Choices, names: list[str]) -> frozenset[str]:
    """Instances that the options forbid to move."""
    unknown = unmatched(names, choices.selected + choices.excluded)
    if unknown:
        listed = ",".join(f'"{word}"' for word in unknown)
        raise HtoolsError(f"failed to load data, aborting: Unknown instance(s): [{listed}]")
    selected = {match_name(names, word) for word in choices.selected}
    excluded = {match_name(names, word) for word in choices.excluded}
    return frozenset(
        name for name in names if name in excluded or (selected and name not in selected)
    )


def _offline(choices: Choices, names: list[str]) -> frozenset[str]:
    wrong = unmatched(names, choices.offline)
    if wrong:
        raise HtoolsError(f"wrong node name(s) set as offline: {','.join(wrong)}\n")
    return frozenset(match_name(names, word) or "" for word in choices.offline)


def _dynamic_loads(choices: Choices) -> dict[str, Load]:
    """`-U`: lines of a name and four loads."""
    if choices.dynamic_file is None:
        return {}
    try:
        text = read_text(choices.dynamic_file)
        return {} if choices.ignore_dynamic else dict(map(_dynamic_line, text.splitlines()))
    except (DataError, BadValue) as problem:
        raise HtoolsError(f"can't parse utilisation data: {problem}") from problem


def _dynamic_line(line: str) -> tuple[str, Load]:
    parts = line.split(" ")
    if len(parts) != 5:
        raise BadValue(f"Cannot parse line {line}")
    name = parts[0]
    cpu, memory, disk, network = (real(part, name) for part in parts[1:])
    return name, (cpu, memory, disk, network)
