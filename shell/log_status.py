"""`gnt-log status`: where the log stands, and how each voter is (edge).

Every voter is asked for itself, side by side as far as one that hangs allows; what the leader knows
of one that does not answer stands in for it. Below the table stand the alarms of each, since its
daemon was started, and what to do if too few can vote for one of them to lead.
"""

from __future__ import annotations

from collections.abc import Mapping

from commands.api import PeerStatus, VoterStatus
from eventstore.errors import EventStoreError
from shell import log_source, reading
from shell.failure import Status
from shell.log_source import RemoteLog
from shell.parsing import Words
from shell.render.formats import Head, rendered
from shell.render.tree import Leaf, text
from shell.session import Session

Found = Mapping[str, VoterStatus | None]  # by voter; None: it does not answer

_EACH_S = 2.0
_VOTE = ("follower", "candidate", "witness")  # roles that can, besides the leader's
_HEADS = (
    Head("voter", "Voter", "text"),
    Head("role", "Role", "text"),
    Head("epoch", "Epoch", "text"),
    Head("last", "Last", "number"),
    Head("committed", "Committed", "number"),
    Head("lag", "Lag", "number"),
    Head("disk", "Disk", "text"),
    Head("fsync_ms", "Fsync/ms", "number"),
    Head("worst_fsync_ms", "Worst/ms", "number"),
)


def run(session: Session, words: Words) -> int:
    """Carry out status."""
    style = reading.style_of(session, words)
    if words.get("dir"):
        source = log_source.open_source(session, words)
        facts: dict[str, Leaf] = {"Cluster": source.cluster_id, "Head": source.head}
        if style.format == "table":
            session.out.write(text(facts))
        else:
            heads = [Head(name.lower(), name, "text") for name in facts]
            session.out.write(rendered(heads, [[(0, value) for value in facts.values()]], style))
        return Status.SUCCESS
    about = RemoteLog(session).about
    session.learn_voters()
    found = {voter.name: _status(session, voter.name) for voter in session.client.voters}
    rows = _rows(found, about.seq)
    if style.format == "table":
        session.out.write(
            text(
                {
                    "Cluster": about.cluster_id,
                    "Head": about.seq,
                    "Hash": about.hash.hex(),
                    "Leader": about.leader or "nobody",
                    "Voter": about.voter,
                }
            )
        )
        session.say()
    session.out.write(rendered(_HEADS, rows, style))
    if style.format == "table":
        for name, status in found.items():
            for alarm in status.alarms if status else ():
                session.say(f"{name}: {alarm}")
        if told := stuck(found):
            session.note(told)
    return Status.SUCCESS


def stuck(found: Found) -> str:
    """Say why no voter leads and what to do about it, "" if one leads or soon will."""
    known = {name: status for name, status in found.items() if status is not None}
    voters = {name for status in known.values() for name in status.voters}
    if not voters or any(status.role == "leader" for status in known.values()):
        return ""
    whole = {name for name, status in known.items() if status.role in _VOTE} & voters
    if 2 * len(whole) > len(voters):
        return ""
    silent, short = sorted(voters - known.keys()), sorted(voters & known.keys() - whole)
    told = f"No voter leads: {len(voters) // 2 + 1} of {len(voters)} must be able to vote."
    if silent:
        told += f"\nhint: start the master daemon on {', '.join(silent)}; they do not answer"
    fullest = max(whole or short, key=lambda name: (known[name].last_seq, name))
    takeover = f"gnt-cluster master-failover --no-voting on {fullest}"
    if not whole:
        takeover = f"stop its daemon there, gnt-log accept-loss, then {takeover}"
    if short:
        told += f"\nhint: {', '.join(short)} lost what they had acknowledged"
    return f"{told}\nhint: the last resort, which may lose records: {takeover}, which holds most"


def _rows(found: Found, head: int) -> list[list[tuple[int, object]]]:
    peers = {peer.name: peer for status in found.values() if status for peer in status.peers}
    head = max([head, *(status.committed for status in found.values() if status)])
    return [_row(name, status, peers, head) for name, status in found.items()]


def _status(session: Session, name: str) -> VoterStatus | None:
    try:
        answer = session.client.call("voter-status", timeout_s=_EACH_S, voter=name)
    except EventStoreError:
        return None
    return answer.decode(VoterStatus)


def _row(
    name: str, status: VoterStatus | None, peers: Mapping[str, PeerStatus], head: int
) -> list[tuple[int, object]]:
    """Return the cells of a voter; where it does not answer, what its leader knows."""
    if status is not None:
        return [
            (0, name),
            (0, status.role),
            (0, f"{status.gen}.{status.term}"),
            (0, status.last_seq),
            (0, status.committed),
            (0, max(0, head - status.committed)),
            (0, status.disk),
            (0, round(status.last_fsync_ms, 1)),
            (0, round(status.worst_fsync_ms, 1)),
        ]
    peer = peers.get(name)
    known: list[tuple[int, object]] = [(2, None)] * 4
    if peer is not None:
        known = [(0, peer.match), (2, None), (0, max(0, head - peer.match)), (0, peer.disk)]
    return [(0, name), (0, "no answer"), (2, None), *known, (2, None), (2, None)]
