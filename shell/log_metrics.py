"""`gnt-log metrics`: the numbers of every voter, in Prometheus's text form (edge).

For a textfile collector, or a look. A voter that does not answer has `cairn_voter_up` 0. Source of
the form: Prometheus, "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Mapping

from commands.api import Family, MetricsReply, Sample
from eventstore.errors import EventStoreError
from shell.failure import Failure, Status
from shell.parsing import Words
from shell.session import Session

_EACH_S = 2.0


def run(session: Session, words: Words) -> int:
    """Carry out metrics; exit status 1 if a voter did not answer."""
    session.learn_voters()
    known = [voter.name for voter in session.client.voters]
    wanted = list(words.args) or known
    if strangers := [name for name in wanted if name not in known]:
        raise Failure(f"{strangers[0]} is no voter", hint=f"one of {', '.join(known)}")
    told = {name: _ask(session, name) for name in wanted}
    session.out.write(exposition(told))
    return Status.SUCCESS if None not in told.values() else Status.FAILURE


def exposition(told: Mapping[str, tuple[Family, ...] | None]) -> str:
    """Return what voters told, None for one that is silent, each family once, by voter."""
    heads: dict[str, Family] = {}
    lines: dict[str, list[str]] = {}
    for voter, families in told.items():
        for family in (_up(families is not None), *(families or ())):
            heads.setdefault(family.name, family)
            own = [_line(family.name, voter, sample) for sample in family.samples]
            lines.setdefault(family.name, []).extend(own)
    return "".join(
        f"# HELP {name} {head.help}\n# TYPE {name} {head.kind}\n" + "".join(lines[name])
        for name, head in heads.items()
    )


def _up(answered: bool) -> Family:
    return Family(
        name="cairn_voter_up", help="1 if it answered", samples=(Sample(value=float(answered)),)
    )


def _line(name: str, voter: str, sample: Sample) -> str:
    labels = {"voter": voter, **sample.labels}
    told = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"{name}{sample.suffix}{{{told}}} {_number(sample.value)}\n"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _ask(session: Session, voter: str) -> tuple[Family, ...] | None:
    try:
        answer = session.client.call("metrics", timeout_s=_EACH_S, voter=voter)
    except EventStoreError:
        return None
    return answer.decode(MetricsReply).families
