"""Explains a choice of nodes that stands in a log, and makes it again (a program for operators).

    python -m tools.explain_choice --dir LOGDIR JOB

For each choice that the job made (or was refused for): what was asked, every node with what it
lacked and its score, and whether the same is decided today from the same inputs. Exit status 0 if
all choices come out the same, 1 if one differs, 2 if there is nothing to explain.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from commands.placement import basis, departures
from commands.placement.basis import Basis, Verdict
from commands.placement.departures import Departure
from eventstore.errors import EventStoreError
from eventstore.storage.log_view import LogView
from projections.errors import ProjectionError
from projections.events.jobs import OpFailed, OpPlanned
from projections.job_state import NIL
from projections.past import state_at
from projections.registry import REGISTRY

_KINDS = {OpPlanned.KIND, OpFailed.KIND}


class _Kind(msgspec.Struct, frozen=True):
    """What both forms of a basis begin with."""

    kind: str


def main(argv: list[str] | None = None) -> int:
    """Print the choices of a job; return the exit status."""
    parser = argparse.ArgumentParser(prog="explain_choice", description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="the directory of a log")
    parser.add_argument("job", type=int)
    options = parser.parse_args(argv)
    try:
        return _explain(options.dir, options.job)
    except (EventStoreError, ProjectionError, OSError) as problem:
        print(f"explain_choice: {problem}", file=sys.stderr)
        return 2


def _explain(directory: Path, job: int) -> int:
    same: list[bool] = []
    with LogView(directory) as view:
        for seq, recorded in _recorded(view, job):
            before = state_at(view, None, seq - 1).cluster
            print(f"record {seq}:")
            if msgspec.msgpack.decode(recorded, type=_Kind).kind in (basis.PLACE, basis.REPLACE):
                was, again = basis.replay(before, recorded)
                print("\n".join(_choice(was)))
                equal = was == again
                now = " and ".join(again.chosen) or "nowhere"
            else:
                gone, anew = departures.replay(before, recorded)
                print("\n".join(_departure(gone)))
                equal = gone == anew
                now = "; ".join(_departure(anew))
            print("  decided again: the same" if equal else f"  decided again: {now}")
            same.append(equal)
    if not same:
        print(f"job {job} has chosen no nodes, or is not in this log", file=sys.stderr)
        return 2
    return 0 if all(same) else 1


def _recorded(view: LogView, job: int) -> Iterator[tuple[int, msgspec.Raw]]:
    """Yield the choices that records of a job bear, with their seq."""
    for stored in view.job(job):
        record = stored.record
        if record.kind not in _KINDS:
            continue
        event = REGISTRY.decode_data(record.kind, record.schema, record.data)
        recorded = NIL
        if isinstance(event, OpPlanned):
            recorded = event.plan.basis
        elif isinstance(event, OpFailed):
            recorded = event.details
        if recorded != NIL and _is_basis(recorded):
            yield record.seq, recorded


def _is_basis(recorded: msgspec.Raw) -> bool:
    """Whether it is a basis: the details of a failure may be something else."""
    try:
        kind = msgspec.msgpack.decode(recorded, type=_Kind).kind
    except msgspec.MsgspecError:
        return False
    known = (basis.PLACE, basis.REPLACE, departures.EVACUATE, departures.CHANGE_GROUP)
    return kind in known


def _choice(found: Basis) -> Iterator[str]:
    wish = found.instance
    yield (
        f"  {wish.name} ({wish.template}) asks for {wish.memory} MiB of memory, {wish.disk} MiB of"
        f" disk, {wish.vcpus} vcpus"
    )
    for one in found.verdicts:
        yield f"  {one.node} as {one.role}: {_verdict(one)}"
    chosen = " and ".join(found.chosen) or "nowhere"
    after = "" if found.score_after is None else f", {found.score_after:.8f} with it"
    yield f"  chosen: {chosen}; score {found.score_before:.8f} without it{after}"


def _verdict(one: Verdict) -> str:
    if not one.reason:
        return "fits" if one.score is None else f"fits, score {one.score:.8f} at best"
    lacks = "; ".join(
        f"{name}: {needed:g} needed, {available:g} there" for name, needed, available in one.lacks
    )
    return f"{one.reason} ({lacks})" if lacks else one.reason


def _departure(found: Departure) -> Iterator[str]:
    for going in found.going:
        moves = ", ".join(f"{kind} {target}".rstrip() for kind, target in going.moves)
        yield f"  {going.name} goes to {':'.join(going.nodes)}: {moves}"
    for name, reason in found.staying:
        yield f"  {name} stays: {reason}"
    yield f"  score {found.score_before:.8f} before, {found.score_after:.8f} after"


if __name__ == "__main__":
    sys.exit(main())
