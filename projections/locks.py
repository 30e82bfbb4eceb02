"""The lock table: who holds what, who waits for what, and behind whom (pure).

A request names all the locks that an opcode needs, each shared or exclusive. Three rules:

1. All of a request's locks are granted at once, or none. Nobody holds one lock while waiting for
   another, so there is no cycle of waiters: no deadlock.
2. Requests are ordered by (priority, job): the lower number first, the oldest first within a
   priority. A request may be granted only if it conflicts with no holder **and with no earlier
   request that still waits**. So a stream of shared requests never passes an exclusive one for
   ever: no starvation within a priority.
3. Two requests conflict if they name the same lock and at least one of them wants it exclusively.

Names are flat: holding `group/x` says nothing about `node/y`. A handler names all that it needs.

The table is a projection: `op.blocked` adds a request, `op.started` turns it into held locks, the
end of the opcode frees them. An owner is a job, since only one opcode of a job runs at a time.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

import immutables
import msgspec

from projections.errors import CorruptHistory
from projections.events.jobs import Lock

Turn = tuple[int, int]  # (priority, job): the order of requests


class Request(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a job waits for."""

    priority: int
    job: int
    locks: tuple[Lock, ...]

    @property
    def turn(self) -> Turn:
        """Its turn in the order of requests."""
        return (self.priority, self.job)


class Hold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who holds a lock: one job, or several that share it."""

    jobs: tuple[int, ...]
    shared: bool


class LockTable(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Held locks and waiting requests; a change returns a new table."""

    held: immutables.Map[str, Hold] = immutables.Map()
    owned: immutables.Map[int, tuple[Lock, ...]] = immutables.Map()
    waiting: immutables.Map[int, Request] = immutables.Map()
    # lock name -> turns of those that wait for it, in order
    queues: immutables.Map[str, tuple[Turn, ...]] = immutables.Map()

    def holders_against(self, request: Request) -> frozenset[int]:
        """Return the jobs that hold something which `request` may not share with them."""
        found: set[int] = set()
        for lock in request.locks:
            hold = self.held.get(lock.name)
            if hold is not None and not (lock.shared and hold.shared):
                found.update(hold.jobs)
        return frozenset(found - {request.job})

    def waiters_before(self, request: Request) -> frozenset[int]:
        """Return the jobs that wait, are earlier than `request`, and conflict with it."""
        found: set[int] = set()
        for lock in request.locks:
            queue = self.queues.get(lock.name, ())
            for _, job in queue[: bisect_left(queue, request.turn)]:
                if not (lock.shared and self._shares(job, lock.name)):
                    found.add(job)
        return frozenset(found - {request.job})

    def behind(self, request: Request) -> tuple[int, ...]:
        """Return the jobs that `request` must wait for, sorted; none: it may be granted now."""
        return tuple(sorted(self.holders_against(request) | self.waiters_before(request)))

    def in_the_way(self, request: Request) -> dict[int, list[str]]:
        """Return the jobs of `behind`, in their order, and for which of its locks each is there."""
        found: dict[int, list[str]] = {}
        for lock in _normal(request.locks):
            for job in self.behind(Request(request.priority, request.job, (lock,))):
                found.setdefault(job, []).append(lock.name)
        return dict(sorted(found.items()))

    def is_free(self, request: Request) -> bool:
        """Say whether nothing is in the way of `request`: `behind` is empty, found more quickly."""
        return all(self._is_free(lock, request) for lock in request.locks)

    def _is_free(self, lock: Lock, request: Request) -> bool:
        hold = self.held.get(lock.name)
        if hold is not None and not (lock.shared and hold.shared) and hold.jobs != (request.job,):
            return False
        for turn in self.queues.get(lock.name, ()):
            if turn >= request.turn:
                break
            job = turn[1]
            if job != request.job and not (lock.shared and self._shares(job, lock.name)):
                return False
        return True

    def waiters_for(self, names: Iterable[str]) -> list[int]:
        """Return the jobs that wait for any of the locks `names`, first come first."""
        turns = {turn for name in names for turn in self.queues.get(name, ())}
        return [job for _, job in sorted(turns)]

    def in_order(self) -> Iterator[Request]:
        """Yield the waiting requests in their order."""
        yield from sorted(self.waiting.values(), key=lambda request: request.turn)

    def wait(self, request: Request) -> LockTable:
        """Return the table with `request` waiting; it replaces an earlier one of the same job."""
        table = self.stop_waiting(request.job)
        queues = table.queues
        for name in {lock.name for lock in request.locks}:
            queue = list(queues.get(name, ()))
            insort(queue, request.turn)
            queues = queues.set(name, tuple(queue))
        return LockTable(
            held=table.held,
            owned=table.owned,
            waiting=table.waiting.set(request.job, request),
            queues=queues,
        )

    def stop_waiting(self, job: int) -> LockTable:
        """Return the table in which `job` waits for nothing; the same one if it did not wait."""
        request = self.waiting.get(job)
        if request is None:
            return self
        queues = self.queues
        for name in {lock.name for lock in request.locks}:
            rest = tuple(turn for turn in queues[name] if turn != request.turn)
            queues = queues.set(name, rest) if rest else queues.delete(name)
        return LockTable(
            held=self.held, owned=self.owned, waiting=self.waiting.delete(job), queues=queues
        )

    def grant(self, job: int, locks: tuple[Lock, ...]) -> LockTable:
        """Return the table in which `job` holds `locks`, all of them, and waits no more.

        Raises CorruptHistory if somebody holds a conflicting one, or the job holds some already.
        Whether it was this job's turn is the scheduler's business, not history's.
        """
        table = self.stop_waiting(job)
        if not locks:
            return table
        if job in table.owned:
            raise CorruptHistory(f"job {job} holds locks already")
        held = table.held
        wanted = _normal(locks)
        for lock in wanted:
            hold = held.get(lock.name)
            if hold is None:
                held = held.set(lock.name, Hold((job,), lock.shared))
            elif hold.shared and lock.shared:
                held = held.set(lock.name, Hold((*hold.jobs, job), True))
            else:
                raise CorruptHistory(f"job {job} takes {lock.name} from {hold.jobs}")
        return LockTable(
            held=held,
            owned=table.owned.set(job, wanted),
            waiting=table.waiting,
            queues=table.queues,
        )

    def release(self, job: int) -> LockTable:
        """Return the table in which `job` holds nothing and waits for nothing."""
        table = self.stop_waiting(job)
        owned = table.owned.get(job)
        if owned is None:
            return table
        held = table.held
        for lock in owned:
            rest = tuple(other for other in held[lock.name].jobs if other != job)
            held = held.set(lock.name, Hold(rest, True)) if rest else held.delete(lock.name)
        return LockTable(
            held=held, owned=table.owned.delete(job), waiting=table.waiting, queues=table.queues
        )

    def _shares(self, job: int, name: str) -> bool:
        return all(lock.shared for lock in self.waiting[job].locks if lock.name == name)


def _normal(locks: tuple[Lock, ...]) -> tuple[Lock, ...]:
    """Return each name once, exclusive where it was asked for in both ways."""
    modes: dict[str, bool] = {}
    for lock in locks:
        modes[lock.name] = lock.shared and modes.get(lock.name, True)
    return tuple(Lock(name, shared) for name, shared in sorted(modes.items()))
