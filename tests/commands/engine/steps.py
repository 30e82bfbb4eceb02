"""Plans for the stories of the engine: named steps, each with its undo."""

from __future__ import annotations

from projections.events import configuration as facts
from projections.plans import Call, Plan, Record, Undo, Wait, fact
from tests.commands.engine.world import GROUP, NODES, Carry, ensure, remove

ONE, TWO, _ = NODES


def tagged(tag: str) -> facts.TagsAdded:
    return facts.TagsAdded(table="group", subject=GROUP, tags=(tag,))


def untagged(tag: str) -> facts.TagsRemoved:
    return facts.TagsRemoved(table="group", subject=GROUP, tags=(tag,))


def tag(name: str, *after: str, final: bool = False) -> Record:
    stream = f"group/{GROUP}"
    return Record(
        id=name,
        facts=(fact(stream, tagged(name)),),
        undo=(fact(stream, untagged(name)),),
        after=after,
        final=final,
    )


def call(name: str, node: str = ONE, *after: str, **more: object) -> Call:
    more.setdefault("undo", Undo(call=remove(name)))
    return Call(id=name, node=node, call=ensure(name), after=after, **more)  # type: ignore[arg-type]


def carry(*steps: Call | Record | Wait, **more: object) -> Carry:
    return Carry(plans=(Plan(steps=steps),), **more)  # type: ignore[arg-type]
