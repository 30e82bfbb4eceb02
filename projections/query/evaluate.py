"""Answer a query: choose the rows, filter, sort, read the columns (pure).

As in Ganeti: rows are sorted by name, `node2` before `node10`, jobs and locks in their own order;
a name that was asked for twice comes once; an unknown field is a column of status 1 and no error;
an unknown name is an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from projections.errors import NoSuchObject, ProjectionError
from projections.locks import LockTable
from projections.query import (
    cluster_fields,
    group_fields,
    instance_fields,
    job_fields,
    lock_fields,
    node_fields,
)
from projections.query.defaults import NAME_FIELD
from projections.query.filters import compile_filter
from projections.query.job_fields import JobRow
from projections.query.table import NO_SUCH_FIELD, Cell, Column, FieldDef, World, field, nice


class UnknownTable(ProjectionError):
    """There is no table of that name."""


@dataclass(frozen=True, slots=True)
class Table:
    """The answer: columns, and rows of cells (status, value)."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@cache
def fields_of(what: str) -> dict[str, FieldDef]:
    """Return the columns of a table by name. Raises UnknownTable."""
    match what:
        case "instance":
            return instance_fields.fields()
        case "node":
            return node_fields.fields()
        case "group":
            return group_fields.fields()
        case "job":
            return job_fields.fields()
        case "lock":
            return lock_fields.fields()
        case "cluster":
            return cluster_fields.fields()
    raise UnknownTable(f"there is no table {what!r}; there are {', '.join(sorted(NAME_FIELD))}")


def answer(
    what: str,
    world: World,
    *,
    fields: Iterable[str],
    names: Iterable[str] = (),
    where: object = None,
    jobs: Iterable[JobRow] = (),
    locks: LockTable | None = None,
) -> Table:
    """Return the rows of a table. `where` is a filter as nested lists (filters.py), or None.

    `jobs` are the rows of the table of jobs (open ones are a projection, ended ones lie in the
    index); `locks` those of the table of locks. Raises UnknownTable, BadFilter, NoSuchObject.
    """
    known = fields_of(what)
    columns = [known.get(name) or _unknown(name) for name in fields]
    rows: Iterable[Any] = _rows(what, world, tuple(names), jobs, locks)
    if where is not None:
        test = compile_filter(where, known)
        rows = [row for row in rows if test(world, row)]
    return Table(
        columns=tuple(each.column for each in columns),
        rows=tuple(tuple(each.get(world, row) for each in columns) for row in rows),
    )


def _unknown(name: str) -> FieldDef:
    return field(name, name, "unknown", "", lambda _, row: NO_SUCH_FIELD)


def _rows(
    what: str,
    world: World,
    names: tuple[str, ...],
    jobs: Iterable[JobRow],
    locks: LockTable | None,
) -> list[Any]:
    """Return the rows of a table, sorted. Any: each table has its own type of row."""
    match what:
        case "instance" | "node" | "group":
            return _objects(what, world, names)
        case "cluster":
            return [] if world.cluster.info is None else [world.cluster.info]
        case "job":
            return _jobs(names, sorted(jobs, key=lambda row: row.job.id))
        case "lock":
            found = [] if locks is None else list(lock_fields.rows(locks))
            return _locks(names, found)
    raise AssertionError(what)  # fields_of has refused it


def _objects(what: str, world: World, names: tuple[str, ...]) -> list[Any]:
    table = world.cluster.table(what)
    if not names:
        return sorted(table.values(), key=lambda row: nice(row.name))
    find = getattr(world.cluster, what)
    found = {row.uuid: row for row in map(find, names)}
    return sorted(found.values(), key=lambda row: nice(row.name))


def _jobs(names: tuple[str, ...], rows: list[JobRow]) -> list[JobRow]:
    if not names:
        return rows
    known = {str(row.job.id): row for row in rows}
    for name in names:
        if name not in known:
            raise NoSuchObject("job", name)
    wanted = set(names)
    return [row for name, row in known.items() if name in wanted]


def _locks(names: tuple[str, ...], rows: list[lock_fields.LockRow]) -> list[lock_fields.LockRow]:
    known = {row.name: row for row in rows}
    for name in names:
        if name not in known:
            raise NoSuchObject("lock", name, tuple(difflib.get_close_matches(name, known)))
    return [row for row in rows if not names or row.name in names]
