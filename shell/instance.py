"""Orders about instances that need more than a table entry (edge)."""

from __future__ import annotations

import dataclasses

from commands import parse
from shell import confirm, reading, selection
from shell.failure import BadUsage, Status
from shell.following import listed
from shell.orders import opcode_of
from shell.parsing import Words
from shell.session import Session
from shell.submission import Wanted, carry_out, carry_out_all
from shell.values import Ident, number


def many(session: Session, words: Words) -> int:
    """Carry out startup, shutdown or reboot: one job for each selected instance."""
    names = selection.instances(session, words)
    if names is None:
        return Status.FAILURE
    given = {
        dest: value
        for dest, value in words.given.items()
        if dest not in ("multi_mode", "force_multi")
    }
    if words.command == "reboot":
        given.setdefault("reboot_type", "hard")  # the opcode has no default; Ganeti's client has
    each = dataclasses.replace(words, args=(), given=given)
    jobs = [Wanted((opcode_of(each, instance_name=name),), name) for name in names]
    return carry_out_all(session, words, jobs).status


def remove(session: Session, words: Words) -> int:
    """Carry out remove, which destroys data: asked about unless -f is given."""
    op = opcode_of(words)
    name = words.args[0]
    question = (
        f"This will remove the volumes of the instance {name} (including mirrors), thus removing"
        " all the data of the instance. Continue?"
    )
    if not _agreed(session, words, question):
        return Status.FAILURE
    return carry_out(session, words, op).status


def failover(session: Session, words: Words) -> int:
    """Carry out failover, which interrupts the guest: asked about unless -f is given."""
    op = opcode_of(words)
    question = (
        f"Failover will happen to image {words.args[0]}. This requires a shutdown of the instance."
        " Continue?"
    )
    if not _agreed(session, words, question):
        return Status.FAILURE
    return carry_out(session, words, op).status


def migrate(session: Session, words: Words) -> int:
    """Carry out migrate: asked about unless -f is given, as in Ganeti."""
    op = opcode_of(words)
    name = words.args[0]
    question = f"Instance {name} will be migrated. Note that migration might impact it. Continue?"
    if words.flag("cleanup"):
        question = f"Instance {name} will be recovered from a failed migration. Continue?"
    if not _agreed(session, words, question):
        return Status.FAILURE
    return carry_out(session, words, op).status


_MODES = {
    "on_primary": "replace_on_primary",
    "on_secondary": "replace_on_secondary",
    "auto": "replace_auto",
    "dst_node": "replace_new_secondary",
    "iallocator": "replace_new_secondary",
}


def replace_disks(session: Session, words: Words) -> int:
    """Carry out replace-disks: exactly one of -p, -s, -a, -n and -I says how."""
    chosen = [dest for dest in _MODES if dest in words.given]
    if len(chosen) != 1:
        raise BadUsage(
            "One and only one of the -p, -s, -a, -n and -I options must be passed",
            hint="-a replaces what is broken; -n NODE moves the mirror to another node",
        )
    given = {dest: value for dest, value in words.given.items() if dest not in _MODES}
    more: dict[str, object] = {"mode": _MODES[chosen[0]]}
    if "disks" in given:
        more["disks"] = [_index(text, "--disks") for text in given.pop("disks").split(",")]
    if chosen[0] == "dst_node":
        more["remote_node"] = words.given["dst_node"]
    elif chosen[0] == "iallocator":
        more["iallocator"] = words.given["iallocator"]
    op = opcode_of(dataclasses.replace(words, given=given), **more)
    ended = carry_out(session, words, op)
    for result in ended.results or ():
        _tell_replaced(session, words.args[0], result.values[0])
    return ended.status


def _tell_replaced(session: Session, name: str, result: object) -> None:
    if not isinstance(result, dict):
        return
    if not result["replaced"]:
        session.say(f"No disk of {name} needs to be replaced")
    for place in result["replaced"]:
        node, _, index = place.rpartition("/")
        session.say(f"Replaced disk/{index} of {name} on {node}")
    for left in result["left"]:
        session.note(f"left behind: {left}")


def recreate_disks(session: Session, words: Words) -> int:
    """Carry out recreate-disks: of all disks, or of those that `--disk INDEX` names."""
    given = dict(words.given)
    more: dict[str, object] = {}
    if "disks" in given:
        more["disks"] = [_disk_settings(typed) for typed in given.pop("disks")]
    if "node" in given:
        if "iallocator" in given:
            raise BadUsage("-n and -I exclude each other", hint="give one of the two")
        more["nodes"] = [node for node in given["node"].split(":", 1) if node]
    op = opcode_of(dataclasses.replace(words, given=given), **more)
    return carry_out(session, words, op).status


def _disk_settings(typed: Ident) -> tuple[int, dict[str, object]]:
    ident, values = typed
    return _index(ident, "--disk"), dict(values) if isinstance(values, dict) else {}


def grow_disk(session: Session, words: Words) -> int:
    """Carry out grow-disk."""
    _, disk, amount = words.args
    more = {"disk": _index(disk, "the disk"), "amount": parse.size_mib(amount, "the size")}
    return carry_out(session, words, opcode_of(words, **more)).status


def activate_disks(session: Session, words: Words) -> int:
    """Carry out activate-disks and print node:disk:device, one to a line, as Ganeti does."""
    ended = carry_out(session, words, opcode_of(words))
    for result in ended.results or ():
        for host, name, device in listed(result.values[0]):
            session.say(f"{host}:{name}:{device}")
    return ended.status


def _agreed(session: Session, words: Words, question: str) -> bool:
    if words.flag("force") or words.flag("dry_run"):
        return True
    # Nobody is asked about an instance that there is not: this raises Failure.
    reading.query(session, words, "instance", ("name",), names=words.args[:1])
    return confirm.ask(session, question)


def _index(text: str, what: str) -> int:
    if text.isascii() and text.isdecimal():
        return number(text, what)
    raise BadUsage(f"{what}: {text!r} is not the index of a disk", hint="disks count from 0")
