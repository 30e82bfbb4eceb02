"""Where the ticket of a new node goes: a file, the terminal, or the node itself, by SSH (edge).

By SSH the node is also made ready: one connection writes the ticket, whole or not at all, readable
by root alone, and starts the agent, which then finds it. What is run there is fixed; the ticket
goes in on standard input, so that it stands in no list of processes.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Protocol

import msgspec

from eventstore.durable_file import replace
from nodeagent.calls import Ticket
from shell.config import Ssh
from shell.failure import Failure, Status
from shell.session import Session

TICKET = "ticket.json"
Ran = subprocess.CompletedProcess[bytes]
_SSH_FAILED = 255  # ssh(1), "EXIT STATUS"; any other status is the remote command's
_CONNECT_S = 20
# $1: the agent's directory; the rest: what starts the agent
_LAY_DOWN = (
    'set -eu; umask 077; mkdir -p "$1"; cat >"$1/ticket.json.new"; '
    'mv "$1/ticket.json.new" "$1/ticket.json"; shift; exec "$@"'
)
_TAKE_AWAY = 'rm -f "$1/ticket.json"'


class Place(Protocol):
    """Where one ticket goes."""

    def lay_down(self, ticket: Ticket) -> None:
        """Put it there. Raises Failure."""

    def take_away(self) -> None:
        """It is void: see that it does no harm. Nothing is raised for what cannot be undone."""


class File:
    """A file of this machine, which a person carries to the node, or which its agent sees."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lay_down(self, ticket: Ticket) -> None:
        """See Place."""
        lay_down(self._path, ticket)

    def take_away(self) -> None:
        """See Place."""
        self._path.unlink(missing_ok=True)


class Terminal:
    """Standard output: a token that a person, or a program, takes to the node."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lay_down(self, ticket: Ticket) -> None:
        """See Place."""
        self._session.out.write(_text(ticket).decode())
        self._session.out.flush()

    def take_away(self) -> None:
        """See Place. What was printed stays, and opens nothing."""


class Node:
    """The node's agent itself, over SSH."""

    def __init__(self, session: Session, name: str, *, check_key: bool) -> None:
        self._session, self._name = session, name
        self._ssh: Ssh = session.config.config.ssh
        self._check_key = check_key

    def lay_down(self, ticket: Ticket) -> None:
        """See Place."""
        self._session.note(f"Preparing {self._name} over SSH")
        ran = self._run(_LAY_DOWN, *self._ssh.start, given=_text(ticket))
        if ran.returncode == 0:
            return
        said = ran.stderr.decode(errors="replace").strip() or "it said nothing"
        if ran.returncode == _SSH_FAILED:
            raise Failure(
                f"{self._name} cannot be reached over SSH: {said}",
                hint=f"see that `{self._shown()}` works; or --no-node-setup --ticket-file PATH, and"
                f" carry the ticket to the node yourself",
                status=Status.NODE_SETUP,
            )
        raise Failure(
            f"{self._name} could not be prepared (exit status {ran.returncode}): {said}",
            hint=f"install Cairn there; its agent is started by `{shlex.join(self._ssh.start)}`",
            status=Status.NODE_SETUP,
        )

    def take_away(self) -> None:
        """See Place."""
        if self._run(_TAKE_AWAY).returncode != 0:
            self._session.note(
                f"note: the void ticket is still in {self._ssh.directory} on {self._name}"
            )

    def _run(
        self, script: str, *more: str, given: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        remote = shlex.join(["sh", "-c", script, "cairn", self._ssh.directory, *more])
        argv = [*self._argv(), remote]
        try:
            return subprocess.run(argv, input=given, capture_output=True, check=False)
        except OSError as failed:
            raise Failure(
                f"{argv[0]} cannot be started: {failed.strerror}",
                hint="install an SSH client; or --no-node-setup --ticket-file PATH",
                status=Status.NODE_SETUP,
            ) from None

    def _argv(self) -> list[str]:
        options = [f"ConnectTimeout={_CONNECT_S}"]
        if not self._session.stdin.isatty():
            options.append("BatchMode=yes")  # nobody is there to be asked
        if not self._check_key:
            options += ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        words = [word for option in options for word in ("-o", option)]
        return [*self._ssh.command, *words, "-l", self._ssh.user, "--", self._name]

    def _shown(self) -> str:
        return shlex.join([*self._ssh.command, "-l", self._ssh.user, self._name])


def lay_down(place: Path, ticket: Ticket) -> None:
    """Write the ticket, whole or not at all, readable by its owner alone. Raises Failure."""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(place, _text(ticket))
    except OSError as failed:
        raise Failure(
            f"the ticket cannot be laid down at {place}: {failed.strerror}",
            hint="give a place that can be written with --ticket-file",
            status=Status.NODE_SETUP,
        ) from None


def _text(ticket: Ticket) -> bytes:
    return msgspec.json.format(msgspec.json.encode(ticket), indent=2) + b"\n"
