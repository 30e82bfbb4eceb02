"""`gnt-cluster` commands that need more than a table entry (edge)."""

from __future__ import annotations

from commands.cluster_ops.finding import ERROR, Finding
from projections.query.table import NORMAL
from shell import confirm, reading
from shell.failure import Failure, Status
from shell.following import listed
from shell.master import confirmed
from shell.orders import opcode_of
from shell.parsing import Words
from shell.render.formats import Head, rendered
from shell.render.tree import text
from shell.session import Session
from shell.submission import carry_out

_CHECKS = {"skip_nplusone_mem": "nplusone_mem", "skip_hvparam_assessment": "hvparam_assessment"}


def destroy(session: Session, words: Words) -> int:
    """Carry out destroy, which nothing takes back: --yes-do-it must be given."""
    op = opcode_of(words)
    if not words.flag("yes_do_it") and not words.flag("dry_run"):
        raise Failure(
            "Destroying a cluster is irreversible; nothing was done.",
            hint="to really destroy this cluster, give the --yes-do-it option",
            status=Status.CONFIRMATION,
        )
    return carry_out(session, words, op).status


def deactivate_master_ip(session: Session, words: Words) -> int:
    """Carry out deactivate-master-ip: whoever speaks to the master by its address is cut off."""
    op = opcode_of(words)
    question = "Commands and agents that use the address of the master lose it.\nGo on?"
    sure = words.flag("confirm") or words.flag("dry_run")
    if not sure and not confirm.ask(session, question, option="--yes"):
        return Status.CONFIRMATION
    return carry_out(session, words, op).status


def verify(session: Session, words: Words) -> int:
    """Carry out verify and print what was found; exit status 1 if there are errors."""
    skipped = [check for dest, check in _CHECKS.items() if words.flag(dest)]
    more: dict[str, object] = {"skip_checks": skipped} if skipped else {}
    ended = carry_out(session, words, opcode_of(words, **more))
    if ended.results is None:
        return ended.status
    findings = [Finding(*each) for result in ended.results for each in listed(result.values[0])]
    errors = sum(finding.severity == ERROR for finding in findings)
    style = reading.style_of(session, words)
    if style.format != "table":
        heads = [Head(name, name, "text") for name in Finding._fields]
        rows = tuple(tuple((NORMAL, value) for value in finding) for finding in findings)
        session.out.write(rendered(heads, rows, style))
        return Status.FAILURE if errors else Status.SUCCESS
    for finding in findings:
        session.say(_line(finding, codes=words.flag("error_codes")))
    if not words.flag("error_codes"):
        session.say(f"Verified: errors: {errors}, warnings: {len(findings) - errors}")
    return Status.FAILURE if errors else Status.SUCCESS


def _line(finding: Finding, *, codes: bool) -> str:
    """Return a finding as Ganeti prints it; with --error-codes for programs."""
    severity = finding.severity.upper()
    if codes:
        return f"{severity}:{finding.code}:{finding.object}:{finding.message}"
    return f"  - {severity}: {finding.object}: {finding.message}"


def getmaster(session: Session, words: Words) -> int:
    """Carry out getmaster: the node that leads now, as a majority confirms; with --at, that led.

    The record that says so follows a change of leader, so that it names the one before for a
    moment, and for as long as nobody leads.
    """
    if words.get("at") or session.at:
        return _one_value(session, words, "master_node")
    leader = confirmed(session).leader
    style = reading.style_of(session, words)
    if style.format == "table":
        session.say(leader)
    else:
        head = Head("master_node", "Master", "text")
        session.out.write(rendered([head], [[(NORMAL, leader)]], style))
    return Status.SUCCESS


def _one_value(session: Session, words: Words, field: str) -> int:
    reply = reading.query(session, words, "cluster", (field,))
    if words.get("format", session.default_format) != "table":
        return reading.show(session, words, reply)
    session.say(str(reading.records(reply)[0][field]))
    return Status.SUCCESS


_VERSIONS = {
    "Software version": "software_version",
    "Internode protocol": "protocol_version",
    "Configuration format": "config_version",
    "OS api version": "os_api_version",
    "Export interface": "export_version",
}


def version(session: Session, words: Words) -> int:
    """Carry out version: of the master's program and its interfaces."""
    reply = reading.query(session, words, "cluster", tuple(_VERSIONS.values()))
    style = reading.style_of(session, words)
    if style.format == "table":
        row = reading.records(reply)[0]
        session.out.write(text({title: row[field] for title, field in _VERSIONS.items()}))
    else:
        heads = [Head(field.name, field.title, field.kind) for field in reply.fields]
        session.out.write(rendered(heads, reply.rows, style))
    return Status.SUCCESS
