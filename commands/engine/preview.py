"""A dry run: what an opcode would do now, as a person reads it (pure).

The handler decides against the present projections, and all facts of its first plan are folded onto
a copy, which costs a reference. Nothing is appended. What a later plan of the opcode would do is
not known before the first one has brought back its results.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeGuard

import msgspec

from commands.api import Change, PlannedStep, PlanReply
from commands.engine.context import Context
from commands.engine.deciding import draw, problem_of, require_a_cluster
from commands.engine.endings import node_name
from commands.engine.scratch import Scratch, State
from commands.errors import Refused
from commands.handler import Done
from commands.opcode import Opcode
from eventstore.packed import Packed
from projections.cluster import TABLES, Cluster
from projections.events.jobs import Lock
from projections.jobs import Job
from projections.plans import Call, Condition, Plan, Record, Step, check

LONGEST_TEXT = 200
UNTOLD = frozenset({"owner"})  # the uuid of a disk, whose volume is named beside it
HIDDEN = frozenset({"serial", "mtime_ms", "ctime_ms"})  # they change with every change


def preview(context: Context, state: State, op: Opcode, *, as_of: int) -> PlanReply:
    """Return what `op` would do now. Raises Refused, with a hint, if it would be refused."""
    try:
        return _preview(context, state, op, as_of)
    except Exception as error:  # a handler's bug is told to who asked, and to the daemon's log
        problem = problem_of(error, f"dry run of {op.summary()}")
        raise Refused(problem.code, problem.message, hint=problem.hint) from error


def _preview(context: Context, state: State, op: Opcode, as_of: int) -> PlanReply:
    handler = context.registry.handler(op.NAME)
    cluster = state.cluster
    require_a_cluster(cluster)
    locks = tuple(_lock(lock, cluster) for lock in handler.locks(op, cluster))
    given = draw(context, handler, op, cluster, (0, 0, 0))
    decision = handler.decide(op, cluster, given, ())
    if isinstance(decision, Done):
        return PlanReply(locks=locks, steps=(), changes=(), as_of=as_of)
    check(decision)
    after = _after(state, decision, given.now_ms)
    return PlanReply(
        locks=locks,
        steps=tuple(_step(step, cluster, after) for step in decision.steps),
        changes=tuple(changes(cluster, after)),
        explanation=decision.explanation,
        as_of=as_of,
    )


def changes(before: Cluster, after: Cluster) -> Iterator[Change]:
    """Yield the fields in which two configurations differ, object by object."""
    for table in TABLES:
        old, new = before.table(table), after.table(table)
        if old is new:
            continue
        for uuid in sorted(set(old) | set(new)):
            yield from _object_changes(table, old.get(uuid), new.get(uuid))


def _after(state: State, plan: Plan, now_ms: int) -> Cluster:
    scratch = Scratch(state, Job(id=0, actor="", ops=()), now_ms=now_ms)
    for step in plan.steps:
        if isinstance(step, Record):
            scratch.add_facts(step.facts)
    return scratch.cluster


def _object_changes(
    table: str, old: msgspec.Struct | None, new: msgspec.Struct | None
) -> Iterator[Change]:
    if old is new:
        return
    thing = new if new is not None else old
    assert thing is not None
    name = f"{table} {getattr(thing, 'name', '')}".rstrip()
    if old is None or new is None:
        yield Change(object=name, field="", before=_text(old), after=_text(new))
        return
    for field, was, is_now in _differences(old, new):
        if field not in HIDDEN:
            yield Change(object=name, field=field, before=_text(was), after=_text(is_now))


def _differences(old: object, new: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield what differs: `maxmem`, or of what is nested `disks/0/size_mib`."""
    inside: list[tuple[str, object, object]] = []
    if old == new:
        return
    if isinstance(old, msgspec.Struct) and type(old) is type(new):
        inside = [(f, getattr(old, f), getattr(new, f)) for f in old.__struct_fields__]
    elif _are_objects(old) and _are_objects(new) and len(old) == len(new):
        inside = [(str(at), *pair) for at, pair in enumerate(zip(old, new, strict=True))]
    elif isinstance(old, dict) and isinstance(new, dict):
        inside = [(key, old.get(key), new.get(key)) for key in sorted({*old, *new})]
    if not inside:
        yield path, old, new
    for name, was, is_now in inside:
        yield from _differences(was, is_now, f"{path}/{name}" if path else name)


def _are_objects(value: object) -> TypeGuard[tuple[msgspec.Struct, ...]]:
    return isinstance(value, tuple) and all(isinstance(each, msgspec.Struct) for each in value)


def _step(step: Step, before: Cluster, after: Cluster) -> PlannedStep:
    """Describe a step. A node may only become one by this plan."""
    cluster = before
    if isinstance(step, Call):
        cluster = before if step.node in before.nodes else after
        undo = "" if step.undo is None else _packed(step.undo.call, beside=step.call)
        return PlannedStep(
            id=step.id,
            what="call",
            node=node_name(cluster, step.node),
            text=_packed(step.call),
            after=step.after,
            undo=undo,
            final=step.final,
        )
    if isinstance(step, Record):
        return PlannedStep(
            id=step.id,
            what="record",
            node="",
            text=", ".join(fact.kind for fact in step.facts),
            after=step.after,
            undo=", ".join(fact.kind for fact in step.undo),
            final=step.final,
        )
    text = f"up to {step.timeout_s:g} s"
    if step.until is not None:
        text += f" until {_condition(step.until, after)}"
    return PlannedStep(id=step.id, what="wait", node="", text=text, after=step.after)


def _condition(condition: Condition, cluster: Cluster) -> str:
    """Return a condition with the names of what it is about: `disk-synced web1 disk/0`."""
    subject, argument = condition.subject, condition.argument
    instance = cluster.instances.get(subject)
    if instance is not None:
        subject = instance.name
        places = {disk.uuid: f"disk/{at}" for at, disk in enumerate(instance.disks)}
        argument = places.get(argument, argument)
    elif subject in cluster.nodes:
        subject = cluster.nodes[subject].name
    return f"{condition.kind} {subject} {argument}".rstrip()


def _lock(lock: Lock, cluster: Cluster) -> str:
    """Return a lock as people name it: `instance/web1 (shared)`."""
    table, _, uuid = lock.name.partition("/")
    name = uuid
    if table in ("group", "node", "instance"):
        known = cluster.table(table).get(uuid)
        name = uuid if known is None else known.name
    shown = f"{table}/{name}" if name else table
    return f"{shown} (shared)" if lock.shared else shown


def _packed(call: Packed, beside: Packed | None = None) -> str:
    """Return a call as a person reads it, without what the call `beside` it says already."""
    arguments = msgspec.msgpack.decode(call.data)
    if not isinstance(arguments, dict):
        return call.name
    said = {} if beside is None else msgspec.msgpack.decode(beside.data)
    shown = " ".join(
        f"{key}={_short(value)}"
        for key, value in arguments.items()
        if key not in UNTOLD and (not isinstance(said, dict) or said.get(key) != value)
    )
    return f"{call.name} {shown}".rstrip()[:LONGEST_TEXT]


def _short(value: object) -> str:
    """Return a nested thing by its name, and how large it is to be; anything else as it is."""
    if isinstance(value, dict):
        name = str(value.get("name") or value.get("uuid") or "{...}")
        return f"{name} ({value['size_mib']} MiB)" if "size_mib" in value else name
    if isinstance(value, list):
        return f"[{len(value)}]"
    return str(value)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return str(value)
    return msgspec.json.encode(value).decode()
