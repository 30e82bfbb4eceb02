"""Starting the master daemon of a new cluster on this machine, as whom it is to be (edge).

`gnt-cluster init` is an operator's command, often root's; the daemon never needs to be root. With
`user` in the settings its files become that user's before it starts. They are handed over from the
leaves up: until the last step nobody but their maker can reach them, so no link can be put in the
way of the change.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from pathlib import Path

from commands.api import Query, QueryReply
from eventstore.errors import Unreachable
from shell.config import Master
from shell.failure import Failure
from shell.session import Session

START_S = 30.0  # how long the daemon may take until it answers


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
            hint="the cluster is made; start the daemon by hand, and go on",
        ) from None


def wait(session: Session, daemon: subprocess.Popen[bytes] | None, log: Path) -> None:
    """Return when the daemon answers. Raises Failure if it ends, or takes too long."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            session.ask("query", Query(what="cluster", fields=("name",)), QueryReply, timeout_s=1)
        except Unreachable as silent:
            if daemon is not None and daemon.poll() is not None:
                raise Failure(
                    f"the master daemon ended with status {daemon.returncode}: {_last_line(log)}",
                    hint=f"the cluster is made; see {log}, then start the daemon by hand",
                ) from None
            if time.monotonic() >= deadline:
                where = "journalctl, of its unit" if daemon is None else str(log)
                raise Failure(
                    f"the master daemon does not answer: {silent}", hint=f"see {where}"
                ) from None
        else:
            return


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1].strip()
