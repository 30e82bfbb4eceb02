"""The columns of locks: who holds one, and who waits for it (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from projections.locks import LockTable
from projections.query.table import (
    NORMAL,
    OTHER,
    Cell,
    FieldDef,
    World,
    by_name,
    field,
    value,
)

OBJECTS = ("instance", "node", "group")


@dataclass(frozen=True, slots=True)
class LockRow:
    """A lock that is held or waited for. `waiting` is in the order in which it will be granted."""

    name: str
    mode: str | None  # exclusive, shared; None: free, and waited for by somebody behind others
    holders: tuple[int, ...]  # jobs
    waiting: tuple[tuple[str, int], ...]  # (mode, job)


def rows(table: LockTable) -> Iterator[LockRow]:
    """Yield the locks that somebody holds or waits for."""
    for name in sorted({*table.held, *table.queues}):
        hold = table.held.get(name)
        yield LockRow(
            name=name,
            mode=None if hold is None else _mode(hold.shared),
            holders=() if hold is None else hold.jobs,
            waiting=tuple(
                (_wanted(table, job, name), job) for _, job in table.queues.get(name, ())
            ),
        )


def fields() -> dict[str, FieldDef]:
    """Return all columns of locks by name."""
    return by_name(
        field("name", "Name", OTHER, "Its name: kind/name", _name),
        value("mode", "Mode", OTHER, "exclusive or shared, if it is held", lambda row: row.mode),
        value("owner", "Owner", OTHER, "The jobs that hold it", lambda row: _jobs(row.holders)),
        value("pending", "Pending", OTHER, "Who waits for it, in order", _pending),
    )


def readable(world: World, lock: str) -> str:
    """Return what people call a lock; locks themselves are named by uuid."""
    kind, _, uuid = lock.partition("/")
    if kind in OBJECTS and uuid in world.cluster.table(kind):
        return f"{kind}/{world.cluster.table(kind)[uuid].name}"
    return lock


def _name(world: World, row: LockRow) -> Cell:
    return NORMAL, readable(world, row.name)


def _mode(shared: bool) -> str:
    return "shared" if shared else "exclusive"


def _wanted(table: LockTable, job: int, name: str) -> str:
    wanted = [lock.shared for lock in table.waiting[job].locks if lock.name == name]
    return _mode(all(wanted))


def _jobs(jobs: tuple[int, ...]) -> list[str] | None:
    return [f"job/{job}" for job in jobs] or None


def _pending(row: LockRow) -> list[list[object]] | None:
    return [[mode, [f"job/{job}"]] for mode, job in row.waiting] or None
