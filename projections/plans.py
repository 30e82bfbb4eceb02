"""Plans: what an opcode has decided to do, as data in the log (pure).

A plan is a small graph of **steps**, recorded as `op.planned` before anything happens. A step names
the steps that it waits for; what is independent runs in parallel. The engine knows nothing more
about an opcode than its plan, so a new master goes on by reading, not by running code again.

The states of a step, and who moves it on:

    waiting ---- its `after` are all done ------------------> ready
    ready ------ Call: `task.requested` --------------------> sent
                 Record: its events, and `step.recorded` ---> done       (one batch)
                 Wait: `wait.started` ----------------------> sent
    sent ------- Call: `task.done` / Wait: `wait.fired` ----> done
                 Call: `task.failed`, attempts left --------> ready      (attempt + 1)
                 Call: `task.failed`, none left ------------> failed
                 timed out: `task.withdraw-requested`; the agent's answer (never-ran, done,
                 failed, still-running) decides which of the above

When a step has failed for good, nothing new is sent, what still runs is drained or withdrawn, then
the undos of **every step that was sent** run, last first, each recorded like a do. If a step marked
`final` (the point of no return) was sent, there is no undo: the plan goes forward or parks.

Invariants: ids are unique in a plan; `after` names earlier steps only (so a plan has no cycle).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from eventstore.packed import Packed
from eventstore.record import Event


class Undo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The call that takes back what a step did; it must be right also when the step did nothing."""

    call: Packed
    node: str = ""  # uuid; empty: the node of the step
    timeout_s: float = 300.0


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event inside a plan, encoded already: stream, kind, schema and data as in a record."""

    stream: str
    kind: str
    schema: int
    data: msgspec.Raw


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="call"):
    """A call on one node."""

    id: str  # for people too: "volume/node1", "mirror/0"
    node: str  # uuid
    call: Packed
    after: tuple[str, ...] = ()
    timeout_s: float = 300.0
    attempts: int = 1  # how often it may be tried in all
    undo: Undo | None = None
    final: bool = False  # the point of no return: once sent, the opcode only goes forward
    resource: str = ""  # the agent runs one task of a resource at a time; "" = the instance/job
    tolerate: bool = False  # its failure is reported and the plan goes on (an unreachable peer)


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="record"):
    """Facts that become true at this place of the plan, all at once."""

    id: str
    facts: tuple[Fact, ...]
    after: tuple[str, ...] = ()
    undo: tuple[Fact, ...] = ()  # facts that take them back
    final: bool = False


class Condition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question to the projections. Kinds are in `conditions.py`.

    disk-synced    subject: uuid of an instance; argument: uuid of one of its disks, "" for all.
                   No side of it is named in `Disk.health`.
    node-joined    subject: uuid of a node.
    no-voter       subject: uuid of a node.
    """

    kind: str
    subject: str
    argument: str = ""


class Wait(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="wait"):
    """Wait for a time, or until a condition holds. Without `until`, running out is the success."""

    id: str
    after: tuple[str, ...] = ()
    until: Condition | None = None
    timeout_s: float = 60.0


Step = Call | Record | Wait


class Reservation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a plan will use and no other may count on, until its opcode ends."""

    node: str  # uuid
    memory_mib: int = 0
    disk_mib: int = 0
    minors: tuple[int, ...] = ()
    vcpus: int = 0  # of a new instance, on its primary node


class Reservations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Capacity and names that `op.planned` takes, so that creations may run side by side."""

    nodes: tuple[Reservation, ...] = ()
    names: tuple[str, ...] = ()  # `instance/web1.example.net`, `node/node2`
    ports: tuple[int, ...] = ()
    macs: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The graph. `explanation` says, for people, why just this (nodes chosen, nodes refused).

    `basis` says it for programs: all that a choice of nodes rests on, so that it can be made again
    (commands/placement/basis.py); nil where nothing was chosen.
    """

    steps: tuple[Step, ...]
    reserves: Reservations = Reservations()
    explanation: tuple[str, ...] = ()
    basis: msgspec.Raw = msgspec.Raw(b"\xc0")


def fact(stream: str, event: Event) -> Fact:
    """Return `event` as it stands inside a plan."""
    return Fact(
        stream=stream,
        kind=event.KIND,
        schema=event.SCHEMA,
        data=msgspec.Raw(msgspec.msgpack.encode(event)),
    )


def names(steps: Iterable[Step]) -> tuple[str, ...]:
    """Return the ids of `steps`, for the `after` of a later one."""
    return tuple(step.id for step in steps)


def check(plan: Plan) -> None:
    """Assert the invariants of a plan; only a bug of a handler can break them."""
    seen: set[str] = set()
    for step in plan.steps:
        assert step.id not in seen, f"step {step.id} twice"
        missing = set(step.after) - seen
        assert not missing, f"step {step.id} waits for {sorted(missing)}, which is not before it"
        seen.add(step.id)


def task_id(
    cluster_id: str,
    job: int,
    op: int,
    plan: int,
    step: str,
    *,
    received_ms: int,
    undo: bool,
    attempt: int,
) -> str:
    """Return the id of a task (32 hex digits): the same for the same place, whoever leads.

    `received_ms` is when the job was submitted: after a loss of records its number is given anew,
    and an agent that still has a result of the lost job must not answer with it.
    """
    place = f"{cluster_id}\0{job}\0{received_ms}\0{op}\0{plan}\0{step}\0{int(undo)}\0{attempt}"
    return hashlib.sha256(place.encode()).hexdigest()[:32]
