"""What a choice of nodes rests on, as data in the log: it can be read, and made again (pure).

A `Basis` stands in the plan that a choice led to (`Plan.basis`), or in the end of an opcode that
was refused for want of a place (`op.failed`, `details`). With the configuration at that place of
the log it is all that the rule was given, so `replay` makes the choice anew; and it says of every
node what fitted, what did not and by how much, and the score that it would have given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from commands.placement.from_cluster import NodeFigures, model_of
from commands.placement.model import Cluster, Instance

if TYPE_CHECKING:
    from commands.placement.choosing import Found
    from commands.placement.explain import Candidate
    from projections import cluster as wanted

PLACE, REPLACE = "place", "replace"


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """One node in one role. `reason`: Ganeti's name of the first limit that failed, "" if it fits.

    `lacks`: of each limit that was not kept its name, what was needed and what was there.
    """

    node: str
    role: str  # primary, secondary
    reason: str
    lacks: tuple[tuple[str, float, float], ...] = ()
    score: float | None = None  # of the cluster with the instance here, at best


class Basis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The question, what was seen, the answer and its reasons. Versions are only ever added."""

    version: int = 1
    kind: str  # place: a new instance; replace: another node for one of an instance's
    instance: Instance
    figures: tuple[NodeFigures, ...]
    group: str = ""  # uuid, if one was named
    restrict_to: tuple[str, ...] | None = None  # names of nodes
    ignore_policy: bool = False
    options: tuple[str, ...] = ()  # of hail: no-capacity-checks, ignore-soft-errors
    chosen: tuple[str, ...] = ()  # names of nodes; none: there was no place
    info: str = ""
    unsafe: int = 0
    score_before: float = 0.0
    score_after: float | None = None
    verdicts: tuple[Verdict, ...] = ()


def answered(asked: Basis, found: Found) -> Basis:
    """Return the basis with its answer."""
    told = found.explanation
    return msgspec.structs.replace(
        asked,
        chosen=told.chosen,
        info=found.info,
        unsafe=found.unsafe,
        score_before=told.score_before,
        score_after=told.score_after,
        verdicts=tuple(map(_verdict, told.candidates)),
    )


def _verdict(one: Candidate) -> Verdict:
    lacks = tuple(
        (limit.name, limit.needed, limit.available) for limit in one.limits if limit.lacking
    )
    return Verdict(one.node, one.role, one.reason or "", () if one.fits else lacks, one.score)


def decide(cluster: wanted.Cluster, asked: Basis) -> Basis:
    """Answer the question of a basis in this configuration. The same question, the same answer."""
    from commands.placement import choosing  # numpy comes with it

    model = model_of(cluster, asked.figures)
    if asked.ignore_policy:
        model = choosing.unbounded(model)
    restrict = None if asked.restrict_to is None else frozenset(asked.restrict_to)
    options = choosing.options_for(model, asked.options, restrict_to=restrict)
    if asked.kind == REPLACE:
        return answered(asked, choosing.replace(model, asked.instance.name, options))
    model = _without(model, asked.instance.name)
    return answered(asked, choosing.place(model, asked.instance, asked.group or None, options))


def replay(cluster: wanted.Cluster, recorded: msgspec.Raw | bytes) -> tuple[Basis, Basis]:
    """Return a recorded basis, and what is decided now from the same: they should be equal.

    `cluster` is the configuration at the record before the one that holds it.
    """
    was = msgspec.msgpack.decode(recorded, type=Basis)
    return was, decide(cluster, was)


def _without(model: Cluster, name: str) -> Cluster:
    """The model without an instance of that name: one that is placed anew is nowhere."""
    others = tuple(one for one in model.instances if one.name != name)
    return msgspec.structs.replace(model, instances=others)
