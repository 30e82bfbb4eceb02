"""hail: answers the requests of the instance allocator protocol."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import assert_never

import msgspec

from commands.placement import dedicated
from commands.placement.allocate import (
    GroupSolution,
    Solution,
    Unplaced,
    all_nodes,
    allocatable,
    allocate,
    allocate_pairs,
    best_group,
    try_groups,
    unconnected,
)
from commands.placement.evacuate import Evacuation, Mode, change_group, evacuate
from commands.placement.explain import explain, text_of
from commands.placement.metrics import group_scope
from commands.placement.model import NO_NODE, Instance, Mirror
from commands.placement.options import Options
from commands.placement.state import Placement
from tools.htools import iallocator, listing, records, report
from tools.htools.choices import Choices
from tools.htools.errors import DataError, HtoolsError
from tools.htools.figures import fixed
from tools.htools.jobs import opcodes
from tools.htools.load import Loaded, add_seen_loads, load, place, read_text
from tools.htools.text import cluster_text


class Failed(Exception):
    """The question has no answer; the message goes into the answer."""


@dataclass(slots=True)
class Outcome:
    """A good answer; the placement has been changed to what it leads to."""

    info: str
    result: object
    order: list[int] | None = None  # of instances, when the cluster is saved


@dataclass(slots=True)
class Placed:
    """Nodes for one new instance, or none, and how that came about."""

    nodes: tuple[int, ...]
    info: str


def main(choices: Choices) -> int:
    """Answer one request; a request that cannot be fulfilled is answered, too (status 0)."""
    if not choices.arguments:
        raise HtoolsError("This program needs an input file.")
    if len(choices.arguments) > 1:
        raise HtoolsError("Only one argument is accepted (the input file)")
    path = choices.arguments[0]
    try:
        text = sys.stdin.read() if path == "-" else read_text(path)
        request = iallocator.parse_request(text)
    except (DataError, UnicodeDecodeError) as problem:
        raise HtoolsError(str(problem)) from problem
    loaded = _loaded(request, choices)
    placement = loaded.placement
    if choices.verbose > 1:
        question = records.question_text(request.question, request.cluster)
        print(f"Received request: {question}", file=sys.stderr)
    if choices.verbose > 2:
        data = records.cluster_record(loaded.cluster)
        print(f"Received cluster data: {data}", file=sys.stderr)
    nodes = all_nodes(placement)
    listing.show_nodes(loaded, placement, nodes, choices.show_nodes, "Initial cluster")
    report.save_cluster(loaded, choices, "pre-ialloc", "before iallocator run", placement)
    order: list[int] | None = None
    start = placement.copy() if choices.explain is not None else placement
    try:
        outcome = _answer(placement, request.question, report.algorithm_options(choices), choices)
        order = outcome.order
        print(iallocator.answer(success=True, info=outcome.info, result=outcome.result))
    except Failed as problem:
        print(iallocator.answer(success=False, info=str(problem), result=[]))
    if choices.explain is not None:
        _explain(start, placement, request.question, choices.explain)
    listing.show_nodes(loaded, placement, nodes, choices.show_nodes, "Final cluster")
    if choices.save is not None:
        saved = cluster_text(loaded.cluster, placement, instances=order)
        report.save_text(choices, "post-ialloc", "after iallocator run", saved)
    return 0


def _explain(start: Placement, end: Placement, question: iallocator.Question, where: str) -> None:
    """`--explain`: why each new instance went where it went, in the state that it met."""
    if isinstance(question, iallocator.Allocate):
        asked = [question.new.instance]
    elif isinstance(question, iallocator.MultiAllocate):
        asked = [new.instance for new in question.new]
    else:
        return
    state, found = start.copy(), []
    scope = all_nodes(state)
    online = scope[~state.frame.offline]
    settled = {inst.name: index for index, inst in enumerate(end.instances)}
    for instance in asked:
        index = settled.get(instance.name)
        nodes = () if index is None else (end.primary[index], end.secondary[index])
        chosen = tuple(node for node in nodes if node != NO_NODE)
        found.append(explain(state, scope, instance, online, chosen))
        if chosen:
            state.add(instance, *chosen)
    if where == "-":
        print("".join(text_of(one) for one in found), end="", file=sys.stderr)
        return
    with open(where, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def _loaded(request: iallocator.Request, choices: Choices) -> Loaded:
    """The cluster of the request, or the one that the options put in its place."""
    match request.question:
        case iallocator.Allocate(new=one):
            extra: list[Instance] = [one.instance]
        case iallocator.MultiAllocate(new=many):
            extra = [new.instance for new in many]
        case _:
            extra = []
    ignoring = choices.ignore_dynamic
    choices.ignore_dynamic = False  # a request holds no loads that could be ignored
    loaded = place(request.cluster, choices, extra=extra)
    report.show_warnings(loaded, choices)
    choices.ignore_dynamic = ignoring
    add_seen_loads(loaded, choices)
    if choices.data_file is None and not choices.simulations:
        return loaded
    loaded = load(choices, extra)
    add_seen_loads(loaded, choices)
    report.show_warnings(loaded, choices)
    return loaded


def _answer(
    placement: Placement, question: iallocator.Question, options: Options, choices: Choices
) -> Outcome:
    match question:
        case iallocator.Allocate():
            return _allocate(placement, question, options)
        case iallocator.MultiAllocate():
            return _multi_allocate(placement, question, options)
        case iallocator.AllocateSecondary():
            return _allocate_secondary(placement, question, options)
        case iallocator.Relocate():
            return _relocate(placement, question, options)
        case iallocator.NodeEvacuate():
            instances = [_index(placement, name) for name in question.names]
            found = evacuate(placement, instances, Mode(question.mode), options)
            return _evacuation(placement, found)
        case iallocator.ChangeGroup():
            instances = [_index(placement, name) for name in question.names]
            groups = [_group(placement, name) for name in question.groups]
            found = change_group(placement, instances, groups, options)
            return _evacuation(placement, found)
    assert_never(question)


def _index(placement: Placement, name: str) -> int:
    found = [index for index, inst in enumerate(placement.instances) if inst.name == name]
    if len(found) != 1:
        raise Failed(f"Unknown instance '{name}'")
    return found[0]


def _group(placement: Placement, name: str) -> int:
    groups = placement.frame.cluster.groups
    found = [index for index, group in enumerate(groups) if name in (group.name, group.uuid)]
    if len(found) != 1:
        raise Failed(f"Wrong number of elems found with name {name}")
    return found[0]


# --- allocation -------------------------------------------------------------------------------


def _allocate(placement: Placement, question: iallocator.Allocate, options: Options) -> Outcome:
    if options.restrict_to is None:
        options = msgspec.structs.replace(options, restrict_to=question.restrict_to)
    new = question.new
    is_dedicated = dedicated.is_dedicated(placement, new.group)
    placed = _place(placement, new, options, is_dedicated=is_dedicated)
    if not placed.nodes:
        raise Failed(placed.info)
    index = _settle(placement, new.instance, placed)
    order = [index, *range(index)]
    names = [placement.frame.names[node] for node in placed.nodes]
    return Outcome(placed.info, names, order)


def _settle(placement: Placement, instance: Instance, placed: Placed) -> int:
    secondary = placed.nodes[1] if len(placed.nodes) > 1 else NO_NODE
    return placement.add(instance, placed.nodes[0], secondary)


def _multi_allocate(
    placement: Placement, question: iallocator.MultiAllocate, options: Options
) -> Outcome:
    """One instance after the other; one that does not fit does not stop the others."""
    named = {new.group for new in question.new} - {None}
    group = named.pop() if len(named) == 1 else None
    is_dedicated = dedicated.is_dedicated(placement, group)
    allocated: list[list[object]] = []
    failed: list[list[object]] = []
    for new in question.new:
        try:
            placed = _place(placement, new, options, is_dedicated=is_dedicated)
        except Failed as problem:
            failed.append([new.instance.name, str(problem)])
            continue
        if not placed.nodes:
            failed.append([new.instance.name, placed.info])
            continue
        _settle(placement, new.instance, placed)
        names = [placement.frame.names[node] for node in placed.nodes]
        allocated.append([new.instance.name, names])
    info = (
        f"{len(failed)} instances failed to allocate and {len(allocated)} were allocated"
        " successfully"
    )
    return Outcome(info, [allocated, failed])


def _place(
    placement: Placement, new: iallocator.NewInstance, options: Options, *, is_dedicated: bool
) -> Placed:
    if new.nodes not in (1, 2):
        raise Failed("Unsupported number of nodes, only one or two  supported")
    if (new.nodes == 2) != new.instance.mirrored:
        raise Failed(f"{new.nodes} nodes requested for disk template '{new.instance.template}'")
    if is_dedicated:
        return _place_dedicated(placement, new, options)
    if new.group is not None:
        return _place_in_group(placement, new, options)
    groups = placement.frame.cluster.groups
    tried, cut_off = try_groups(placement, new.instance, options)
    messages = [
        f"group {groups[group].name} is not connected to a network required by instance"
        f" {new.instance.name}"
        for group in cut_off
    ]
    messages += [_group_message(placement, one) for one in tried]
    best = best_group(placement, tried)
    if best is None or best.solution is None:
        if not tried and not cut_off:
            return Placed(
                (), "no groups for evacuation: allowed groups was Nothing, all groups: []"
            )
        return Placed((), ", ".join(messages))
    selected = f"Selected group: {groups[best.group].name}"
    return Placed(best.solution.nodes, ", ".join([selected, *messages]))


def _group_message(placement: Placement, one: GroupSolution) -> str:
    group = placement.frame.cluster.groups[one.group]
    if one.solution is None:
        return f"Group {group.name}: error {one.problem}"
    return f"Group {group.name} ({group.alloc_policy}): {_describe(placement, one.solution)}"


def _describe(placement: Placement, solution: Solution) -> str:
    return solution.describe(placement, fixed(solution.score, 8))


def _place_in_group(placement: Placement, new: iallocator.NewInstance, options: Options) -> Placed:
    """A named group is searched alone, with the score of that group."""
    assert new.group is not None
    index = _group(placement, new.group)
    group = placement.frame.cluster.groups[index]
    if unconnected(group, new.instance):
        raise Failed(
            f"The group {group.name} is not connected to a network required by instance"
            f" {new.instance.name}"
        )
    scope = group_scope(placement, index)
    try:
        nodes = allocatable(placement, scope, options)
        solution = allocate(placement, scope, new.instance, nodes, options)
    except Unplaced as problem:
        raise Failed(str(problem)) from problem
    return Placed(solution.nodes, _group_message(placement, GroupSolution(index, solution)))


def _place_dedicated(placement: Placement, new: iallocator.NewInstance, options: Options) -> Placed:
    groups = placement.frame.cluster.groups
    if new.group is not None:
        one = dedicated.try_group(placement, _group(placement, new.group), new.instance, options)
        if one.solution is None:
            raise Failed(one.problem)
        return Placed(one.solution.nodes, _dedicated_message(placement, one))
    present = sorted({int(group) for group in placement.frame.group})
    tried = [dedicated.try_group(placement, g, new.instance, options) for g in present]
    messages = [_dedicated_message(placement, one) for one in tried]
    best = dedicated.best_group(placement, tried)
    if best is None or best.solution is None:
        return Placed((), ", ".join(messages))
    selected = f"Selected group: {groups[best.group].name}"
    return Placed(best.solution.nodes, ", ".join([selected, *messages]))


def _dedicated_message(placement: Placement, one: dedicated.DedicatedGroup) -> str:
    group = placement.frame.cluster.groups[one.group]
    found = one.solution
    if found is None:
        return f"Group {group.name}: error {one.problem}"
    as_plain = Solution(found.failures, found.successes, found.nodes)
    text = as_plain.describe(placement, found.metric_text())
    return f"Group {group.name} ({group.alloc_policy}): {text}"


def _allocate_secondary(
    placement: Placement, question: iallocator.AllocateSecondary, options: Options
) -> Outcome:
    """Treat the instance as DRBD with its primary fixed, and find it a secondary."""
    index = _index(placement, question.name)
    if placement.secondary[index] != NO_NODE:
        raise Failed("Instance already has a secondary")
    primary = placement.primary[index]
    instance = msgspec.structs.replace(placement.instances[index], template="drbd", primary=NO_NODE)
    placement.take_primary(primary, index)
    scope = all_nodes(placement)
    frame = placement.frame
    same = scope[(frame.group == frame.group[primary]) & (scope != primary) & ~frame.offline]
    try:
        solution = allocate_pairs(placement, scope, instance, primary, same, options)
    except Unplaced as problem:
        placement.put_primary(primary, index)
        raise Failed(str(problem)) from problem
    info = _describe(placement, solution)
    if not solution.found:
        placement.put_primary(primary, index)
        raise Failed(info)
    added = placement.add(instance, *solution.nodes)
    order = [added if one == index else one for one in range(added)]
    return Outcome(info, frame.names[solution.nodes[1]], order)


# --- evacuation -------------------------------------------------------------------------------


def _relocate(placement: Placement, question: iallocator.Relocate, options: Options) -> Outcome:
    if question.nodes != 1:
        raise Failed(f"Exchange {question.nodes} nodes mode is not implemented")
    index = _index(placement, question.name)
    mirror = placement.instances[index].mirror
    if mirror is Mirror.NONE:
        raise Failed("Can't relocate non-mirrored instances")
    internal = mirror is Mirror.INTERNAL
    expected = placement.secondary[index] if internal else placement.primary[index]
    names = placement.frame.names
    name = names[expected] if expected != NO_NODE else "none"
    if list(question.leave) != [name]:
        kind = "secondary" if internal else "primary"
        raise Failed(
            f"Unsupported request: excluded nodes not equal to instance's {kind}({name} versus"
            f" {','.join(question.leave)})"
        )
    mode = Mode.SECONDARY if internal else Mode.PRIMARY
    found = evacuate(placement, [index], mode, options)
    if found.failed:
        raise Failed(found.failed[0][1])
    return Outcome("success", [names[found.moved[0].nodes[-1]]])


def _evacuation(placement: Placement, found: Evacuation) -> Outcome:
    items, names = placement.instances, placement.frame.names
    groups = placement.frame.cluster.groups
    moved = [
        [items[one.instance].name, groups[one.group].name, [names[node] for node in one.nodes]]
        for one in found.moved
    ]
    failed = [[items[index].name, reason] for index, reason in found.failed]
    jobs = [
        [opcode for move in one.moves for opcode in opcodes(move, items[one.instance], names)]
        for one in found.moved
    ]
    info = f"{len(failed)} instances failed to move and {len(moved)} were moved successfully"
    return Outcome(info, [moved, failed, jobs])
