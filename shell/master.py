"""`gnt-cluster master-failover` and `master-ping`: who leads, and who shall (edge).

A failure needs no command: with a majority of the voters up, another one leads within seconds.

    master-failover [NODE]         the leader hands over, to NODE or to the nearest voter; what was
                                   asked of it meanwhile is done by the next one
    master-failover --no-voting    on the machine of a survivor, when a majority is gone for good:
                                   its voter becomes the only one (eventstore/voter/takeover.py)
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from commands.api import Confirmed, HandedOver, HandOver, VoterStatus
from eventstore.errors import EventStoreError, Unreachable
from shell import confirm, log_source
from shell.failure import BadUsage, Failure, Status
from shell.parsing import Words
from shell.session import Session

_HAND_OVER_S = 15.0
_PING_S = 10.0
_EACH_S = 2.0  # for each other voter to say what it holds
_START_S = 30.0


def ping(session: Session, words: Words) -> int:
    """Carry out master-ping: exit status 0 only if a majority says that this one leads."""
    answer = confirmed(session)
    session.say(f"{answer.leader} leads, confirmed by a majority as of record {answer.seq}")
    return Status.SUCCESS


def confirmed(session: Session) -> Confirmed:
    """Return who leads, as a majority says now. Raises Failure (exit status 11) if nobody does."""
    try:
        return session.ask("confirm", None, Confirmed, timeout_s=_PING_S)
    except Unreachable as silent:
        raise Failure(
            f"No master answers: {silent}",
            hint="gnt-log status shows every voter; with a majority up, one leads within seconds",
            status=Status.NOT_MASTER,
        ) from None


def failover(session: Session, words: Words) -> int:
    """Carry out master-failover."""
    if words.flag("no_voting"):
        return _take_over(session, words)
    to = words.args[0] if words.args else ""
    try:
        answer = session.ask("hand-over", HandOver(to=to), HandedOver, timeout_s=_HAND_OVER_S)
        leader = answer.leader
    except Unreachable as silent:
        leader = _leads_after(session, to, silent)
    session.say(f"{leader} leads now")
    return Status.SUCCESS


def _leads_after(session: Session, to: str, silent: Unreachable) -> str:
    """Return `to` if it leads, though nobody said in time that it took over.

    Raises Failure if another leads (a leader that stays says nothing), or nobody.
    """
    try:
        leader = session.ask("confirm", None, Confirmed, timeout_s=_PING_S).leader
    except Unreachable:
        raise Failure(
            f"No master answers: {silent}",
            hint="with a majority of the voters up another one leads by itself within seconds;"
            " without one: gnt-cluster master-failover --no-voting on a survivor's machine",
            status=Status.NOT_MASTER,
        ) from None
    if leader == to:
        return leader
    raise Failure(
        f"{to or 'No other voter'} did not take over in time; {leader} leads.",
        hint="gnt-log status shows how each voter is",
    )


def _take_over(session: Session, words: Words) -> int:
    """State what will be done, ask, do it, start the daemon."""
    from commands.master import config as master_config
    from commands.master.bootstrap import SIGN_KEY
    from eventstore.access.keys import load_sign_keys
    from eventstore.voter.takeover import examine, take_over

    directory = log_source.directory_of(session, words)
    if directory is None:
        raise BadUsage("there is no voter on this machine", hint="--dir names its directory")
    home = directory.parent
    voter = master_config.load(home).voter
    found = examine(directory)
    dead = sorted(found.config.voters.keys() - {voter})
    gen, term = found.epoch
    told = time.ctime(found.last.record.unix_ms / 1000)
    session.note(f"{voter} holds the log up to record {found.last.record.seq},")
    session.note(f"of {told}, epoch {gen}.{term}.")
    others = _ask_others(session, dead)
    ahead = [name for name, each in others.items() if each.last_seq > found.last.record.seq]
    leads = next((name for name, each in others.items() if each.role == "leader"), "")
    session.note(
        f"It would become the only voter, in generation {found.epoch.gen + 1};"
        f" {', '.join(dead) or 'nobody'} would be given up.\n"
        "Whatever they acknowledged and this one does not hold is lost. They must be powered off:"
        "\nagents refuse them once they have heard of the new generation, not before."
    )
    reason = words.get("reason")
    if not reason:
        raise BadUsage("no reason is given", hint="--reason TEXT; it stands in the log for ever")
    if leads and not words.flag("force"):
        raise Failure(
            f"{leads} leads, and answers; nothing was done.",
            hint=f"start the master daemon here: it follows; or give --force to fork from {leads}",
            status=Status.CONFIRMATION,
        )
    if ahead and not words.flag("force"):
        raise Failure(
            f"{', '.join(ahead)} holds more records; nothing was done.",
            hint="take over there; or give --force to lose what this one does not hold",
            status=Status.CONFIRMATION,
        )
    if not words.flag("yes_do_it") and not confirm.ask(
        session, "Do you want to continue?", option="--yes-do-it"
    ):
        return Status.CONFIRMATION
    stored = take_over(
        directory,
        voter=voter,
        reason=reason,
        actor=f"operator:{session.operator}",
        sign_seed=load_sign_keys(home / SIGN_KEY).seed,
        now_ms=time.time_ns() // 1_000_000,
    )
    session.say(f"{voter} is the only voter; the takeover is record {stored.record.seq}.")
    return _start(session, home, voter)


def _ask_others(session: Session, names: list[str]) -> dict[str, VoterStatus]:
    """Say what other voters hold, as far as they answer, and return how these are."""
    known = {each.name for each in session.voters}
    found: dict[str, VoterStatus] = {}
    for name in names:
        if name not in known:
            session.note(f"{name}: nobody here knows where it is")
            continue
        try:
            told = session.client.call("voter-status", timeout_s=_EACH_S, voter=name)
        except EventStoreError as silent:
            session.note(f"{name} does not answer: {silent}")
            continue
        status = told.decode(VoterStatus)
        session.note(f"{name} answers: {status.role}, it holds {status.last_seq} records")
        found[name] = status
    return found


def _start(session: Session, home: Path, voter: str) -> int:
    """Start the survivor's daemon, and wait until it leads."""
    master = session.config.config.master
    command = master.command if master is not None else ("cairn-master",)
    with (home / "master.out").open("ab") as output:
        daemon = subprocess.Popen(
            [*command, "--dir", str(home)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    try:
        answer = session.ask("confirm", None, Confirmed, timeout_s=_START_S)
    except Unreachable as silent:
        raise Failure(
            f"the master daemon does not answer: {silent}",
            hint=f"status {daemon.poll()}; see {home / 'master.out'}",
        ) from None
    session.say(f"{answer.leader} leads now")
    return Status.SUCCESS
