"""Taking existing instances elsewhere: evacuation of nodes, relocation, change of group.

The instances are taken one after the other; each goes where the score of its group is lowest, of
equal scores to the later candidate. What a DRBD instance does to leave both of its nodes is
`r:t1 f r:t2` (with a failover first if its primary is offline); all pairs (t1, t2) are judged at
once from the state without the instance.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

from commands.placement import metrics
from commands.placement.allocate import GroupSolution, best_group, try_groups
from commands.placement.exact import Candidates, ExactScorer
from commands.placement.fleet import build_fleet
from commands.placement.frame import Bools, Floats, Ints
from commands.placement.insertion import FITS, PairScorer, secondary_reasons
from commands.placement.metrics import group_scope
from commands.placement.model import NO_NODE, FailMode, Mirror
from commands.placement.moves import Kind, Move, try_move
from commands.placement.options import Options
from commands.placement.state import Placement


class Mode(enum.Enum):
    """Which nodes of the instances are left."""

    PRIMARY = "primary-only"
    SECONDARY = "secondary-only"
    ALL = "all"


class Stuck(Exception):
    """An instance that cannot be taken elsewhere; the message says why."""


@dataclass(frozen=True, slots=True)
class Moved:
    """An instance with its moves, in order, its new nodes and their group."""

    instance: int
    moves: tuple[Move, ...]
    nodes: tuple[int, ...]
    group: int


@dataclass(slots=True)
class Evacuation:
    """What became of each instance."""

    moved: list[Moved] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)


def evacuate(
    placement: Placement, instances: list[int], mode: Mode, options: Options
) -> Evacuation:
    """Take instances off their nodes within their groups, changing `placement`."""
    leaving = _left_nodes(placement, instances, mode)
    found = Evacuation()
    for index in instances:
        primary = placement.primary[index]
        group = int(placement.frame.group[primary])
        targets = _targets(placement, group, leaving | {primary})
        _take(placement, found, index, mode, group, targets, options)
    return found


def change_group(
    placement: Placement, instances: list[int], groups: list[int], options: Options
) -> Evacuation:
    """Take instances to the best of some other groups (all others if none is named)."""
    frame = placement.frame
    sources = {int(frame.group[placement.primary[index]]) for index in instances}
    wanted = groups or list(range(len(frame.cluster.groups)))
    allowed = [group for group in wanted if group not in sources]
    found = Evacuation()
    for index in instances:
        tried, cut_off = try_groups(placement, placement.instances[index], options, allowed)
        best = best_group(placement, tried)
        if best is None:
            found.failed.append((index, _no_group(placement, index, tried, cut_off, allowed)))
            continue
        targets = _targets(placement, best.group, set())
        _take(placement, found, index, Mode.ALL, best.group, targets, options)
    return found


def _no_group(
    placement: Placement,
    index: int,
    tried: list[GroupSolution],
    cut_off: list[int],
    allowed: list[int],
) -> str:
    groups = placement.frame.cluster.groups
    if not tried and not cut_off:
        names = ", ".join(groups[group].name for group in allowed) or "none"
        everything = ", ".join(group.name for group in groups)
        return f"no groups for evacuation: allowed groups was {names}, all groups: {everything}"
    name = placement.instances[index].name
    messages = [
        f"group {groups[group].name} is not connected to a network required by instance {name}"
        for group in cut_off
    ]
    for one in tried:
        group = groups[one.group]
        if one.solution is None:
            messages.append(f"Group {group.name}: error {one.problem}")
        else:
            text = one.solution.describe(placement, f"{one.solution.score:.8f}")
            messages.append(f"Group {group.name} ({group.alloc_policy}): {text}")
    return ", ".join(messages)


def _left_nodes(placement: Placement, instances: list[int], mode: Mode) -> set[int]:
    """The nodes that the instances are to leave; none of them is a target."""
    left: set[int] = set()
    for index in instances:
        if mode is not Mode.SECONDARY:
            left.add(placement.primary[index])
        if mode is not Mode.PRIMARY and placement.instances[index].mirrored:
            left.add(placement.secondary[index])
    return left - {NO_NODE}


def _targets(placement: Placement, group: int, excluded: set[int]) -> Ints:
    scope = group_scope(placement, group)
    online, _ = metrics.split_online(placement, scope)
    return np.array([node for node in online if int(node) not in excluded], dtype=np.int64)


def _take(
    placement: Placement,
    found: Evacuation,
    index: int,
    mode: Mode,
    group: int,
    targets: Ints,
    options: Options,
) -> None:
    try:
        moves = _moves(placement, index, mode, group, targets, options)
    except Stuck as problem:
        found.failed.append((index, str(problem)))
        return
    for move in moves:
        failure = try_move(placement, move, force=options.ignore_soft_errors)
        assert failure is None, (move, failure)
    nodes = (placement.primary[index], placement.secondary[index])
    mirrored = placement.instances[index].mirrored
    home = int(placement.frame.group[nodes[0]])
    found.moved.append(Moved(index, tuple(moves), nodes if mirrored else nodes[:1], home))


def _moves(
    placement: Placement, index: int, mode: Mode, group: int, targets: Ints, options: Options
) -> list[Move]:
    """The moves that take one instance away. Raises Stuck."""
    inst = placement.instances[index]
    if inst.mirror is Mirror.NONE:
        raise Stuck(f"Instances of type {inst.template} cannot be relocated")
    if inst.mirror is Mirror.EXTERNAL:
        if mode is Mode.SECONDARY:
            raise Stuck(
                f"Instances with disk template '{inst.template}' can't execute change secondary"
            )
        return [_one_node(placement, index, Kind.FAILOVER_TO_ANY, group, targets, options)]
    if placement.secondary[index] == NO_NODE:
        raise Stuck("Instance has no secondary node")
    match mode:
        case Mode.PRIMARY:
            move = Move(index, Kind.FAILOVER)
            failure = try_move(placement.copy(), move, force=options.ignore_soft_errors)
            if failure is not None:
                raise Stuck(failure.label)
            return [move]
        case Mode.SECONDARY:
            return [_one_node(placement, index, Kind.REPLACE_SECONDARY, group, targets, options)]
        case Mode.ALL:
            return _both_nodes(placement, index, group, targets, options)


def _one_node(
    placement: Placement, index: int, kind: Kind, group: int, targets: Ints, options: Options
) -> Move:
    """The best move of a kind among the targets. Raises Stuck with the reason of each node."""
    state = placement
    reasons: list[str] = []
    good: list[int] = []
    for node in targets:
        move = Move(index, kind, int(node))
        saved = state.save((state.primary[index], state.secondary[index], int(node)))
        before = state.primary[index], state.secondary[index]
        failure = try_move(state, move, force=options.ignore_soft_errors)
        if failure is None:
            good.append(int(node))
            state.restore(saved)
            state.primary[index], state.secondary[index] = before
        else:
            reasons.append(f" Node {state.frame.names[node]} failed: {failure.label};")
    if not good:
        raise Stuck(f"Can't find any good node: {''.join(reasons)}")
    scorer = ExactScorer(state, group_scope(state, group), build_fleet(state))
    many = np.full(len(good), index), np.full(len(good), int(kind))
    scores = scorer.scores(Candidates(*many, np.array(good)))
    return Move(index, kind, good[_last_lowest(scores)])


def _last_lowest(scores: Floats) -> int:
    """Position of the lowest score; of equal ones the last."""
    return len(scores) - 1 - int(scores[::-1].argmin())


def _both_nodes(
    placement: Placement, index: int, group: int, targets: Ints, options: Options
) -> list[Move]:
    """Leave both nodes: the best pair of targets. Raises Stuck."""
    if len(targets) < 2:
        raise Stuck("Can't find any good nodes for relocation: no nodes available")
    force = options.ignore_soft_errors
    start = placement.copy()
    first: list[Move] = []
    if start.frame.offline[start.primary[index]]:
        # Only the other copy is alive: it takes over before anything is copied.
        move = Move(index, Kind.FAILOVER)
        failure = try_move(start, move, force=force)
        if failure is not None:
            raise Stuck(
                "Can't find any good nodes for relocation: Allocation failed:"
                f" Failing over to the secondary: {failure.label}"
            )
        first.append(move)
    good = _possible_pairs(start, index, targets, force=force)
    if not good.any():
        raise Stuck(_pair_problem(start, index, targets, force=force))
    pair = _best_pair(start, index, group, targets, good, force=force)
    return first + _through(index, *pair)


def _through(index: int, first: int, second: int) -> list[Move]:
    """Move to a pair of new nodes: copy, change over, copy."""
    return [
        Move(index, Kind.REPLACE_SECONDARY, first),
        Move(index, Kind.FAILOVER),
        Move(index, Kind.REPLACE_SECONDARY, second),
    ]


def _without(placement: Placement, index: int) -> Placement:
    state = placement.copy()
    state.take_primary(state.primary[index], index)
    state.take_secondary(state.secondary[index], index)
    return state


def _possible_pairs(placement: Placement, index: int, targets: Ints, *, force: bool) -> Bools:
    """Which ordered pairs of targets can be reached, every step of the way being allowed."""
    ways = np.zeros(len(targets), dtype=np.bool_)
    p = placement.primary[index]
    for position, node in enumerate(targets):
        state = placement
        nodes = (p, state.secondary[index], int(node))
        saved = state.save(nodes)
        before = state.primary[index], state.secondary[index]
        moves = _through(index, int(node), NO_NODE)[:2]
        ways[position] = all(try_move(state, move, force=force) is None for move in moves)
        state.restore(saved)
        state.primary[index], state.secondary[index] = before
    rest = _without(placement, index)
    demand = rest.demand(index)
    # The last copy leaves the old primary: that it is offline lifts the soft limits.
    if force or bool(placement.frame.offline[p]):
        fits = np.array([_hard_fits(rest, index, int(node)) for node in targets])
        last = np.broadcast_to(fits, (len(targets), len(targets))).copy()
    else:
        last = secondary_reasons(rest, demand, targets, targets) == FITS
    last &= ways[:, None]
    np.fill_diagonal(last, False)
    return last


def _hard_fits(state: Placement, index: int, node: int) -> bool:
    from commands.placement.admission import admit_secondary

    return admit_secondary(state, node, state.demand(index), node, force=True) is None


def _pair_problem(placement: Placement, index: int, targets: Ints, *, force: bool) -> str:
    """Why the last pair failed: what the original reports."""
    steps = (
        "Changing secondary to new primary",
        "Failing over to new primary",
        "Changing secondary to final secondary",
    )
    state = placement.copy()
    first, second = int(targets[-1]), int(targets[-2])
    problem = f"{steps[-1]}: {FailMode.INTERNAL.label}"
    for step, move in zip(steps, _through(index, first, second), strict=True):
        failure = try_move(state, move, force=force)
        if failure is not None:
            problem = f"{step}: {failure.label}"
            break
    return f"Can't find any good nodes for relocation: Allocation failed: {problem}"


def _best_pair(
    placement: Placement, index: int, group: int, targets: Ints, good: Bools, *, force: bool
) -> tuple[int, int]:
    """The pair with the lowest score of the group; near ones are made and scored exactly."""
    rest = _without(placement, index)
    scope = group_scope(placement, group)
    scores = PairScorer(rest, scope).scores(rest.demand(index), targets)
    scores = np.where(good, scores, np.inf)
    near = np.argwhere(scores <= scores.min() + 1e-7)
    best: tuple[float, int, int] | None = None
    fleet = build_fleet(placement)
    for row in np.unique(near[:, 0]):
        columns = targets[near[near[:, 0] == row, 1]]
        state = placement.copy()
        for move in _through(index, int(targets[row]), NO_NODE)[:2]:
            failure = try_move(state, move, force=force)
            assert failure is None, failure
        many = np.full(len(columns), index), np.full(len(columns), int(Kind.REPLACE_SECONDARY))
        exact = ExactScorer(state, scope, fleet).scores(Candidates(*many, columns))
        chosen = _last_lowest(exact)
        if best is None or exact[chosen] <= best[0]:
            best = float(exact[chosen]), int(targets[row]), int(columns[chosen])
    assert best is not None
    return best[1], best[2]
