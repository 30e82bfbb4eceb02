"""hbal: moves instances, one at a time, to where the score of a group is lowest."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from commands.placement import metrics
from commands.placement.balance import Step, balance, job_sets
from commands.placement.frame import Ints
from commands.placement.metrics import bad_items, group_scope
from commands.placement.model import NO_NODE
from commands.placement.schedule import schedule
from commands.placement.search import GREEDY_SIZE, Search
from commands.placement.state import Placement
from tools.htools import listing, records, report
from tools.htools.choices import Choices
from tools.htools.errors import HtoolsError
from tools.htools.figures import fixed, general
from tools.htools.load import Loaded, add_seen_loads, load
from tools.htools.text import cluster_text


@dataclass(slots=True)
class Job:
    """One run: a group, its nodes and instances."""

    loaded: Loaded
    choices: Choices
    placement: Placement
    name: str
    scope: Ints
    instances: list[int]

    def print_step(self, step: Step, number: int, widths: tuple[int, int]) -> None:
        """One line for one move, at once."""
        nodes = [self.loaded.alias(name) for name in self.placement.frame.names]
        inst = self.loaded.alias(self.placement.instances[step.move.instance].name)
        before, after = (_pair(nodes, pair) for pair in (step.before, step.after))
        name_width, width = widths
        print(
            f"  {number:3d}. {inst:<{name_width}} {before:<{width}} => {after:<{width}}"
            f" {fixed(step.score, 8):>12} a={report.code_of(step, nodes)}",
            flush=True,
        )


def main(choices: Choices) -> int:
    """Run hbal; return its exit status."""
    report.no_arguments(choices)
    loaded = load(choices)
    add_seen_loads(loaded, choices)
    report.show_warnings(loaded, choices)
    placement, verbose = loaded.placement, choices.verbose
    if verbose > 1:
        print(f"Loaded cluster tags: {','.join(loaded.cluster.tags)}")
        print(f"Loaded cluster ipolicy: {records.policy_text(loaded.cluster.policy)}")
    if not placement.instances:
        print("Cluster is empty, exiting.")
        return 0
    _check_cluster(loaded, verbose)
    report.save_cluster(loaded, choices, "original", "before balancing", placement)
    job = _select(loaded, choices)
    _check_group(job)
    _listings(job, "Initial", "Initial cluster")
    score, bound = metrics.score(placement, job.scope), metrics.lower_bound(placement, job.scope)
    _print_score(job, "Initial coefficients", f"Initial score: {fixed(score, 8)}", score)
    if score - bound < choices.min_score:
        print(
            f"Cluster is already well balanced (initial score {general(score, 6)},\n"
            f"optimum score due to N+1 reservations {general(bound, 6)},\n"
            f"minimum score {general(choices.min_score, 6)}).\nNothing to do, exiting"
        )
        return 0
    print("Trying to minimize the CV...", flush=True)
    before = placement.copy()
    steps = _improve(job, bound)
    return _finish(job, before, steps, score)


def _improve(job: Job, bound: float) -> list[Step]:
    """Make the plan, printing each move as it is found."""
    widths = _widths(job)
    steps: list[Step] = []
    for step in _steps(job, bound):
        steps.append(step)
        job.print_step(step, len(steps), widths)
    return steps


def _steps(job: Job, bound: float) -> Iterable[Step]:
    choices, stop_at = job.choices, bound + job.choices.min_score
    options = report.algorithm_options(choices)
    small = len(job.instances) * len(job.scope) <= GREEDY_SIZE
    greedy = choices.algorithm == "greedy" or (choices.algorithm == "auto" and small)
    # A search orders its moves at the end: its first few alone would mean nothing.
    if greedy or choices.max_length >= 0:
        return balance(
            job.placement, job.scope, options, max_steps=choices.max_length, stop_at=stop_at
        )
    search = Search(job.placement, job.scope, options)
    if choices.effort_s is None:
        return search.run(stop_at=stop_at)
    end = time.process_time() + choices.effort_s
    return search.run(stop_at=stop_at, more=lambda: time.process_time() < end)


def _finish(job: Job, before: Placement, steps: list[Step], initial: float) -> int:
    choices, placement = job.choices, job.placement
    final = steps[-1].score if steps else initial
    if not steps:
        print("No solution found")
    else:
        line = f"Cluster score improved from {fixed(initial, 8)} to {fixed(final, 8)}"
        _print_score(job, "Final coefficients:  ", line, final)
    if choices.verbose >= 1:
        print(f"Solution length={len(steps)}")
    _commands(job, steps)
    if choices.schedule:
        _print_schedule(job, before, steps)
    if choices.plot is not None:
        from tools.htools import plots  # imports cost more than the work on a small cluster

        plots.show(choices.plot, before, placement, job.scope)
    if choices.save is not None:
        text = cluster_text(
            job.loaded.cluster,
            placement,
            nodes=[int(node) for node in job.scope],
            instances=job.instances,
            offline=lambda node: bool(placement.frame.offline[node]),
        )
        report.save_text(choices, "balanced", "after balancing", text)
    _listings(job, "Final", "Final cluster")
    if choices.verbose > 3:
        _print_sums(before, placement, job.scope)
    if choices.execute and steps:
        if choices.luxi is None:
            raise HtoolsError("hbal: Execution of commands possible only on LUXI")
        from tools.htools.execution import execute

        execute(choices, before, steps)
    return 0


def _commands(job: Job, steps: list[Step]) -> None:
    first = job.choices.first_job_group
    chosen = job_sets(steps)[0] if first and steps else steps
    title = "First set of jobs:" if first else "Commands to run to reach the above solution:"
    sets = report.job_commands(job.loaded, job.placement, chosen)
    report.save_commands(job.choices, title, report.format_jobs(sets))


def _print_schedule(job: Job, before: Placement, steps: list[Step]) -> None:
    """When each move can start, what it waits for, and when all are done."""
    planned = schedule(before, steps)
    end = max((one.end_s for one in planned), default=0.0)
    print(f"\nSchedule: {len(planned)} moves, about {_clock(end)} in all")
    for one in sorted(planned, key=lambda one: (one.start_s, one.position)):
        inst = before.instances[steps[one.position].move.instance]
        waits = " after " + ",".join(str(move + 1) for move in one.after) if one.after else ""
        print(
            f"  {_clock(one.start_s)} - {_clock(one.end_s)}  {one.position + 1:3d}."
            f" {job.loaded.alias(inst.name)}{waits}"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:d}:{minutes % 60:02d}:{rest:02d}"


def _pair(nodes: list[str], pair: tuple[int, int]) -> str:
    return nodes[pair[0]] if pair[1] == NO_NODE else f"{nodes[pair[0]]}:{nodes[pair[1]]}"


def _widths(job: Job) -> tuple[int, int]:
    """Widths of an instance's name and of a pair of nodes."""
    loaded, placement = job.loaded, job.placement
    names = [len(loaded.alias(placement.instances[index].name)) for index in job.instances]
    nodes = [len(loaded.alias(placement.frame.names[node])) for node in job.scope]
    return max(names, default=0), 2 * max(nodes, default=0) + 1


def split_instances(placement: Placement) -> list[str]:
    """Names of instances whose nodes are in different groups."""
    group = placement.frame.group
    return [
        inst.name
        for index, inst in enumerate(placement.instances)
        if placement.secondary[index] != NO_NODE
        and group[placement.primary[index]] != group[placement.secondary[index]]
    ]


def _check_cluster(loaded: Loaded, verbose: int) -> None:
    split = split_instances(loaded.placement)
    if split and verbose > 1:
        print("Found instances belonging to multiple node groups:", file=sys.stderr)
        print("".join(f"  {name}\n" for name in split), end="", file=sys.stderr)
        print("These instances will not be moved.", file=sys.stderr)
    size = loaded.placement.frame.size
    print(f"Loaded {size} nodes, {len(loaded.placement.instances)} instances")
    if loaded.domain and verbose > 1:
        print(f"Note: Stripping common suffix of '{loaded.domain}' from names")


def _select(loaded: Loaded, choices: Choices) -> Job:
    """The group to balance: the only one with nodes, or the one that was asked for."""
    groups, placement = loaded.cluster.groups, loaded.placement
    populated = [int(group) for group in np.unique(placement.frame.group)]
    wanted = choices.group
    if wanted is None:
        if len(populated) > 1:
            names = "".join(f"  {groups[group].name}\n" for group in populated)
            print(f"Found multiple node groups:\n{names}", end="", file=sys.stderr)
            raise HtoolsError("Aborting.")
        if not populated:
            raise HtoolsError("No groups found by splitCluster?!")
        chosen = populated[0]
    else:
        found = [n for n, group in enumerate(groups) if wanted in (group.name, group.uuid)]
        if len(found) != 1:
            names = "".join(f"  {group.name}\n" for group in groups)
            print(
                f"Node group {wanted} not found. Node group list is:\n{names}",
                end="",
                file=sys.stderr,
            )
            raise HtoolsError("Aborting.")
        chosen = found[0]
    scope = group_scope(placement, chosen)
    inside = set(scope.tolist())
    instances = [index for index, node in enumerate(placement.primary) if node in inside]
    return Job(loaded, choices, placement, groups[chosen].name, scope, instances)


def _policy_failure(placement: Placement, node: int) -> str | None:
    """How a node breaks its policy as it is."""
    frame = placement.frame
    if placement.inst_spindles[node] > frame.high_spindles[node]:
        return "FailDisk"
    cpus = frame.cpus[node]
    if cpus > 0 and placement.used_cpus[node] / cpus > frame.vcpu_ratio[node]:
        return "FailCPU"
    return None


def _check_group(job: Job) -> None:
    placement, verbose = job.placement, job.choices.verbose
    print(f"Group size {len(job.scope)} nodes, {len(job.instances)} instances")
    print(f"Selected node group: {job.name}")
    bad, instances = bad_items(placement, job.scope)
    if verbose >= 1:
        print(f"Initial check done: {len(bad)} bad nodes, {len(instances)} bad instances.")
    others = [int(node) for node in job.scope if node not in set(bad.tolist())]
    health = [(placement.frame.names[node], _policy_failure(placement, node)) for node in others]
    if verbose > 4:
        names = placement.frame.names
        print(f"Bad nodes: {_haskell_list([names[node] for node in bad])}")
        print(f"N+1 happy nodes: {_haskell_list([name for name, _ in health])}")
        status = ",".join(
            f'("{name}",{"Ok ()" if why is None else f"Bad {why}"})' for name, why in health
        )
        print(f"Node policy status: [{status}]")
    if len(bad):
        print(
            "Cluster is not N+1 happy, continuing but no guarantee that the cluster will end N+1"
            " happy."
        )
    violating = sum(why is not None for _, why in health)
    if violating:
        print(f"The cluster contains {violating} policy-violating nodes.")
        if job.choices.ignore_soft_errors:
            print("Continuing, ignoring soft errors.")
        else:
            print(
                "Continuing, but the set of moves might be too restricted; consider using the"
                " --ignore-soft-errors option."
            )


def _haskell_list(words: list[str]) -> str:
    return "[" + ",".join(f'"{word}"' for word in words) + "]"


def _listings(job: Job, instances: str, nodes: str) -> None:
    if job.choices.show_instances:
        listing.show_instances(job.loaded, job.placement, job.instances, instances)
    listing.show_nodes(job.loaded, job.placement, job.scope, job.choices.show_nodes, nodes)


def _print_score(job: Job, title: str, line: str, score: float) -> None:
    if job.choices.verbose <= 2:
        print(line)
        return
    separator = "" if title.endswith(" ") else ":"
    table = listing.statistics_table("  ", job.placement, job.scope)
    print(f"{title}{separator} overall {fixed(score, 8)}\n{table}", end="")


def _print_sums(before: Placement, after: Placement, scope: Ints) -> None:
    for title, placement in (("Original:", before), ("Final:   ", after)):
        memory = int(placement.unallocated[scope].sum())
        print(f"{title} mem={memory} disk={int(placement.free_disk[scope].sum())}")
