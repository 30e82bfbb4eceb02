"""`gnt-job`: following jobs, and orders to the queue itself (edge)."""

from __future__ import annotations

from collections.abc import Sequence

from commands.api import JobOrder, JobOrderReply, Query, QueryReply
from shell import confirm
from shell.failure import BadUsage, Failure, Status
from shell.following import follow
from shell.parsing import Words
from shell.render.cells import count
from shell.session import Session
from shell.submission import PRIORITIES
from shell.values import age_s, number


def watch(session: Session, words: Words) -> int:
    """Carry out watch: its feedback lines, from the first one kept, until it ends."""
    (job,) = _ids(words.args)
    session.say(f"Output from job {job} follows")
    session.say("-" * 42)
    follow(session, job)
    return Status.SUCCESS


def wait(session: Session, words: Words) -> int:
    """Carry out wait: nothing is printed; the exit status says how it ended."""
    (job,) = _ids(words.args)
    follow(session, job, quiet=True)
    return Status.SUCCESS


def cancel(session: Session, words: Words) -> int:
    """Carry out cancel."""
    if words.flag("kill"):
        raise Failure(
            "--kill: a job is never killed, since it would leave things half done",
            hint="cancel withdraws what runs and undoes what was done",
        )
    return _order_selected(session, words, "cancel", JobOrder(order="cancel"))


def change_priority(session: Session, words: Words) -> int:
    """Carry out change-priority."""
    if "priority" not in words.given:
        raise BadUsage("no priority is given", hint="--priority low, normal or high")
    order = JobOrder(order="set-priority", priority=PRIORITIES[words.given["priority"]])
    return _order_selected(session, words, "change the priority of", order)


def archive(session: Session, words: Words) -> int:
    """Carry out archive."""
    return _send(session, JobOrder(order="archive", jobs=_ids(words.args)))


def autoarchive(session: Session, words: Words) -> int:
    """Carry out autoarchive and print how many it was."""
    age = 0.0 if words.args[0] == "all" else age_s(words.args[0])
    reply = session.ask(
        "job-order", JobOrder(order="archive", older_than_s=age), JobOrderReply, key=_key()
    )
    session.say(f"Archived {count(sum(done for _, done, _ in reply.jobs), 'job')}")
    return Status.SUCCESS


def resolve(session: Session, words: Words) -> int:
    """Carry out resolve: what is to become of jobs that need attention."""
    how = words.get("how")
    if how is None:
        raise BadUsage(
            "how it is to be resolved is not said",
            hint="--retry does the step again, --undo goes back, --accept takes it as it is",
        )
    return _send(session, JobOrder(order="resolve", jobs=_ids(words.args), how=how))


def _order_selected(session: Session, words: Words, what: str, order: JobOrder) -> int:
    """Send an order for the jobs that are named, or for all with a status, after asking."""
    import msgspec

    statuses = words.get("status_filter")
    if bool(statuses) == bool(words.args):
        raise BadUsage(
            "either jobs or one of --pending, --queued and --waiting must be given",
            hint=f"{words.tool} {words.command} --help",
        )
    if words.args:
        return _send(session, msgspec.structs.replace(order, jobs=_ids(words.args)))
    where = ["|", *(["==", "status", status] for status in statuses)]
    query = Query(what="job", fields=("id", "summary"), filter=where)
    found = {int(row[0][1]): str(row[1][1]) for row in session.ask("query", query, QueryReply).rows}  # type: ignore[call-overload]  # ids are numbers
    if not found:
        session.say("No jobs with the selected status were found")
        return Status.SUCCESS
    names = [f"{job}: {summary}" for job, summary in found.items()]
    question = f"This will {what} {count(len(found), 'job')}. Continue?"
    if not words.flag("force") and not confirm.ask(session, question, names=names):
        return Status.FAILURE
    return _send(session, msgspec.structs.replace(order, jobs=tuple(found)))


def _send(session: Session, order: JobOrder) -> int:
    reply = session.ask("job-order", order, JobOrderReply, key=_key())
    failed = 0
    for job, done, why in reply.jobs:
        if done:
            session.say(why or f"Job {job} {_DONE[order.order]}")
        else:
            failed += 1
            session.note(why)
    return Status.FAILURE if failed else Status.SUCCESS


_DONE = {
    "cancel": "will be canceled",
    "archive": "is archived",
    "set-priority": "has its new priority",
    "resolve": "goes on as you said",
}


def _ids(words: Sequence[str]) -> tuple[int, ...]:
    for word in words:
        if not (word.isascii() and word.isdecimal()):
            raise BadUsage(f"{word!r} is not the number of a job", hint="gnt-job list shows them")
    return tuple(number(word, "the job") for word in words)


def _key() -> str:
    import os

    return os.urandom(16).hex()
