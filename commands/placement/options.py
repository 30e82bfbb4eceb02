"""What the operator asks of the algorithms."""

from __future__ import annotations

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options that htools calls algorithmic, with its defaults."""

    disk_moves: bool = True
    instance_moves: bool = True
    restricted_migration: bool = False
    ignore_soft_errors: bool = False
    evacuation: bool = False  # only instances with an offline node move
    min_gain: float = 0.01
    min_gain_limit: float = 0.1
    capacity_checks: bool = True  # global N+1 where instances are added
    ignored_groups: frozenset[int] = frozenset()  # in capacity checks
    restrict_to: frozenset[str] | None = None  # names of nodes for allocation
    accept_existing: bool = False  # capacity checks skip offline nodes
