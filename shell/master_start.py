"""Starting the master daemon of a new cluster on this machine, as whom it is to be (edge).

`gnt-cluster init` is an operator's command, often root's; the daemon never needs to be root. With
`user` in the settings its files become that user's before it starts. They are handed over from the
leaves up: until the last step nobody but their maker can reach them, so no link can be put in the
way of the change.

By then the cluster is made, and no second `init` will be taken. So nothing that goes wrong here may
pass for a cluster that was not made: the daemon of a busy machine is waited for while it lives, and
every failure says that the cluster is there, and the line that starts its daemon.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import time
from pathlib import Path

from commands.api import Query, QueryReply
from eventstore.errors import Unreachable
from shell.config import Master
from shell.failure import Failure, Status
from shell.session import Session

PATIENCE_S = 300.0  # how long a daemon that lives is waited for
_SAID_AFTER_S = 5.0  # by then whoever waits is told what for
_ASK_S = 1.0  # for the first answer; more with each try: a slow machine needs longer for one
_ASK_MOST_S = 10.0


def account_of(user: str) -> pwd.struct_passwd:
    """Return a user of this machine. Raises Failure."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise Failure(
            f"there is no user {user!r} for the master daemon",
            hint=f"useradd --system --user-group {user}, or systemd-sysusers",
        ) from None


def hand_over(directory: Path, user: str) -> None:
    """Everything in `directory`, and then itself, belongs to this user. Raises Failure."""
    account = account_of(user)
    try:
        for inside, _, names in os.walk(directory, topdown=False):
            for path in (*(os.path.join(inside, name) for name in names), inside):
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    except OSError as failed:
        raise Failure(
            f"{failed.filename} cannot be given to {user}: {failed.strerror}",
            hint="gnt-cluster init must be root to start the daemon as somebody else",
        ) from None


def start(master: Master, directory: Path, log: Path) -> subprocess.Popen[bytes] | None:
    """Start the daemon: the unit, or a process that lives on when this terminal is closed.

    Returns the process, None for a unit. Raises Failure.
    """
    try:
        if master.unit:
            subprocess.run(["systemctl", "enable", "--now", master.unit], check=True)
            return None
        account = account_of(master.user) if master.user else None
        with log.open("ab") as output:
            return subprocess.Popen(
                [*master.command, "--dir", str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
    except (OSError, subprocess.CalledProcessError) as failed:
        raise Failure(
            f"the master daemon cannot be started: {failed}",
            hint=f"the cluster is made; its daemon: {_by_hand(master, directory)}",
        ) from None


def wait(
    session: Session,
    master: Master,
    directory: Path,
    daemon: subprocess.Popen[bytes] | None,
    log: Path,
    *,
    patience_s: float = PATIENCE_S,
) -> None:
    """Return when the daemon answers.

    Raises Failure if its process ends, if it is silent for `patience_s`, and on Ctrl-C, which does
    not end it.
    """
    began, told, ask_s = time.monotonic(), False, _ASK_S
    where = f"journalctl -u {master.unit}" if daemon is None else str(log)
    try:
        while not _answers(session, ask_s):
            if daemon is not None and daemon.poll() is not None:
                raise Failure(
                    "The cluster is made, but its master daemon ended with status"
                    f" {daemon.returncode}: {_last_line(log)}",
                    hint=f"see {where}; then start it: {_by_hand(master, directory)}",
                )
            waited_s = time.monotonic() - began
            if waited_s >= patience_s:
                raise Failure(
                    f"The cluster is made, but its master daemon ({_name(master, daemon)}) has not"
                    f" answered for {waited_s:.0f} s; it was left as it is.",
                    hint=f"see {where}; gnt-cluster info answers once it does",
                    status=Status.NOT_MASTER,
                )
            if not told and waited_s >= _SAID_AFTER_S:
                session.note(
                    f"The cluster is made; waiting for its master daemon ({_name(master, daemon)})."
                )
                told = True
            ask_s = min(ask_s * 1.5, _ASK_MOST_S)
    except KeyboardInterrupt:
        raise Failure(
            f"The cluster is made; its master daemon ({_name(master, daemon)}) goes on starting.",
            hint=f"see {where}; gnt-cluster info answers once it does",
            status=Status.INTERRUPTED,
        ) from None


def _answers(session: Session, timeout_s: float) -> bool:
    query = Query(what="cluster", fields=("name",))
    try:
        session.ask("query", query, QueryReply, timeout_s=timeout_s)
    except Unreachable:
        return False
    return True


def _name(master: Master, daemon: subprocess.Popen[bytes] | None) -> str:
    return master.unit if daemon is None else f"pid {daemon.pid}"


def _by_hand(master: Master, directory: Path) -> str:
    """Return the line that starts the daemon."""
    if master.unit:
        return f"systemctl enable --now {master.unit}"
    as_user = ("runuser", "-u", master.user, "--") if master.user else ()
    return shlex.join([*as_user, *master.command, "--dir", str(directory)])


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1].strip()
