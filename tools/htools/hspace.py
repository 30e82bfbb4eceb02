"""hspace: how many more instances fit on a cluster while it stays redundant."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import msgspec
import numpy as np

from commands.placement import metrics
from commands.placement.allocate import Unplaced, all_nodes, allocatable
from commands.placement.capacity import Filled, Filler, Totals, totals
from commands.placement.metrics import bad_items, group_scope
from commands.placement.model import (
    NO_NODE,
    UNALLOCABLE,
    Disk,
    FailMode,
    Instance,
    Spec,
    required_nodes,
)
from commands.placement.options import Options
from commands.placement.redundancy import redundant
from commands.placement.state import Placement
from tools.htools import listing, report
from tools.htools.choices import Choices
from tools.htools.errors import HtoolsError
from tools.htools.figures import fixed, quoted, shown
from tools.htools.load import Loaded, load
from tools.htools.tables import aligned
from tools.htools.text import cluster_text

Size = tuple[int, int, int, int]  # memory, disk, cpus, spindles
Reasons = list[tuple[FailMode, int]]


@dataclass(slots=True)
class Run:
    """One run of the program."""

    loaded: Loaded
    choices: Choices
    options: Options
    template: str
    spindle_use: int

    @property
    def placement(self) -> Placement:
        return self.loaded.placement

    @property
    def exclusive(self) -> bool:
        """Whether spindles are a resource to report."""
        return bool(self.placement.frame.exclusive.any())


def keys(pairs: Sequence[tuple[str, str]], prefix: str = "HTS") -> None:
    """Print pairs as a shell fragment."""
    for key, value in pairs:
        print(f"{prefix}_{key.upper()}={quoted(value)}")


def main(choices: Choices) -> int:
    """Run hspace; return its exit status."""
    report.no_arguments(choices)
    loaded = load(choices)
    report.show_warnings(loaded, choices)
    policy = loaded.cluster.policy
    if not policy.templates:
        raise HtoolsError("null list of disk templates received from cluster")
    use = choices.spindle_use
    run = Run(
        loaded=loaded,
        choices=choices,
        options=report.algorithm_options(choices),
        template=choices.disk_template or policy.templates[0],
        spindle_use=policy.standard.spindles if use is None else use,
    )
    if not policy.bounds and choices.tiered_spec is None:
        raise HtoolsError("Empty list of specs received from the cluster")
    _introduce(run)
    filler, stopped = _prepare(run)
    tiered = _tiered(run, filler, stopped)
    _print_tiered(run, tiered)
    standard = _standard(run, filler, stopped)
    _print_standard(run, standard)
    if choices.advice and not stopped:
        _print_advice(run, filler, standard)
    if choices.plot is not None:
        from tools.htools import plots  # imports cost more than the work on a small cluster

        after = standard.filled.placement
        plots.show(choices.plot, run.placement, after, all_nodes(after))
    if choices.machine_readable:
        keys([("OK", "1")])
    return 0


def _introduce(run: Run) -> None:
    choices, placement = run.choices, run.placement
    if run.loaded.domain and choices.verbose > 1:
        print(f"Note: Stripping common suffix of '{run.loaded.domain}' from names", file=sys.stderr)
    nodes = all_nodes(placement)
    listing.show_nodes(run.loaded, placement, nodes, choices.show_nodes, "Initial cluster")
    if choices.verbose > 2:
        score = fixed(metrics.score(placement, nodes), 8)
        table = listing.statistics_table("  ", placement, nodes)
        print(f"Initial coefficients: overall {score}\n{table}", end="", file=sys.stderr)
    _print_cluster(run, totals(placement))


def _prepare(run: Run) -> tuple[Filler, bool]:
    """The nodes to fill, and whether nothing may be added at all."""
    placement, choices = run.placement, run.choices
    frame, groups = placement.frame, run.loaded.cluster.groups
    everything = all_nodes(placement)
    bad, _ = bad_items(placement, everything)
    bad_groups: list[int] = []
    if choices.independent_groups or choices.verbose > 3:
        bad_groups = [
            group
            for group in range(len(groups))
            if not redundant(placement, group_scope(placement, group), run.options)
        ]
    if choices.verbose > 3:
        _show_list("Bad nodes", [frame.names[node] for node in bad])
        _show_list("Bad groups", [groups[group].name for group in bad_groups])
    closed = {number for number, group in enumerate(groups) if group.alloc_policy == UNALLOCABLE}
    if not choices.accept_existing:
        closed |= {int(frame.group[node]) for node in bad}
    if choices.independent_groups:
        closed |= set(bad_groups)
        ignored = frozenset(bad_groups)
        run.options = msgspec.structs.replace(run.options, ignored_groups=ignored)
    remaining = len(closed) < len(groups)
    stopped = bool(len(bad)) and not choices.accept_existing
    if choices.independent_groups and remaining:
        stopped = False
    nodes = allocatable(placement, everything, run.options)
    open_nodes = np.array([n for n in nodes if int(frame.group[n]) not in closed], dtype=np.int64)
    if choices.verbose > 3:
        base = run.loaded.cluster.first_index
        print(f"Allocatable nodes: {[int(n) + base for n in open_nodes]}", file=sys.stderr)
    return Filler(open_nodes, run.options), stopped


def _show_list(title: str, names: list[str]) -> None:
    if names:
        words = ",".join(f'"{name}"' for name in names)
        print(f"{title}: [{words}]", file=sys.stderr)


def _instance(run: Run, size: Size) -> Instance:
    memory, disk, cpus, spindles = size
    return Instance(
        name="new",
        memory=memory,
        disk=disk,
        vcpus=cpus,
        status="running",
        template=run.template,
        primary=NO_NODE,
        disks=(Disk(disk, spindles),),
        spindle_use=run.spindle_use,
    )


def _size_of(spec: Spec) -> Size:
    return spec.memory_mib, spec.disk_mib, spec.cpus, spec.spindles


def _from_option(spec: tuple[int, int, int, int]) -> Size:
    disk, memory, cpus, spindles = spec
    return memory, disk, cpus, spindles


@dataclass(slots=True)
class Phase:
    """The result of one way of filling."""

    filled: Filled
    reasons: Reasons
    size: Size


def _reasons(failures: Counter[FailMode], stopped: bool) -> Reasons:
    """Most frequent first; equally frequent ones in their order."""
    found = [(FailMode.N1, 1)] if stopped else [(mode, failures[mode]) for mode in FailMode]
    return sorted(found, key=lambda pair: -pair[1])


def _limit(choices: Choices) -> int | None:
    return None if choices.max_length == -1 else choices.max_length


def _tiered(run: Run, filler: Filler, stopped: bool) -> Phase:
    choices = run.choices
    if choices.tiered_spec is not None:
        sizes = [_from_option(choices.tiered_spec)]
    else:
        sizes = [_size_of(pair.high) for pair in run.loaded.cluster.policy.bounds]
    filled = filler.start(run.placement)
    if not stopped:
        limit = _limit(choices)
        try:
            for size in sizes:
                left = None if limit is None else limit - filled.count
                if left is not None and left <= 0:
                    break
                filled = filler.fill_tiered(filled, _instance(run, size), left)
        except Unplaced as problem:
            raise HtoolsError(f"failure during allocation: {problem}") from problem
    _after(run, filled, sizes[0], "TSPEC_INI", "Tiered")
    return Phase(filled, _reasons(filled.failures, stopped), sizes[0])


def _standard(run: Run, filler: Filler, stopped: bool) -> Phase:
    choices = run.choices
    size = (
        _from_option(choices.standard_spec)
        if choices.standard_spec is not None
        else _size_of(run.loaded.cluster.policy.standard)
    )
    filled = filler.start(run.placement)
    if not stopped:
        try:
            filled = filler.fill(filled, _instance(run, size), _limit(choices))
        except Unplaced as problem:
            raise HtoolsError(f"failure during allocation: {problem}") from problem
    _after(run, filled, size, "SPEC", "Standard")
    return Phase(filled, _reasons(filled.failures, stopped), size)


_SPEC_TITLES = {"SPEC": "Standard (fixed-size)", "TSPEC_INI": "Tiered (initial size)"}


def _after(run: Run, filled: Filled, size: Size, prefix: str, name: str) -> None:
    """What is printed and saved after each way of filling."""
    choices = run.choices
    parts = dict(zip(("MEM", "DSK", "CPU", "SPN"), map(str, size), strict=True))
    if choices.machine_readable:
        keys([(f"{prefix}_{part}", text) for part, text in parts.items()])
        keys([(f"{prefix}_RQN", str(required_nodes(run.template)))])
        keys([(f"{prefix}_DISK_TEMPLATE", run.template)])
    else:
        print(
            f"{_SPEC_TITLES[prefix]} instance spec is:\n  {_sized(run, size)}, using disk template"
            f" '{run.template}'."
        )
    _print_map(run, filled, f"{name} allocation")
    nodes = all_nodes(filled.placement)
    title = f"{name} allocation"
    listing.show_nodes(run.loaded, filled.placement, nodes, choices.show_nodes, title)
    if choices.save is not None:
        text = cluster_text(
            run.loaded.cluster,
            filled.placement,
            offline=lambda node: bool(filled.placement.frame.offline[node]),
        )
        report.save_text(choices, name.lower(), f"after {name.lower()} allocation", text)


def _sized(run: Run, size: Size) -> str:
    memory, disk, cpus, spindles = size
    text = f"MEM {memory}, DSK {disk}, CPU {cpus}"
    return f"{text}, SPN {spindles}" if run.exclusive else text


def _print_map(run: Run, filled: Filled, title: str) -> None:
    if run.choices.verbose <= 1:
        return
    print(f"{title} map", file=sys.stderr)
    placement = filled.placement
    names = placement.frame.names
    first = len(placement.instances) - filled.count
    rows = []
    for index in range(first, len(placement.instances)):
        inst, secondary = placement.instances[index], placement.secondary[index]
        total = inst.total_spindles
        spindles = ("?" if total is None else str(total)) if run.exclusive else ""
        other = "" if secondary == NO_NODE else names[secondary]
        sizes = [str(inst.memory), str(inst.disk), str(inst.vcpus), spindles]
        rows.append([inst.name, names[placement.primary[index]], other, *sizes])
    for row in aligned(rows, [False] * 3 + [True] * 4):
        print(f" {' '.join(row)}", file=sys.stderr)


# --- figures ----------------------------------------------------------------------------------


def _statistics(prefix: str, sums: Totals) -> list[tuple[str, str]]:
    def part(amount: float, total: float) -> str:
        return fixed(amount / total, 8) if total else "NaN"

    found = {
        "SCORE": fixed(sums.score, 8),
        "INST_CNT": sums.instances,
        "MEM_FREE": sums.free_memory,
        "MEM_AVAIL": sums.available_memory,
        "MEM_RESVD": sums.free_memory - sums.available_memory,
        "MEM_INST": sums.used_memory,
        "MEM_OVERHEAD": sums.overhead_memory,
        "MEM_EFF": part(sums.used_memory, sums.total_memory),
        "DSK_FREE": sums.free_disk,
        "DSK_AVAIL": sums.available_disk,
        "DSK_RESVD": sums.free_disk - sums.available_disk,
        "DSK_INST": sums.used_disk,
        "DSK_EFF": part(sums.used_disk, sums.total_disk),
        "SPN_FREE": sums.free_spindles,
        "SPN_INST": sums.used_spindles,
        "SPN_EFF": part(sums.used_spindles, sums.total_spindles),
        "CPU_INST": sums.used_vcpus,
        "CPU_EFF": part(sums.used_vcpus, sums.max_vcpus),
        "MNODE_MEM_AVAIL": sums.most_memory,
        "MNODE_DSK_AVAIL": sums.most_disk,
    }
    return [(f"{prefix}_{key}", str(value)) for key, value in found.items()]


def _print_cluster(run: Run, sums: Totals) -> None:
    size = run.placement.frame.size
    parts = [
        ("MEM", fixed(sums.total_memory, 0)),
        ("DSK", fixed(sums.total_disk, 0)),
        ("CPU", fixed(sums.cpus, 0)),
        ("VCPU", str(sums.max_vcpus)),
        ("SPN", str(sums.total_spindles)),
    ]
    if run.choices.machine_readable:
        keys([(f"CLUSTER_{key}", value) for key, value in parts])
        keys([("CLUSTER_NODES", str(size))])
        keys(_statistics("INI", sums))
        return
    listed = parts if run.exclusive else parts[:-1]
    text = ", ".join(f"{key} {value}" for key, value in listed)
    print(f"The cluster has {size} nodes and the following resources:\n  {text}.")
    count = sums.instances if sums.instances > 0 else "no"
    print(f"There are {count} initial instances on the cluster.")


def _tiers(filled: Filled) -> list[tuple[Size, int]]:
    """Runs of equal sizes, in the order of their allocation."""

    def size(inst: Instance) -> Size:
        spindles = inst.disks[0].spindles if len(inst.disks) == 1 else None
        return inst.memory, inst.disk, inst.vcpus, spindles or 0

    return [(found, len(list(group))) for found, group in groupby(filled.added, key=size)]


def _print_tiered(run: Run, phase: Phase) -> None:
    tiers = _tiers(phase.filled)
    final = totals(phase.filled.placement)
    if run.choices.machine_readable:
        keys(_statistics("TRL", final))
        text = " ".join(f"{','.join(map(str, size))}={count}" for size, count in tiers)
        keys([("TSPEC", text)])
        _print_delta(totals(run.placement), final)
        return
    print("Tiered allocation results:")
    if not tiers:
        print("  - no instances allocated")
    for size, count in tiers:
        print(f"  - {count:3d} instances of spec {_sized(run, size)}")
    _print_end(run, phase, final)


def _print_delta(before: Totals, after: Totals) -> None:
    used = (before.used_vcpus, before.used_cpus, before.used_memory, before.used_disk)
    full = (after.used_vcpus, after.used_cpus, after.used_memory, after.used_disk)
    most = (after.max_vcpus, after.cpus, int(after.total_memory), int(after.total_disk))
    rows = {
        "USED": (*used, before.used_spindles),
        "POOL": (
            *(new - old for new, old in zip(full, used, strict=True)),
            after.used_spindles - before.used_spindles,
        ),
        "UNAV": (
            *(top - new for top, new in zip(most, full, strict=True)),
            after.total_spindles - after.used_spindles,
        ),
    }
    for name, (vcpus, cpus, memory, disk, spindles) in rows.items():
        keys(
            [
                (f"KM_{name}_CPU", str(vcpus)),
                (f"KM_{name}_NPU", shown(cpus)),
                (f"KM_{name}_MEM", str(memory)),
                (f"KM_{name}_DSK", str(disk)),
                (f"KM_{name}_SPN", str(spindles)),
            ]
        )


def _print_standard(run: Run, phase: Phase) -> None:
    final = totals(phase.filled.placement)
    count = phase.filled.count
    if not run.choices.machine_readable:
        print("Normal (fixed-size) allocation results:")
        print(f"  - {count:3d} instances allocated")
        _print_end(run, phase, final)
        return
    before = len(run.placement.instances)
    keys(_statistics("FIN", final))
    usage = fixed(before / (before + count), 8) if before + count else "NaN"
    keys([("ALLOC_USAGE", usage), ("ALLOC_INSTANCES", str(count))])
    keys([("ALLOC_FAIL_REASON", phase.reasons[0][0].label.upper())])
    keys([(f"ALLOC_{mode.label}_CNT", str(number)) for mode, number in phase.reasons])


def _print_end(run: Run, phase: Phase, final: Totals) -> None:
    print(f"  - most likely failure reason: {phase.reasons[0][0].label}")
    initial = metrics.score(run.placement, all_nodes(run.placement))
    print(f"  - initial cluster score: {fixed(initial, 8)}")
    print(f"  -   final cluster score: {fixed(final.score, 8)}")
    parts = [
        ("memory", final.used_memory, final.total_memory),
        ("disk", final.used_disk, final.total_disk),
        ("vcpu", final.used_vcpus, final.max_vcpus),
    ]
    if run.exclusive:
        parts.append(("spindles", final.used_spindles, final.total_spindles))
    width = max(len(name) for name, _, _ in parts)
    for name, amount, total in parts:
        percent = fixed(amount / total * 100, 2) if total else "NaN"
        print(f"  - {name:>{width}} usage efficiency: {percent:>5}%")


_LACKING: Final = {
    FailMode.MEM: "memory",
    FailMode.DISK: "disk",
    FailMode.CPU: "CPUs",
    FailMode.N1: "memory that is kept for the loss of a node",
    FailMode.TAGS: "nodes without an instance of the same exclusion tag",
    FailMode.MIG: "nodes between which instances can migrate",
    FailMode.DISK_COUNT: "nodes that take so many disks",
    FailMode.SPINDLES: "spindles",
    FailMode.INTERNAL: "nodes",
}


def _print_advice(run: Run, filler: Filler, phase: Phase) -> None:
    """Which resource ends first, and what to add; as keys beyond Ganeti's in a shell fragment."""
    from commands.placement.advice import advise  # as for plots

    found = advise(run.placement, phase.filled, filler, _instance(run, phase.size), run.options)
    binding = "none" if found.binding is None else found.binding.label
    if run.choices.machine_readable:
        keys([("ADVICE_BINDING", binding.upper())])
        keys([(f"ADVICE_{one.resource}", str(one.instances)) for one in found.additions])
        if found.together is not None:
            keys([("ADVICE_TOGETHER", str(found.together))])
        return
    lacking = "nothing" if found.binding is None else f"{_LACKING[found.binding]} ({binding})"
    print(f"What ends first: {lacking}")
    for one in found.additions:
        unit = "" if one.resource == "cpus" else " MiB"
        print(
            f"  - 10% more {one.resource} on every node ({one.amount:.0f}{unit} in all):"
            f" {one.instances:+d} instances"
        )
    if found.together is not None:
        print(f"  - 10% more of all three: {found.together:+d} instances")
