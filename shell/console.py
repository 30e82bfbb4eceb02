"""`gnt-instance console`: the console of an instance, here (edge).

A serial console is a command on the instance's node, reached as Ganeti reaches it: by SSH, as root.
On the node itself the command is run directly.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace

from shell.failure import Failure, Status
from shell.following import mapped
from shell.orders import opcode_of
from shell.parsing import Words
from shell.session import Session
from shell.submission import carry_out

_SSH = ("ssh", "-t", "-q", "-oEscapeChar=none", "-oHashKnownHosts=no")


def run(session: Session, words: Words) -> int:
    """Connect to the console, or with --show-cmd print what would."""
    given = {name: value for name, value in words.given.items() if name != "show_command"}
    ended = carry_out(session, words, opcode_of(replace(words, given=given)))
    if ended.results is None:
        return ended.status
    told = mapped(ended.results[0].values[0])
    if told["kind"] != "ssh":
        session.say(where(told))
        return Status.SUCCESS
    command = argv(told)
    if words.flag("show_command"):
        session.say(shlex.join(command))
        return Status.SUCCESS
    session.note("control and ] ends it")
    try:
        return subprocess.call(command)
    except OSError as failed:
        raise Failure(
            f"{command[0]}: {failed.strerror}", hint=f"install {command[0]}", status=Status.FAILURE
        ) from None


def argv(told: Mapping[str, object]) -> Sequence[str]:
    """Return the command that connects to a serial console."""
    command = str(told["command"])
    if _is_here(str(told["address"])):
        return shlex.split(command)
    return (*_SSH, f"{told['user']}@{told['host']}", command)


def where(told: Mapping[str, object]) -> str:
    """Return what a person does who wants to see the screen. The words are Ganeti's."""
    host, port, name = told["host"], told["port"], told["instance"]
    if told["kind"] == "vnc":
        return (
            f"Instance {name} has VNC listening on {host}:{port} (display {told['display']}),"
            f" URL <vnc://{host}:{port}/>"
        )
    if told["kind"] == "spice":
        return f"Instance {name} has SPICE listening on {host}:{port}"
    return str(told["message"])


def _is_here(address: str) -> bool:
    """Whether the address is one of this machine: only then can something be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
