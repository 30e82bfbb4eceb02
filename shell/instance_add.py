"""`gnt-instance add` and `batch-create`: from Ganeti's options to an opcode (edge)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec

from commands.errors import Refused
from commands.opcode import Opcode
from shell import opcodes
from shell.failure import BadUsage, Failure
from shell.orders import opcode_of
from shell.parameters import split_hypervisor
from shell.parsing import Words
from shell.session import Session
from shell.submission import Wanted, carry_out, carry_out_all
from shell.values import Ident

CREATE = "OP_INSTANCE_CREATE"
_OWN = ("hypervisor", "beparams", "disks", "nics", "no_nics", "sd_size", "node", "tags")


def run(session: Session, words: Words) -> int:
    """Carry out add."""
    more: dict[str, object] = {"disks": _disks(words), "nics": _nics(words)}
    more.update(split_hypervisor(session, words.get("hypervisor"), words.get("beparams", {})))
    if "node" in words.given:
        primary, _, secondary = words.given["node"].partition(":")
        more["pnode"] = primary
        if secondary:
            more["snode"] = secondary
    if "tags" in words.given:
        more["tags"] = words.given["tags"].split(",")
    rest = {dest: value for dest, value in words.given.items() if dest not in _OWN}
    op = opcode_of(dataclasses.replace(words, given=rest), **more)
    ended = carry_out(session, words, op)
    if ended.results:
        _tell_it_is_down(session, op)
    return ended.status


def _tell_it_is_down(session: Session, op: Opcode) -> None:
    """Say that it was not started, if nobody has asked for that."""
    from commands.instance_ops.create import InstanceCreate, starts

    if isinstance(op, InstanceCreate) and op.start and not starts(op):
        session.note(
            f"note: {op.instance_name} is not started, since nothing was installed on it; when it"
            f" can boot: gnt-instance startup {op.instance_name}"
        )


def run_batch(session: Session, words: Words) -> int:
    """Carry out batch-create: a file with a list of opcodes' fields; one job for each instance.

    All of them are accepted, or none.
    """
    jobs = []
    entries = _entries(words.args[0])
    if not entries:
        raise BadUsage(f"{words.args[0]}: the list is empty", hint=_EXAMPLE)
    for number, entry in enumerate(entries, 1):
        fields = dict(entry)
        if "iallocator" in words.given and not fields.get("pnode"):
            fields.setdefault("iallocator", words.given["iallocator"])
        try:
            op = opcodes.build(CREATE, fields, {})
        except (Failure, Refused) as failure:
            raise BadUsage(
                f"{words.args[0]}: instance {number}: {failure.message}", hint=failure.hint
            ) from None
        jobs.append(Wanted((op,), str(fields.get("instance_name"))))
    return carry_out_all(session, words, jobs).status


_EXAMPLE = (
    'a JSON list such as [{"instance_name": "web1", "disk_template": "plain",'
    ' "disks": [{"size": "10G"}], "os_type": "debian"}]'
)


def _entries(name: str) -> list[dict[str, Any]]:
    path = Path(name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
    except OSError as failed:
        raise Failure(f"{path}: {failed.strerror}", hint="give a readable file") from None
    except msgspec.MsgspecError as wrong:
        raise BadUsage(
            f"{path}: it is not a JSON list of instances: {wrong}",
            hint=_EXAMPLE,
        ) from None


def _disks(words: Words) -> list[dict[str, object]]:
    typed: list[Ident] = words.get("disks", [])
    template = words.get("disk_template")
    if "sd_size" in words.given:
        if typed:
            raise BadUsage("-s and --disk exclude each other", hint="give one of the two")
        found: list[dict[str, object]] = [{"size": words.given["sd_size"]}]
    else:
        found = _indexed(typed, "--disk")
    if template == "diskless":
        if found:
            raise BadUsage("a diskless instance takes no disks", hint="leave -s and --disk out")
    elif not found:
        raise BadUsage("No disk information specified", hint="give -s SIZE or --disk 0:size=SIZE")
    return found


def _nics(words: Words) -> list[dict[str, object]]:
    typed: list[Ident] = words.get("nics", [])
    if words.flag("no_nics"):
        if typed:
            raise BadUsage("--net and --no-nics exclude each other", hint="give one of the two")
        return []
    # One interface with the cluster's settings where nothing is said about it, as in Ganeti.
    return _indexed(typed, "--net") or [{}]


def _indexed(typed: list[Ident], option: str) -> list[dict[str, object]]:
    """Return `0:a=b 1:c=d` as a list; what is not named between two is empty."""
    found: dict[int, dict[str, object]] = {}
    for ident, values in typed:
        if not ident.isdecimal() or not isinstance(values, dict):
            raise BadUsage(
                f"{option}: {ident!r} is not an index",
                hint=f"such as {option} 0:{'size=10G' if option == '--disk' else 'link=br0'}",
            )
        found.setdefault(int(ident), {}).update(values)
    return [found.get(index, {}) for index in range(max(found, default=-1) + 1)]
