"""The loop: what it promises about order, time, threads and failure."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial

import pytest
import zmq

from eventstore.reactor import Reactor


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor(context=zmq.Context())
    yield reactor
    reactor.close()
    reactor.context.destroy(linger=0)


def test_timers_fire_in_order_of_their_time_and_not_early(reactor: Reactor) -> None:
    """Timers fire in the order of their due times, none before its time."""
    fired: list[tuple[str, float]] = []
    start = reactor.now()
    for name, delay in (("late", 0.03), ("soon", 0.01), ("middle", 0.02)):
        reactor.call_later(delay, lambda name=name: fired.append((name, reactor.now() - start)))  # type: ignore[misc]
    assert reactor.run_until(lambda: len(fired) == 3, timeout_s=5)
    assert [name for name, _ in fired] == ["soon", "middle", "late"]
    assert all(at >= delay for (_, at), delay in zip(fired, (0.01, 0.02, 0.03), strict=True))


def test_a_cancelled_timer_stays_silent(reactor: Reactor) -> None:
    """A timer that was cancelled, even by one due at the same moment, never fires."""
    fired: list[str] = []
    due = reactor.now() + 0.01
    reactor.call_at(due, lambda: victim.cancel())
    victim = reactor.call_at(due, lambda: fired.append("victim"))
    reactor.call_later(0.02, lambda: fired.append("after"))
    assert reactor.run_until(lambda: "after" in fired, timeout_s=5)
    assert fired == ["after"]


def test_cancelled_timers_do_not_pile_up(reactor: Reactor) -> None:
    """A hundred thousand timers that were cancelled long before their time leave room for others,
    and the live ones among them still fire."""
    fired: list[int] = []
    for n in range(100_000):
        reactor.call_later(3600, lambda: fired.append(-1)).cancel()
        if n % 25_000 == 0:
            reactor.call_later(0.0, partial(fired.append, n))
    assert len(reactor._timers) < 3000
    assert reactor.run_until(lambda: len(fired) == 4, timeout_s=5)
    assert sorted(fired) == [0, 25_000, 50_000, 75_000]


def test_call_every_can_stop_itself(reactor: Reactor) -> None:
    """A periodic call that stops itself within its callback is not called again."""
    calls: list[int] = []

    def tick() -> None:
        calls.append(1)
        if len(calls) == 3:
            stop()

    stop = reactor.call_every(0.001, tick)
    reactor.run_until(lambda: False, timeout_s=0.05)
    assert len(calls) == 3


def test_threads_hand_over_without_loss(reactor: Reactor) -> None:
    """What 4 threads hand over arrives whole, each thread's calls in their order."""
    got: list[tuple[int, int]] = []

    def hand_over(n: int) -> None:
        for i in range(500):
            reactor.call_soon_threadsafe(partial(got.append, (n, i)))

    threads = [threading.Thread(target=hand_over, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    assert reactor.run_until(lambda: len(got) == 2000, timeout_s=20)
    for thread in threads:
        thread.join()
    for n in range(4):
        assert [i for m, i in got if m == n] == list(range(500))


class Finalized:
    """Something with a finalizer, in which Python would drop an exception."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as in a program that a person started: also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_one_ctrl_c_is_enough_wherever_it_comes(reactor: Reactor) -> None:
    """Also in a finalizer; the turn is ended first, and the next wait knows nothing of it."""
    turned: list[str] = []
    kept = [Finalized()]
    reactor.call_soon(kept.clear)
    reactor.call_soon(lambda: turned.append("the rest of the turn"))
    with pytest.raises(KeyboardInterrupt):
        reactor.run_until(lambda: False, timeout_s=20)
    assert turned == ["the rest of the turn"]
    assert not reactor.run_until(lambda: False, timeout_s=0.01)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_the_turn_that_is_the_last_is_not_lost(reactor: Reactor) -> None:
    """It is raised, though what was waited for has come."""
    done: list[int] = []

    def last() -> None:
        done.append(1)
        signal.raise_signal(signal.SIGINT)

    reactor.call_soon(last)
    with pytest.raises(KeyboardInterrupt):
        reactor.run_until(lambda: bool(done), timeout_s=20)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_long_poll(reactor: Reactor) -> None:
    """At once, though no timer is near."""
    start = reactor.now()
    killer = threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGINT))
    reactor.call_soon(killer.start)
    with pytest.raises(KeyboardInterrupt):
        reactor.run_until(lambda: False, timeout_s=20)
    killer.join()
    assert reactor.now() - start < 5


def test_a_program_that_handles_sigint_itself_is_left_alone(reactor: Reactor) -> None:
    """As a daemon does, which ends in order."""
    before = signal.getsignal(signal.SIGINT)
    reactor.on_signal(signal.SIGINT, reactor.stop)
    try:
        reactor.call_soon(partial(signal.raise_signal, signal.SIGINT))
        reactor.run()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_wakeup_ends_a_long_poll(reactor: Reactor) -> None:
    """A call from another thread is made at once, though no timer is near."""
    done: list[float] = []
    start = reactor.now()
    thread = threading.Thread(
        target=lambda: reactor.call_soon_threadsafe(lambda: done.append(reactor.now()))
    )
    reactor.call_soon(thread.start)
    assert reactor.run_until(lambda: bool(done), timeout_s=5)
    thread.join()
    assert done[0] - start < 0.5


def test_a_pipe_and_a_pidfd_are_seen(reactor: Reactor) -> None:
    """A pipe calls back when it has bytes, a pidfd when its process has ended."""
    read, write = os.pipe()
    child = os.posix_spawn("/bin/true", ["true"], {})
    pidfd = os.pidfd_open(child)
    seen: list[object] = []

    def on_end() -> None:
        reactor.unwatch(pidfd)
        seen.append(os.waitpid(child, 0)[1])

    reactor.watch(pidfd, on_end)
    reactor.watch(read, lambda: seen.append(os.read(read, 10)))
    os.write(write, b"x")
    assert reactor.run_until(lambda: len(seen) == 2, timeout_s=10)
    assert set(seen) == {b"x", 0}
    reactor.unwatch(read)
    for fd in (read, write, pidfd):
        os.close(fd)


def test_what_is_unwatched_within_a_turn_is_not_called(reactor: Reactor) -> None:
    """Of two ready pipes, the callback of the first may forget the second in the same turn."""
    pipes = [os.pipe() for _ in range(2)]
    called: list[int] = []

    def forget_the_other(mine: int, other: int) -> None:
        called.append(mine)
        reactor.unwatch(other)

    reads = [read for read, _ in pipes]
    reactor.watch(reads[0], lambda: forget_the_other(reads[0], reads[1]))
    reactor.watch(reads[1], lambda: forget_the_other(reads[1], reads[0]))
    for _, write in pipes:
        os.write(write, b"x")
    assert reactor.run_until(lambda: bool(called), timeout_s=5)
    assert len(set(called)) == 1
    for fds in pipes:
        for fd in fds:
            os.close(fd)


def test_a_crash_ends_the_loop_loudly() -> None:
    """An exception in a callback is told to `on_crash` and then raised by `run`."""
    told: list[BaseException] = []
    reactor = Reactor(context=zmq.Context(), on_crash=told.append)

    def bug() -> None:
        raise LookupError("ours")

    reactor.call_soon(bug)
    with pytest.raises(LookupError):
        reactor.run()
    assert [type(crash) for crash in told] == [LookupError]
    reactor.close()


def test_a_signal_is_a_call_on_the_loop(reactor: Reactor) -> None:
    """A signal's callback runs in the loop, and ends a poll that was waiting."""
    before = signal.getsignal(signal.SIGUSR1)
    got: list[int] = []
    try:
        reactor.on_signal(signal.SIGUSR1, lambda: got.append(1))
        reactor.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert reactor.run_until(lambda: bool(got), timeout_s=5)
    finally:
        signal.signal(signal.SIGUSR1, before)
