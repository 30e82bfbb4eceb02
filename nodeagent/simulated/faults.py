"""Failures on order: what the lab wants to go wrong on a simulated node (edge).

Deterministic: an order says which call fails and how often, never how likely. Orders survive the
agent's restart, and are used up in the same file change that counts them.

    fail   the next n calls of a name end in Failure before they have any effect
    after  the same, after they had their effect (the agent cannot know; the leader must cope)
    hang   the next n calls of a name do nothing until they are stopped
    slow   every call takes that many seconds longer
    die    the process is killed (SIGKILL) when it next passes a point of the agent's path
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from nodeagent.errors import NodeAgentError
from nodeagent.simulated.state_file import Counted, StateFile
from nodeagent.task_scope import TaskScope

# Points of the path of a task, in order; `die` names one.
POINTS = ("seen", "accepted", "acting", "acted", "journaled", "sent", "settled")
ANY = "*"


class FaultState(Counted, kw_only=True):
    """Orders that are open."""

    fail: dict[str, int] = {}
    after: dict[str, int] = {}
    hang: dict[str, int] = {}
    die: dict[str, int] = {}
    slow_s: float = 0.0


class InjectedFault(NodeAgentError):
    """The lab wanted this call to fail."""


class Faults:
    """The open orders of one node."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, FaultState)

    def order(self, kind: str, name: str, times: int) -> None:
        """Let the next `times` calls `name` (or `*`: any) go wrong in this way."""
        with self._file.change() as state:
            orders: dict[str, int] = getattr(state, kind)
            orders[name] = times
            if times <= 0:
                del orders[name]

    def set_slow(self, seconds: float) -> None:
        """Let every call take that much longer."""
        with self._file.change() as state:
            state.slow_s = seconds

    def clear(self) -> None:
        """Forget every order."""
        with self._file.change() as state:
            state.fail, state.after, state.hang, state.die = {}, {}, {}, {}
            state.slow_s = 0.0

    def before(self, call: str, scope: TaskScope) -> None:
        """Called before a call acts. Raises InjectedFault or Stopped, or takes its time."""
        state = self._file.read()
        if state.slow_s:
            scope.wait(state.slow_s, left="nothing was done")
        if self._take("hang", call):
            while True:
                scope.wait(3600, left="nothing was done")
        if self._take("fail", call):
            raise InjectedFault(
                f"{call} failed: the lab wanted it", hint="try again: it was for this once"
            )

    def after(self, call: str) -> None:
        """Called when a call has acted. Raises InjectedFault."""
        if self._take("after", call):
            raise InjectedFault(f"{call} failed after it had acted: the lab wanted it")

    def passed(self, point: str) -> None:
        """Called when the agent passes a point of a task's path; does not return if it must die."""
        if self._take("die", point, exact=True):
            os.kill(os.getpid(), signal.SIGKILL)

    def _take(self, kind: str, name: str, *, exact: bool = False) -> bool:
        orders: dict[str, int] = getattr(self._file.read(), kind)
        if not orders or (name not in orders and (exact or ANY not in orders)):
            return False  # the usual case costs no lock
        with self._file.change() as state:
            orders = getattr(state, kind)
            key = name if name in orders else ANY
            orders[key] -= 1
            if orders[key] <= 0:
                del orders[key]
            state.effect(kind, name)
        return True
