"""hroller: groups of nodes that can be rebooted together."""

from __future__ import annotations

import sys

import numpy as np

from commands.placement.colouring import Colouring, classes
from commands.placement.frame import Ints
from commands.placement.rolling import (
    NoRoom,
    Round,
    colourings,
    migrate_off,
    move_away_secondaries,
    move_away_unmirrored,
    reboot_graph,
    smallest,
    split_rounds,
)
from commands.placement.state import Placement
from tools.htools import report
from tools.htools.choices import Choices
from tools.htools.errors import HtoolsError
from tools.htools.load import Loaded, load


def main(choices: Choices) -> int:
    """Run hroller; return its exit status."""
    report.no_arguments(choices)
    loaded = load(choices)
    report.show_warnings(loaded, choices)
    placement = loaded.placement
    _check_master(loaded, choices)
    report.save_cluster(loaded, choices, "original", "before hroller run", placement)
    nodes = _nodes(loaded, choices)
    if not len(nodes):
        raise HtoolsError("Cannot create node graph")
    graph = reboot_graph(placement, nodes, instances_down=choices.offline_maintenance)
    if choices.verbose > 2:
        edges = ",".join(f"({vertex},{graph[vertex]})" for vertex in graph)
        print(f"Node Graph: [{edges}]")
    found = colourings(graph)
    rounds = _rounds(placement, smallest(found), choices)
    if choices.verbose > 1:
        print(_statistics(found))
    _print(loaded, choices, _ordered(loaded, rounds, set(nodes.tolist())))
    return 0


def _check_master(loaded: Loaded, choices: Choices) -> None:
    masters = [node.name for node in loaded.cluster.nodes if node.master]
    if len(masters) > 1:
        names = ",".join(f'"{name}"' for name in masters)
        raise HtoolsError(f"Found more than one master node: [{names}]")
    if masters:
        return
    problem = "No master node found (maybe not supported by backend)."
    if not choices.force:
        raise HtoolsError(problem)
    print(f"Warning: {problem}", file=sys.stderr)


def _nodes(loaded: Loaded, choices: Choices) -> Ints:
    """The online nodes that the options select."""
    placement, groups = loaded.placement, loaded.cluster.groups
    wanted: int | None = None
    if choices.group is not None:
        named = [n for n, one in enumerate(groups) if choices.group in (one.name, one.uuid)]
        if len(named) != 1:
            raise HtoolsError("Cannot find target group.")
        wanted = named[0]
    tags = None if choices.node_tags is None else set(choices.node_tags)
    chosen = [
        node
        for node in np.flatnonzero(~placement.frame.offline).tolist()
        if (wanted is None or placement.frame.group[node] == wanted)
        and (tags is None or tags & set(loaded.cluster.nodes[node].tags))
        and not (choices.skip_non_redundant and _has_unmirrored(placement, node))
    ]
    return np.array(chosen, dtype=np.int64)


def _has_unmirrored(placement: Placement, node: int) -> bool:
    return any(not placement.instances[index].mirrored for index in placement.primaries[node])


def _rounds(placement: Placement, coloured: list[list[int]], choices: Choices) -> list[Round]:
    if choices.ignore_non_redundant:
        rounds = [Round(tuple(nodes), placement) for nodes in coloured]
    else:
        try:
            rounds = [
                part
                for nodes in coloured
                for part in split_rounds(placement, nodes, move_away_unmirrored)
            ]
        except NoRoom:
            raise HtoolsError("Not enough capacity to move non-redundant instances") from None
    if not choices.full_evacuation:
        return rounds
    try:
        rounds = [migrate_off(one) for one in rounds]
    except NoRoom:
        raise HtoolsError("Failed to migrate instances off nodes") from None
    try:
        return [
            part
            for one in rounds
            for part in split_rounds(one.placement, list(one.nodes), move_away_secondaries)
        ]
    except NoRoom:
        raise HtoolsError("Not enough capacity to move secondaries") from None


def _ordered(loaded: Loaded, rounds: list[Round], inside: set[int]) -> list[Round]:
    """Largest first, but the master's last, and the master last in it."""
    nodes = loaded.cluster.nodes
    shown = [Round(tuple(n for n in one.nodes if n in inside), one.placement) for one in rounds]
    shown.sort(key=lambda one: -len(one.nodes))

    def has_master(one: Round) -> bool:
        return any(nodes[node].master for node in one.nodes)

    return [
        Round(tuple(sorted(one.nodes, key=lambda node: nodes[node].master)), one.placement)
        for one in sorted(shown, key=has_master)
    ]


def _print(loaded: Loaded, choices: Choices, rounds: list[Round]) -> None:
    single = choices.one_step_only
    if not choices.no_headers:
        print("'First Reboot Group'" if single else "'Node Reboot Groups'")
    names = loaded.placement.frame.names
    for one in rounds[:1] if single else rounds:
        listed = [names[node] for node in one.nodes]
        print("\n".join(listed) if single else ",".join(listed))
        if choices.print_moves:
            _print_moves(loaded.placement, one.placement)


def _print_moves(before: Placement, after: Placement) -> None:
    """The instances with other nodes; not those whose two nodes only changed roles."""
    names = before.frame.names
    for index, inst in enumerate(before.instances):
        old = before.primary[index], before.secondary[index]
        new = after.primary[index], after.secondary[index]
        if old == new or new == old[::-1]:
            continue
        words = [inst.name, names[new[0]]]
        if inst.mirrored:
            words.append(names[new[1]])
        print(f"  {' '.join(words)}")


def _statistics(found: list[tuple[str, Colouring]]) -> str:
    """How each algorithm did, best first."""
    ranked = sorted(found, key=lambda pair: -len(classes(pair[1])))[::-1]
    best = len(classes(ranked[0][1]))
    text = ""
    for name, colours in ranked:
        rounds = classes(colours)
        sizes = ",".join(str(len(nodes)) for nodes in rounds)
        if text:
            text += " TIE " if len(rounds) == best else " LOOSE "
        best = len(rounds)
        text += f"{name}: {len(rounds)} ({sizes})"
    return text
