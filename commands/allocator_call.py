"""Instance allocators of the operator's own: the call to one, and what its answer means (pure).

As in Ganeti the program runs on the master's node. The opcode's first plan is the call, with the
whole request in it; the next one acts on the answer. So the log holds what was asked and what was
answered. Nothing is reserved meanwhile: the nodes of an answer are checked again like nodes that a
person has named, and a bad answer fails the opcode with what was wrong about it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from commands.allocation import Choice
from commands.disks import call
from commands.errors import ENVIRONMENT_ERROR, INSUFFICIENT_RESOURCES, Refused
from commands.handler import Outcomes
from commands.looking import ASK
from commands.nodes import require_for_instances, require_reachable
from commands.opcode import Opcode
from commands.placement import request
from commands.placement.from_cluster import NodeFigures
from commands.registry import Registry
from eventstore.packed import Packed
from nodeagent.calls import AllocatorAnswer, RunAllocator
from projections.cluster import Cluster
from projections.errors import NoSuchObject
from projections.objects import Node, Value
from projections.plans import Plan

BUILT_IN = frozenset({"", "hail"})
DEFAULT = "."
STEP = f"{ASK}allocator"
THINK_S = 300.0
MOST_BYTES = 300 << 10  # of a compressed request; a record of the log may have 512 KiB


class Answer(msgspec.Struct, frozen=True):
    """What an allocator said. `nodes` is an older name of `result`."""

    success: bool
    info: str
    result: Any = None  # Any: it depends on the question
    nodes: Any = None


class Departed(msgspec.Struct, frozen=True, array_like=True):
    """An answer to node-evacuate or change-group: [name, group, nodes], [name, reason], jobs."""

    moved: tuple[tuple[str, str, tuple[str, ...]], ...]
    failed: tuple[tuple[str, str | None], ...]
    jobs: tuple[tuple[dict[str, Any], ...], ...]


def external(cluster: Cluster, wanted: str | None) -> str | None:
    """Return the program that is to decide, None for the built-in rule.

    `wanted` is what `-I` said; nothing, or `.`, means the cluster's default.
    """
    default = cluster.settings.default_iallocator
    name = default if wanted in (None, DEFAULT) else wanted
    return None if name in BUILT_IN else name


def ask(
    cluster: Cluster,
    name: str,
    figures: Iterable[NodeFigures],
    question: dict[str, Any],
    options: tuple[str, ...] = (),
) -> Plan:
    """Return the plan that asks allocator `name`. Raises Refused if it cannot be asked."""
    node = require_reachable(cluster.nodes[cluster.settings.master])
    packed = zlib.compress(request.request(cluster, figures, question))
    if len(packed) > MOST_BYTES:
        raise Refused(
            INSUFFICIENT_RESOURCES,
            f"the request to allocator {name} has {len(packed)} bytes, compressed",
            hint=f"at most {MOST_BYTES}: for so large a cluster, -I hail",
        )
    always = cluster.settings.default_iallocator_params
    options = (*(_option(key, value) for key, value in always.items()), *options)
    order = RunAllocator(allocator=name, request=packed, options=options, time_s=THINK_S)
    step = call(STEP, node.uuid, order, resource=f"allocator/{name}", timeout_s=THINK_S + 30.0)
    return Plan(
        steps=(step,),
        explanation=(f"allocator {name} on {node.name} is asked to {question['type']}",),
    )


def _option(key: str, value: Value) -> str:
    """Return a parameter as Ganeti hands it on: `--key`, or `--key=value`."""
    return f"--{key}" if value in (None, True, "") else f"--{key}={value}"


def answer(so_far: Outcomes) -> Answer | None:
    """Return what the allocator said, None if it was not asked yet. Raises Refused if it failed."""
    results = [outcome.results[STEP] for outcome in so_far if STEP in outcome.results]
    if not results:
        return None
    told = msgspec.msgpack.decode(results[-1], type=AllocatorAnswer)
    try:
        found = msgspec.json.decode(zlib.decompress(told.answer), type=Answer)
    except (msgspec.MsgspecError, zlib.error) as wrong:
        raise _bad(str(wrong)) from None
    if not found.success:
        raise Refused(
            INSUFFICIENT_RESOURCES,
            f"the allocator has found no place: {found.info}",
            hint="make room, name nodes with -n, or ask another allocator",
        )
    return found


def chosen(cluster: Cluster, found: Answer, *, count: int, group: str = "") -> Choice:
    """Return the nodes of an answer to allocate or relocate. Raises Refused if it makes no sense.

    `group` is the uuid of the group in which they must be, if there is one.
    """
    told = found.nodes if found.result is None else found.result
    names = [told] if isinstance(told, str) else told
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise _bad(f"the result is no list of names of nodes: {told!r}")
    if len(names) != count or len(set(names)) != count:
        raise _bad(f"{count} different nodes were asked for, and it names {', '.join(names) or 0}")
    nodes = [_node(cluster, name) for name in names]
    for node in nodes:
        if group and node.group != group:
            raise _bad(f"{node.name} is not in group {cluster.groups[group].name}")
    if len({node.group for node in nodes}) > 1:
        raise _bad(f"{' and '.join(names)} are in different groups")
    return Choice(tuple(node.uuid for node in nodes), (f"the allocator's choice: {found.info}",))


def placed(cluster: Cluster, found: Answer) -> tuple[dict[str, Choice], dict[str, str]]:
    """Return an answer to multi-allocate, by name of instance: the nodes, or why there are none.

    Raises Refused if it makes no sense. What has no place is a name, or a name and the reason.
    """
    shape = tuple[list[tuple[str, list[str]]], list[str | tuple[str, str | None]]]
    try:
        there, without = msgspec.convert(found.result, type=shape)
    except msgspec.ValidationError as wrong:
        raise _bad(f"the result is not [placed, failed]: {wrong}") from None
    choices = {
        name: chosen(cluster, Answer(True, found.info, nodes), count=len(nodes))
        for name, nodes in there
    }
    reasons = {
        (each if isinstance(each, str) else each[0]): (
            "the allocator gives no reason" if isinstance(each, str) else each[1] or "no reason"
        )
        for each in without
    }
    return choices, reasons


def departed(cluster: Cluster, found: Answer) -> tuple[Departed, tuple[tuple[Opcode, ...], ...]]:
    """Return an answer to node-evacuate or change-group, and its jobs. Raises Refused."""
    try:
        told = msgspec.convert(found.result, type=Departed)
    except msgspec.ValidationError as wrong:
        raise _bad(f"the result is not [moved, failed, jobs]: {wrong}") from None
    for name, _, nodes in told.moved:
        _known(cluster, name)
        for node in nodes:
            _node(cluster, node)
    registry = Registry()
    return told, tuple(tuple(_opcode(registry, op) for op in job) for job in told.jobs)


def _known(cluster: Cluster, instance: str) -> None:
    try:
        cluster.instance(instance)
    except NoSuchObject as unknown:
        raise _bad(str(unknown)) from None


def _opcode(registry: Registry, told: dict[str, Any]) -> Opcode:
    fields = dict(told)
    name = fields.pop("OP_ID", None)
    if not isinstance(name, str):
        raise _bad("an opcode of a job has no OP_ID")
    version = registry.handler(name).opcode.VERSION
    return registry.decode(Packed(name, version, msgspec.Raw(msgspec.msgpack.encode(fields))))


def _node(cluster: Cluster, name: str) -> Node:
    try:
        return require_for_instances(cluster.node(name))
    except NoSuchObject as unknown:
        raise _bad(str(unknown)) from None


def _bad(what: str) -> Refused:
    return Refused(
        ENVIRONMENT_ERROR,
        f"the allocator's answer cannot be used: {what}",
        hint="its answer stands in the log (gnt-job info shows the job); or take -I hail",
    )
