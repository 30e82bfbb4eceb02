"""When a machine is asked what it wants, and what is still to be told (pure but for its ports).

What is told to others waits in one queue, so that it is told in the order in which the machine said
it. A callback that raises does not swallow the next: the rest is told in the next turn. If telling
takes long (a voter that catches up), the rest waits for the next turn as well, so that sockets and
timers get theirs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

Call = Callable[[], None]
Post = Callable[[Call], None]

_TURN_S = 0.05  # of telling; then the reactor goes on with its sockets and timers


class Timer(Protocol):
    """A call in the future."""

    def cancel(self) -> None:
        """Do not call."""


CallAt = Callable[[float, Call], Timer]


class Turns:
    """`take` carries out one thing that the machine wants, and says whether there was one.

    `tick` is called at `deadline_ms`, which is read anew after each turn (CLOCK_BOOTTIME).
    """

    def __init__(
        self,
        *,
        take: Callable[[], bool],
        tick: Call,
        deadline_ms: Callable[[], int],
        post: Post,
        call_at: CallAt,
        boot_s: Callable[[], float],
    ) -> None:
        self._take, self._tick, self._deadline_ms = take, tick, deadline_ms
        self._post, self._call_at, self._boot_s = post, call_at, boot_s
        self._told: deque[Call] = deque()
        self._pumping = self._waking = self._stopped = False
        self._timer: Timer | None = None
        self._timer_ms = 0

    def tell(self, call: Call) -> None:
        """Tell this after all that waits."""
        self._told.append(call)

    def tell_next(self, call: Call) -> None:
        """Tell this before all that waits."""
        self._told.appendleft(call)

    def wake(self) -> None:
        """Ask the machine at the end of this turn what it wants."""
        if not self._waking:
            self._waking = True
            self._post(self.pump)

    def pump(self, turn_s: float = _TURN_S) -> None:
        """Carry out what the machine wants until it wants nothing; tell what is to be told."""
        self._waking = False
        if self._pumping:
            return  # what a callback led to comes out of the loop below
        self._pumping = True
        until_s = self._boot_s() + turn_s
        try:
            while self._told or self._take():
                if self._told:
                    self._told.popleft()()
                if self._boot_s() > until_s:
                    self.wake()
                    break
        except BaseException:
            self._post(self.pump)  # one that raises does not swallow the next
            raise
        finally:
            self._pumping = False
        self._set_timer()

    def stop(self) -> None:
        """Tell nothing more, and call nothing at its time."""
        self._stopped = True
        self._told.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self) -> None:
        if self._stopped:
            return
        due_ms = self._deadline_ms()
        if self._timer is not None and self._timer_ms <= due_ms:
            return  # it fires no later; the machine then says anew
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        self._timer = self._call_at((due_ms + 0.5) / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._tick()
        self.pump()
