"""OP_TAGS_SET: an object bears these tags too (pure). One record.

What can go wrong: a tag that is malformed, or more than an object may bear, is refused.
"""

from __future__ import annotations

from typing import ClassVar

from commands.errors import WRONG_INPUT, Refused
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.tag_ops.change import TagsOpcode, bearer, lock, stream_of
from commands.tags import checked_tags
from projections.cluster import Cluster
from projections.events.configuration import TagsAdded, TagsRemoved
from projections.plans import Plan, Record, fact


class TagsSet(TagsOpcode, frozen=True, kw_only=True):
    """Add tags to an object."""

    NAME: ClassVar[str] = "OP_TAGS_SET"


def decide(op: TagsSet, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Record those that are new."""
    if so_far:
        return Done()
    table, thing = bearer(op, cluster)
    if not op.tags:
        raise Refused(WRONG_INPUT, "no tags were given", hint="at least one")
    new = tuple(tag for tag in checked_tags(op.tags) if tag not in thing.tags)
    checked_tags((*thing.tags, *new))
    if not new:
        return Done()
    stream = stream_of(table, thing.uuid)
    return Plan(
        steps=(
            Record(
                id="tagged",
                facts=(fact(stream, TagsAdded(table=table, subject=thing.uuid, tags=new)),),
                undo=(fact(stream, TagsRemoved(table=table, subject=thing.uuid, tags=new)),),
            ),
        )
    )


HANDLER = Handler(opcode=TagsSet, decide=decide, locks=lock)
