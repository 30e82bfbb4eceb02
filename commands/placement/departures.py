"""Instances that leave their nodes or their group: which go where, by which moves, and why (pure).

As a `Basis` for one instance, a `Departure` holds the question with what was seen, and its answer:
enough to act on, to explain, and to make the choice again.
"""

from __future__ import annotations

import msgspec

from commands.placement.from_cluster import NodeFigures, model_of
from projections import cluster as wanted

EVACUATE, CHANGE_GROUP = "evacuate", "change-group"
ALL = "all"
MODES = ("primary-only", "secondary-only", ALL)


class Going(msgspec.Struct, frozen=True, array_like=True):
    """One instance: where it will be, and its moves in order: (kind of move, node or "")."""

    name: str
    group: str  # name
    nodes: tuple[str, ...]  # names, the primary first
    moves: tuple[tuple[str, str], ...]


class Departure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which instances should go (names), and what became of the question."""

    version: int = 1
    kind: str
    names: tuple[str, ...]
    figures: tuple[NodeFigures, ...]
    mode: str = ALL  # which of their nodes they leave
    node: str = ""  # name: with the mode `all` they leave this node, and no other
    groups: tuple[str, ...] = ()  # uuids: where they may go; all others if none
    ignore_soft_errors: bool = False
    going: tuple[Going, ...] = ()
    staying: tuple[tuple[str, str], ...] = ()  # name, reason
    score_before: float = 0.0
    score_after: float = 0.0


def decide(cluster: wanted.Cluster, asked: Departure) -> Departure:
    """Answer in this configuration. The same question, the same answer."""
    from commands.placement import choosing, metrics  # numpy comes with them
    from commands.placement.allocate import all_nodes
    from commands.placement.emptying import empty
    from commands.placement.evacuate import Mode, change_group, evacuate
    from commands.placement.options import Options

    model = model_of(cluster, asked.figures)
    placement = choosing.settle(model)
    scope = all_nodes(placement)
    before = metrics.score(placement, scope)
    name_of = placement.frame.names
    numbers = {one.name: number for number, one in enumerate(model.instances)}
    instances = [numbers[name] for name in asked.names]
    options = Options(ignore_soft_errors=asked.ignore_soft_errors)
    if asked.kind == EVACUATE and asked.mode == ALL and asked.node:
        found = empty(placement, name_of.index(asked.node), instances, options)
    elif asked.kind == EVACUATE:
        found = evacuate(placement, instances, Mode(asked.mode), options)
    else:
        groups = [n for n, group in enumerate(model.groups) if group.uuid in asked.groups]
        found = change_group(placement, instances, groups, options)
    going = tuple(
        Going(
            model.instances[one.instance].name,
            model.groups[one.group].name,
            tuple(name_of[node] for node in one.nodes),
            tuple(
                (move.kind.name, name_of[move.target] if move.target >= 0 else "")
                for move in one.moves
            ),
        )
        for one in found.moved
    )
    staying = tuple((model.instances[index].name, reason) for index, reason in found.failed)
    return msgspec.structs.replace(
        asked,
        going=going,
        staying=staying,
        score_before=before,
        score_after=metrics.score(placement, scope),
    )


def replay(cluster: wanted.Cluster, recorded: msgspec.Raw | bytes) -> tuple[Departure, Departure]:
    """Return a recorded departure, and what is decided now from the same."""
    was = msgspec.msgpack.decode(recorded, type=Departure)
    return was, decide(cluster, was)
