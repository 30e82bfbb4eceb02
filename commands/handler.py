"""What a handler is: pure functions that turn an opcode into locks and plans (pure).

The engine calls, for each opcode:

    locks(op, cluster)                     when it is about to start; recorded in `op.started`
    decide(op, cluster, given, so_far)     under the locks; then again each time a plan is through

`decide` returns a `Plan` (carried out, then it is asked again with its results in `so_far`), or
`Done` (the opcode is over), or raises `Refused` or `NoSuchObject` (it failed: on the first call
nothing was done, on a later one all that was done is undone, or parked if there is no way back). A
dry run is the first call, shown.

Contract: no I/O, no clock, no randomness; the same arguments give the same answer. Every call in a
plan may be made twice. Between two calls only the facts of its own plans, and what locks do not
protect (health, other objects), have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from commands.api import JobSpec
from commands.errors import Refused
from commands.given import Given
from commands.opcode import Opcode
from projections.cluster import Cluster
from projections.events.jobs import Lock
from projections.plans import Plan

Op = TypeVar("Op", bound=Opcode)


class PlanOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one plan of this opcode that is through."""

    plan: Plan
    results: dict[str, msgspec.Raw]  # by step id: calls that succeeded
    failures: dict[str, tuple[str, str]] = {}  # tolerated failures: (code, message)


Outcomes = tuple[PlanOutcome, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The opcode is over. `result` must be what MessagePack can hold.

    With a `problem` it failed, and yet what it did stays: nothing is undone, nothing is parked (an
    instance that was created and did not start). Raising Refused instead would undo it all.

    `jobs` are submitted in the same batch, on behalf of whoever submitted this one. Their ids join
    the result, as Ganeti has it: `{"jobs": [[True, 17], ...]}`; it must be a dict then, or None.
    """

    result: object = None
    problem: Refused | None = None
    jobs: tuple[JobSpec, ...] = ()


Decide = Callable[[Op, Cluster, Given, Outcomes], Plan | Done]


def no_locks(op: Opcode, cluster: Cluster) -> tuple[Lock, ...]:
    """Return no lock at all."""
    return ()


def looks_at_nothing(op: Opcode, cluster: Cluster) -> Iterable[str]:
    """Return no node: the decision needs nothing that was seen."""
    return ()


@dataclass(frozen=True, slots=True)
class Handler(Generic[Op]):
    """One opcode and its pure functions. `version` rises when a recorded plan would be read
    otherwise by `decide`; old versions stay in the registry while opcodes of them are open."""

    opcode: type[Op]
    decide: Decide[Op]
    locks: Callable[[Op, Cluster], tuple[Lock, ...]] = no_locks
    looks_at: Callable[[Op, Cluster], Iterable[str]] = looks_at_nothing  # uuids of nodes
    version: int = 1
