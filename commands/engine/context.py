"""What a walk needs besides the state: who decides, chance, time, which nodes have promised."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from commands.engine.draws import Draws, Look
from commands.engine.timers import Timers
from commands.registry import Registry


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one engine. `promised`: nodes that refuse older leaders by now."""

    cluster_id: str
    registry: Registry
    draws: Draws
    look: Look
    timers: Timers
    promised: Set[str]
