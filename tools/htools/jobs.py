"""Moves as opcodes, in the form in which Ganeti reads them."""

from __future__ import annotations

from collections.abc import Sequence

from commands.placement.model import Instance
from commands.placement.moves import Kind, Move

Opcode = dict[str, object]


def opcodes(move: Move, instance: Instance, nodes: Sequence[str]) -> list[Opcode]:
    """The opcodes of one move; `nodes` are the names of all nodes.

    Migrations allow a failover where the instance turns out to be down; forthcoming instances,
    which cannot migrate, fail over.
    """
    over = _over(instance, None)
    target = nodes[move.target] if move.target >= 0 else ""
    replace = _replace(instance, target)
    match move.kind:
        case Kind.FAILOVER:
            return [over]
        case Kind.FAILOVER_TO_ANY:
            return [_over(instance, target)]
        case Kind.REPLACE_SECONDARY:
            return [replace]
        case Kind.REPLACE_AND_FAILOVER:
            return [replace, over]
        case Kind.REPLACE_PRIMARY:
            return [over, replace, over]
        case Kind.FAILOVER_AND_REPLACE:
            return [over, replace]


def _over(instance: Instance, target: str | None) -> Opcode:
    to_node: Opcode = {} if target is None else {"target_node": target}
    if instance.forthcoming:
        return {
            "OP_ID": "OP_INSTANCE_FAILOVER",
            "instance_name": instance.name,
            "shutdown_timeout": 120,
            "ignore_consistency": False,
            **to_node,
            "ignore_ipolicy": False,
            "cleanup": False,
        }
    return {
        "OP_ID": "OP_INSTANCE_MIGRATE",
        "instance_name": instance.name,
        **to_node,
        "allow_runtime_changes": False,
        "ignore_ipolicy": False,
        "cleanup": False,
        "allow_failover": True,
        "ignore_hvversions": True,
    }


def _replace(instance: Instance, target: str) -> Opcode:
    return {
        "OP_ID": "OP_INSTANCE_REPLACE_DISKS",
        "instance_name": instance.name,
        "early_release": False,
        "ignore_ipolicy": False,
        "mode": "replace_new_secondary",
        "disks": [],
        "remote_node": target,
    }
