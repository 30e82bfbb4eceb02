"""OP_TAGS_DEL: an object no longer bears these tags (pure). One record.

What can go wrong: a tag that it does not bear is refused, as in Ganeti: likely a slip.
"""

from __future__ import annotations

from typing import ClassVar

from commands.errors import UNKNOWN_ENTITY, WRONG_INPUT, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.tag_ops.change import TagsOpcode, bearer, lock, stream_of
from projections.cluster import Cluster
from projections.events.configuration import TagsAdded, TagsRemoved
from projections.plans import Plan, Record, fact


class TagsDel(TagsOpcode, frozen=True, kw_only=True):
    """Remove tags from an object."""

    NAME: ClassVar[str] = "OP_TAGS_DEL"


def decide(op: TagsDel, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Record it."""
    if so_far:
        return Done()
    table, thing = bearer(op, cluster)
    if not op.tags:
        raise Refused(WRONG_INPUT, "no tags were given", hint="at least one")
    tags = tuple(sorted(set(op.tags)))
    missing = [tag for tag in tags if tag not in thing.tags]
    if missing:
        raise Refused(
            UNKNOWN_ENTITY,
            f"{thing.name} has no tag {missing[0]!r}",
            hint=f"it has {', '.join(thing.tags[:20])}" if thing.tags else "it has none at all",
        )
    stream = stream_of(table, thing.uuid)
    return Plan(
        steps=(
            Record(
                id="untagged",
                facts=(fact(stream, TagsRemoved(table=table, subject=thing.uuid, tags=tags)),),
                undo=(fact(stream, TagsAdded(table=table, subject=thing.uuid, tags=tags)),),
            ),
        )
    )


HANDLER = Handler(opcode=TagsDel, decide=decide, locks=lock)
