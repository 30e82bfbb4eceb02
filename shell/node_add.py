"""`gnt-node add`: a ticket for the new node's agent, and the wait until it has joined (edge).

The client draws a one-time key. Its public half goes into the opcode, so that the log admits it
for `join` only; the secret half goes into the ticket, which is laid down where the agent looks for
it (ticket_places.py), and nowhere else. The ticket names the node by its name: its uuid is drawn by
the master and learned at the join.
"""

from __future__ import annotations

from pathlib import Path

import zmq

from commands.api import Query, QueryReply
from commands.parse import host_name
from nodeagent.calls import Ticket
from shell.failure import Failure, Status
from shell.orders import opcode_of
from shell.parsing import Words
from shell.session import Session
from shell.submission import carry_out
from shell.ticket_places import TICKET, File, Node, Place, Terminal


def run(session: Session, words: Words) -> int:
    """Carry out add."""
    name = host_name(words.args[0], "a node")  # before SSH, or a path, is made of it
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
    place.lay_down(ticket)
    try:
        ended = carry_out(session, words, op)
        for result in ended.results or ():
            for lack in _missing(result.values[0]):
                session.note(f"{name} lacks: {lack}")
        return ended.status
    except Failure as failure:
        if failure.status is not Status.INTERRUPTED:
            place.take_away()  # its key is void, or will be when the job is undone
        raise


def _missing(result: object) -> list[str]:
    """Return what the drivers of the new node do not find, and what to install."""
    return list(result["missing"]) if isinstance(result, dict) else []


def _place(session: Session, words: Words, name: str) -> Place:
    """Return where the ticket goes: where the words say, else the settings, else the node."""
    typed = words.get("ticket_file")
    if typed == "-":
        return Terminal(session)
    if typed:
        return File(Path(typed).absolute())
    directory = session.config.config.ticket_dir
    if directory:
        return File(session.config.resolve(directory) / name / TICKET)
    if words.get("node_setup", True):
        return Node(session, name, check_key=bool(words.get("ssh_key_check", True)))
    raise Failure(
        f"nobody says how the ticket of {name} gets to the node",
        hint="--ticket-file PATH writes it to a file (- to the terminal), which you carry to the"
        f" node as {TICKET} in its agent's directory; or set ticket_dir in {session.config.path}",
        status=Status.NODE_SETUP,
    )


def _cluster_id(session: Session) -> str:
    reply = session.ask("query", Query(what="cluster", fields=("uuid",)), QueryReply)
    if not reply.rows:
        raise Failure("there is no cluster yet", hint="gnt-cluster init", status=Status.NOT_CLUSTER)
    return str(reply.rows[0][0][1])
