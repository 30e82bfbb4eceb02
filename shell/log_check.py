"""`gnt-log verify`, `replay`, `accept-loss`: is the log sound and complete? (edge)

verify     a directory: every hash, stream version, the ack mark, every checkpoint and signature;
           through the cluster: the chain, and that it ends in the hash that the voter names
replay     fold the log alone, from its first record, and compare the digests with the master's
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from commands.api import Digest as DigestRequest
from commands.api import DigestReply, VoterStatus
from eventstore.errors import CorruptLog, DecodeError, EventStoreError, Unreachable
from eventstore.record import chain_hash, genesis_hash
from shell import log_source, reading
from shell.failure import BadUsage, Failure, Status
from shell.log_source import RemoteLog, Source
from shell.parsing import Words
from shell.render.formats import Head, rendered
from shell.render.tree import Leaf, text
from shell.session import Session

if TYPE_CHECKING:
    from eventstore.voter.loss import Loss

_EACH_S = 2.0  # for each other voter to answer


def verify(session: Session, words: Words) -> int:
    """Carry out verify; exit status 1 if anything is wrong."""
    directory = log_source.directory_of(session, words)
    if directory is None:
        return _verify_remote(session, words)
    from eventstore.storage.verify import verify as verify_directory

    try:
        report = verify_directory(directory)
    except CorruptLog as damaged:  # its hint is to verify
        raise Failure(
            f"the log is damaged, not even what it is can be read: {damaged}",
            hint="refetch this voter from the others, or put the log back from a copy",
        ) from None
    facts: dict[str, Leaf] = {
        "Log": str(directory),
        "Cluster": report.cluster_id,
        "Records": report.records,
        "Head": f"{report.head} {report.head_hash.hex()}",
        "Checkpoints": f"{report.checkpoints}, signed up to record {report.covered}",
    }
    return _tell(session, words, facts, [(each.seq, each.what) for each in report.findings])


def _verify_remote(session: Session, words: Words) -> int:
    log = RemoteLog(session)
    seq, digest, found = _walk(log)
    if not found and (seq, digest) != (log.about.seq, log.about.hash):
        found.append((seq, f"the voter {log.about.voter} says that the log ends otherwise"))
    facts: dict[str, Leaf] = {
        "Log": f"of voter {log.about.voter}",
        "Cluster": log.cluster_id,
        "Records": seq,
        "Head": f"{seq} {digest.hex()}",
        "Checkpoints": "not looked at; --dir does",
    }
    return _tell(session, words, facts, found)


def _walk(log: RemoteLog) -> tuple[int, bytes, list[tuple[int, str]]]:
    """Return the last seq and hash up to which the chain holds, and where it does not."""
    seq, digest = 0, genesis_hash(log.cluster_id)
    records = log.iterate()
    while True:
        try:
            stored = next(records, None)
        except DecodeError as unreadable:
            return seq, digest, [(_unreadable(log, seq), str(unreadable))]
        if stored is None:
            return seq, digest, []
        expected = chain_hash(digest, stored.encoded)
        if stored.record.seq != seq + 1:
            return seq, digest, [(seq + 1, f"record {stored.record.seq} stands in its place")]
        if stored.hash != expected:
            what = "its hash does not follow from the one before and its bytes"
            return seq, digest, [(seq + 1, what)]
        seq, digest = seq + 1, expected


def _unreadable(log: RemoteLog, seq: int) -> int:
    """Return the first record after `seq` that cannot be read: a reply is decoded whole."""
    for suspect in range(seq + 1, log.head + 1):
        try:
            log.records(suspect, suspect)
        except DecodeError:
            return suspect
    return seq + 1


def _tell(
    session: Session, words: Words, facts: dict[str, Leaf], findings: list[tuple[int, str]]
) -> int:
    good = not findings
    verdict = "sound" if good else f"{len(findings)} findings, the first at record {findings[0][0]}"
    if reading.style_of(session, words).format == "table":
        session.out.write(text({**facts, "Verdict": verdict}))
        for seq, what in findings:
            session.say(what if what.startswith(f"record {seq}: ") else f"record {seq}: {what}")
    else:
        heads = [Head(name.lower(), name, "text") for name in (*facts, "Verdict")]
        heads.append(Head("findings", "Findings", "other"))
        row = [*((0, value) for value in (*facts.values(), verdict)), (0, findings)]
        session.out.write(rendered(heads, [row], reading.style_of(session, words)))
    if not good:
        session.note(
            "hint: refetch this voter from the others; gnt-log accept-loss is the last resort"
        )
    return Status.SUCCESS if good else Status.FAILURE


def replay(session: Session, words: Words) -> int:
    """Carry out replay; exit status 1 if a digest differs from the master's."""
    from projections.past import replay as replay_log

    source = _here_or_there(session, words)
    begin = time.monotonic()
    projector = replay_log(source)
    mine = projector.digest()
    seconds = time.monotonic() - begin
    session.note(
        f"{projector.seq} records replayed in {seconds:.2f} s, from the log alone"
        f" (fold {mine.fold})"
    )
    own = {"configuration": mine.configuration, "jobs": mine.jobs, "changes": mine.changes}
    theirs = _master_digests(session, projector.seq, mine.fold)
    same = {name: theirs.get(name) == digest for name, digest in own.items()}
    heads = [
        Head("projection", "Projection", "text"),
        Head("replayed", "Replayed", "text"),
        Head("master", "Master", "text"),
        Head("same", "Same", "bool"),
    ]
    rows = [
        [
            (0, name),
            (0, digest),
            *([(0, theirs[name]), (0, same[name])] if theirs else [(2, None)] * 2),
        ]
        for name, digest in own.items()
    ]
    session.out.write(rendered(heads, rows, reading.style_of(session, words)))
    return Status.FAILURE if theirs and not all(same.values()) else Status.SUCCESS


def _master_digests(session: Session, seq: int, fold: str) -> dict[str, str]:
    """Return the master's digests at that record; none, with a note, if they cannot be compared."""
    try:
        reply = session.ask("digest", DigestRequest(seq=seq), DigestReply, timeout_s=120)
    except (Unreachable, Failure) as silent:
        session.note(f"nothing to compare with: {silent}")
        return {}
    if reply.fold != fold:
        session.note(f"not comparable: the master folds by version {reply.fold}")
        return {}
    return reply.digests


def _here_or_there(session: Session, words: Words) -> Source:
    directory = log_source.directory_of(session, words)
    return RemoteLog(session) if directory is None else log_source.local_log(directory)


def accept_loss(session: Session, words: Words) -> int:
    """Carry out accept-loss, which gives records up for ever: --yes-do-it and a reason needed."""
    from eventstore.voter.loss import accept_loss as cut
    from eventstore.voter.loss import find_loss
    from eventstore.voter.takeover import examine

    directory = log_source.directory_of(session, words)
    if directory is None:
        raise BadUsage("there is no log on this machine", hint="--dir names its directory")
    loss = find_loss(directory)
    if loss is None:
        raise Failure("nothing is lost; the log is sound", hint="just start the master daemon")
    session.note(
        f"Acknowledged up to record {loss.acknowledged}, sound up to {loss.kept}: {loss.why}"
    )
    voter = _voter(directory)
    _check_others(session, voter, loss.kept)
    if not words.flag("yes_do_it"):
        raise Failure(
            _given_up(loss),
            hint="refetch this voter from the others if there are any; else give --yes-do-it",
            status=Status.CONFIRMATION,
        )
    reason = words.get("reason")
    if not reason:
        raise BadUsage("no reason is given", hint="--reason TEXT; it stands in the log for ever")
    _, stored = cut(
        directory,
        reason=reason,
        actor=f"operator:{session.operator}",
        voter=voter,
        now_ms=time.time_ns() // 1_000_000,
    )
    session.say(
        f"The log goes on after record {loss.kept}; the loss is record {stored.record.seq}."
    )
    if given_up := examine(directory).config.voters.keys() - {voter}:
        session.note(
            f"{', '.join(sorted(given_up))} vote as well: if they are gone, or lost the same,"
            f"\ngnt-cluster master-failover --no-voting makes {voter} the only voter."
        )
    return Status.SUCCESS


def _given_up(loss: Loss) -> str:
    if loss.kept >= loss.acknowledged:
        return "No record would be given up, but the log be written anew; nothing was done."
    return f"Records {loss.kept + 1} to {loss.acknowledged} would be given up; nothing was done."


def _check_others(session: Session, voter: str, kept: int) -> None:
    """Raise Failure if another voter answers that may hold more than `kept` records.

    One that is RECOVERING, too, cannot give back what it holds: it is no reason to wait if that is
    no more than what is left here, and the better place for accepting the loss if it is more.
    """
    whole: list[str] = []
    for other in _others(session, voter):
        if other.role != "recovering":
            whole.append(other.name)
            continue
        session.note(f"{other.name} lost records as well: its log ends at {other.last_seq}")
        if other.last_seq > kept:
            raise Failure(
                f"{other.name} holds more records; nothing was done.",
                hint=f"accept the loss there, or stop {other.name} to do it here all the same",
                status=Status.CONFIRMATION,
            )
    if whole:
        raise Failure(
            f"{', '.join(whole)} may hold what is lost here; nothing was done.",
            hint="start the master daemon here: it gets back what it lost from them; if no voter"
            f" leads then: gnt-cluster master-failover --no-voting on {whole[0]}",
            status=Status.CONFIRMATION,
        )


def _others(session: Session, voter: str) -> list[VoterStatus]:
    """Return how the other voters are that answer, if this machine knows of any."""
    found: list[VoterStatus] = []
    try:
        known = session.config.config.voters
    except Failure:
        return found  # the log's own files are enough
    for other in known:
        with suppress(EventStoreError):
            if other.name != voter:
                told = session.client.call("voter-status", timeout_s=_EACH_S, voter=other.name)
                found.append(told.decode(VoterStatus))
    return found


def _voter(directory: Path) -> str:
    """Return the name of the voter that wrote the log here."""
    from commands.errors import CommandError
    from commands.master import config

    try:
        return config.load(directory.parent).voter
    except CommandError:
        try:
            return log_source.local_log(directory).records(1, 1)[0].record.origin
        except EventStoreError:
            return "unknown"
