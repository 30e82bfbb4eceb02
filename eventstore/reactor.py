"""The loop of a daemon: sockets, file descriptors, timers, calls from other threads (edge).

One thread owns everything that a daemon decides; other threads (the log's writer, a command that
runs) only hand a callable over with `call_soon_threadsafe`. Why not asyncio: a ZeroMQ socket's file
descriptor is edge-triggered and its adapter lost wakeups more than once, timers there run on a
clock that stops while the machine is suspended, and an exception in a callback is printed and
forgotten. Here sockets are polled level-triggered with `zmq_poll`, timers run on CLOCK_BOOTTIME,
and the first exception that a callback lets out ends `run` (see `on_crash`).

Order of one turn: one callback for each socket or descriptor that is ready, timers that are due,
then calls that were handed over. A callback drains its socket with NOBLOCK, but not for ever:
what is left makes the socket ready again in the next turn.

Ctrl-C in a program without a handler of its own is raised between two turns. Python would raise it
wherever it is at that moment: in a callback half done, or in a finalizer (a socket that is let go
has one), where it is printed and forgotten, and the program goes on as if nobody had asked.
"""

from __future__ import annotations

import errno
import heapq
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import zmq

Callback = Callable[[], object]  # what it returns is ignored
Pollable = zmq.Socket[Any] | int
READ = zmq.POLLIN

# zmq_poll counts on CLOCK_MONOTONIC, which stands still in suspend. Waking at least this often
# bounds how late a timer on CLOCK_BOOTTIME may fire after the machine wakes up.
_LONGEST_POLL_S = 1.0
_COMPACT_AT = 1024  # timers
_MAX_SOCKETS = 8192  # per context; the default of 1023 is too few for a simulator of agents


class Timer:
    """A call in the future; `cancel` may be called at any time and any number of times."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callback) -> None:
        self.due = due
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Do not call; a timer that has fired stays fired."""
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due


class Reactor:
    """Calls back when a socket is ready, a time has come, or another thread asks.

    `on_crash` hears of an exception that a callback let out, before `run` raises it: the place to
    leave a last word. Nothing goes on after it, since what the callback left half done is unknown.
    """

    def __init__(
        self,
        *,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        on_crash: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.context = context if context is not None else process_context()
        self._on_crash = on_crash or _log_crash
        self._poller = zmq.Poller()
        self._ready: dict[Pollable, Callback] = {}
        self._soon: deque[Callback] = deque()
        self._timers: list[Timer] = []
        self._compact_at = _COMPACT_AT
        self._awake_in = 0  # the thread that turns, 0 while it polls
        self._stopping = False
        self._interrupted = False
        self._closing: list[Callback] = []
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wakeup, self._on_wakeup)

    @staticmethod
    def now() -> float:
        """Seconds on CLOCK_BOOTTIME: never goes back, and time in suspend counts."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def watch(self, source: Pollable, callback: Callback, events: int = READ) -> None:
        """Call `callback` whenever `source` is ready; a second watch replaces the first.

        A pidfd becomes readable when its process ends, a pipe also when the other end is closed.
        """
        self._poller.register(source, events)
        self._ready[source] = callback

    def unwatch(self, source: Pollable) -> None:
        """Forget `source` at once, also if it was found ready in this turn."""
        if self._ready.pop(source, None) is not None:
            self._poller.unregister(source)

    def call_soon(self, callback: Callback) -> None:
        """Call in the next turn. From the reactor's own thread only."""
        self._soon.append(callback)

    def call_soon_threadsafe(self, callback: Callback) -> None:
        """Call in the next turn, from any thread or signal handler. Order is kept per thread."""
        self._soon.append(callback)
        if self._awake_in == threading.get_ident():
            return  # this thread looks at `_soon` before it polls again
        try:
            os.eventfd_write(self._wakeup, 1)
        except OSError as failed:
            # The counter is full (a wakeup is pending anyway), or the reactor was closed.
            if failed.errno not in (errno.EAGAIN, errno.EBADF):
                raise

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Call once, `delay_s` seconds from now or a little later, never earlier."""
        return self.call_at(self.now() + delay_s, callback)

    def call_at(self, due: float, callback: Callback) -> Timer:
        """Call once `now()` has reached `due`."""
        timer = Timer(due, callback)
        if len(self._timers) >= self._compact_at:
            self._drop_cancelled()
        heapq.heappush(self._timers, timer)
        return timer

    def call_every(self, period_s: float, callback: Callback) -> Callback:
        """Call each `period_s` seconds, without catching up missed ones; returns how to stop it."""
        timer = Timer(0, callback)

        def fire() -> None:
            nonlocal timer
            timer = self.call_later(period_s, fire)
            callback()

        timer = self.call_later(period_s, fire)
        return lambda: timer.cancel()

    def on_signal(self, signum: int, callback: Callback) -> None:
        """Call on the loop when the process gets `signum`. From the main thread only."""

        def handler(_signum: int, _frame: FrameType | None) -> None:
            self.call_soon_threadsafe(callback)

        signal.signal(signum, handler)

    def on_close(self, callback: Callback) -> None:
        """Call when the reactor is closed; the last registered is called first."""
        self._closing.append(callback)

    def stop(self) -> None:
        """Let `run` return after this turn. From the reactor's own thread."""
        self._stopping = True

    def run(self) -> None:
        """Turn until `stop`. Raises what a callback let out, after `on_crash` has heard of it."""
        self._stopping = False
        self.run_until(lambda: self._stopping)

    def run_until(self, done: Callable[[], bool], *, timeout_s: float | None = None) -> bool:
        """Turn until `done()` holds after a turn, or the time is over; returns `done()`.

        Raises KeyboardInterrupt between two turns, unless the program handles SIGINT itself.
        """
        due = None if timeout_s is None else self.now() + timeout_s
        try:
            with self._noting_interrupts():
                while not done():
                    if due is not None and self.now() >= due:
                        return False
                    self._turn(due)
        except BaseException as crash:
            self._on_crash(crash)
            raise
        return True

    def close(self) -> None:
        """Call what was registered with `on_close` and let go of the descriptor."""
        while self._closing:
            self._closing.pop()()
        if self._wakeup in self._ready:
            self.unwatch(self._wakeup)
            os.close(self._wakeup)

    @contextmanager
    def _noting_interrupts(self) -> Iterator[None]:
        """Inside, SIGINT is noted for `_turn` to raise."""
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        ):
            yield
            return
        signal.signal(signal.SIGINT, self._note_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            noted, self._interrupted = self._interrupted, False
        if noted:  # in the last turn
            raise KeyboardInterrupt

    def _note_interrupt(self, _signum: int, _frame: FrameType | None) -> None:
        self._interrupted = True
        self.call_soon_threadsafe(lambda: None)  # ends a poll

    def _turn(self, until: float | None) -> None:
        # Polling comes first: `run_until` then sees its condition in the turn that met it.
        # What is added from here on (by a signal handler, say) must wake the poll; so this is
        # said before the look at what waits, not after it.
        self._awake_in = 0
        ready = self._poller.poll(self._patience_ms(until))
        self._awake_in = threading.get_ident()
        for source, _events in ready:
            # A callback earlier in this turn may have closed this one.
            callback = self._ready.get(source)
            if callback is not None:
                callback()
        self._call_due()
        self._call_waiting()
        if self._interrupted:
            raise KeyboardInterrupt

    def _call_waiting(self) -> None:
        for _ in range(len(self._soon)):  # what these calls add waits for the next turn
            self._soon.popleft()()

    def _call_due(self) -> None:
        if not self._timers:
            return
        now = self.now()
        while self._timers and (self._timers[0].callback is None or self._timers[0].due <= now):
            callback = heapq.heappop(self._timers).callback
            if callback is not None:
                callback()

    def _drop_cancelled(self) -> None:
        """Let go of cancelled timers: most are (a request's deadline), long before they are due."""
        self._timers = [timer for timer in self._timers if timer.callback is not None]
        heapq.heapify(self._timers)
        self._compact_at = max(_COMPACT_AT, 2 * len(self._timers))

    def _patience_ms(self, until: float | None) -> int:
        if self._soon or self._stopping:
            return 0
        wake = until
        if self._timers and (wake is None or self._timers[0].due < wake):
            wake = self._timers[0].due
        if wake is None:
            return int(_LONGEST_POLL_S * 1000)
        # Rounded up: waking a millisecond early would turn the loop idly until the time has come.
        left_s = min(max(wake - self.now(), 0.0), _LONGEST_POLL_S)
        return int(left_s * 1000 + 0.999)

    def _on_wakeup(self) -> None:
        os.eventfd_read(self._wakeup)


def process_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return the process's one ZeroMQ context (there is one ZAP endpoint in each).

    Never to be used after a fork: start other processes by spawn or exec.
    """
    context: zmq.Context[Any] = zmq.Context.instance()
    context.set(zmq.MAX_SOCKETS, _MAX_SOCKETS)  # without effect once a socket exists
    return context


def _log_crash(crash: BaseException) -> None:
    if isinstance(crash, Exception):
        logging.getLogger(__name__).critical("a callback failed; ending", exc_info=crash)
