"""`gnt-node add`: a ticket for the new node's agent, and the wait until it has joined (edge).

The client draws a one-time key. Its public half goes into the opcode, so that the log admits it
for `join` only; the secret half goes into the ticket, which is laid down where the agent looks for
it, and nowhere else. The ticket names the node by its name: its uuid is drawn by the master and
learned at the join.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import zmq

from commands.api import Query, QueryReply
from nodeagent.calls import Ticket
from shell.failure import Failure, Status
from shell.orders import opcode_of
from shell.parsing import Words
from shell.session import Session
from shell.submission import carry_out

TICKET = "ticket.json"


def run(session: Session, words: Words) -> int:
    """Carry out add."""
    name = words.args[0]
    public, secret = (key.decode() for key in zmq.curve_keypair())
    op = opcode_of(words, ticket_key=public)
    if words.flag("dry_run"):
        return carry_out(session, words, op).status
    place = _place(session, words, name)
    ticket = Ticket(
        cluster_id=_cluster_id(session),
        node="",
        name=name,
        secret_key=secret,
        public_key=public,
        voters=session.config.config.voters,
    )
    lay_down(place, ticket)
    if "ssh_key_check" in words.given:
        session.note("note: --no-ssh-key-check has no effect: nodes are let in by a ticket")
    try:
        ended = carry_out(session, words, op)
        for result in ended.results or ():
            for lack in _missing(result.values[0]):
                session.note(f"{name} lacks: {lack}")
        return ended.status
    except Failure as failure:
        if failure.status is not Status.INTERRUPTED:
            place.unlink(missing_ok=True)  # its key is void, or will be when the job is undone
        raise


def _missing(result: object) -> list[str]:
    """Return what the drivers of the new node do not find, and what to install."""
    return list(result["missing"]) if isinstance(result, dict) else []


def lay_down(place: Path, ticket: Ticket) -> None:
    """Write the ticket, whole or not at all, readable by its owner alone. Raises Failure."""
    new = place.with_name(place.name + ".new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(ticket), indent=2) + b"\n")
        new.replace(place)
    except OSError as failed:
        raise Failure(
            f"the ticket cannot be laid down at {place}: {failed.strerror}",
            hint="give a place that can be written with --ticket-file",
            status=Status.NODE_SETUP,
        ) from None


def _place(session: Session, words: Words, name: str) -> Path:
    typed = words.get("ticket_file")
    if typed:
        return Path(typed).absolute()
    directory = session.config.config.ticket_dir
    if not directory:
        raise Failure(
            f"nobody says how the ticket of {name} gets to the node",
            hint="--ticket-file PATH writes it to a file, which you carry to the node as"
            f" {TICKET} in its agent's directory; or set ticket_dir in {session.config.path}",
            status=Status.NODE_SETUP,
        )
    return session.config.resolve(directory) / name / TICKET


def _cluster_id(session: Session) -> str:
    reply = session.ask("query", Query(what="cluster", fields=("uuid",)), QueryReply)
    if not reply.rows:
        raise Failure("there is no cluster yet", hint="gnt-cluster init", status=Status.NOT_CLUSTER)
    return str(reply.rows[0][0][1])
