"""The process of a master daemon, and whose it is: never root's (edge).

An agent is root; the master daemon of its node must not be. So its files are made with its user's
rights and owned by it, and it is started as that user: as a process of its own, or, where the
machine has systemd, as a unit that is confined further and comes up by itself at boot.

Root that writes into a directory of somebody else may be led astray by a symbolic link that was put
there. Hence `rights_of`: for its time the kernel checks this thread's file access as the user's
(setfsuid(2)), whatever the agent otherwise is.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from nodeagent.errors import CommandFailed, Missing
from nodeagent.runner import run_command
from nodeagent.task_scope import TaskScope

_END_S = 10.0
_SYSTEMCTL_S = 60.0
_libc = ctypes.CDLL(None, use_errno=True)


class Launcher(Protocol):
    """How the daemon is started and ended."""

    def start(self, directory: Path) -> subprocess.Popen[bytes] | None:
        """Start it for this directory; returns its process if that is our child.

        Raises Missing if there is no such program or unit.
        """

    def end(self, pid: int) -> None:
        """See that it does not run, now and after a restart of the machine."""


class OwnProcess:
    """A process of its own that outlives the agent. `user`: whose; empty: the agent's."""

    def __init__(self, command: Sequence[str], user: str = "") -> None:
        self._command, self._user = command, user

    def start(self, directory: Path) -> subprocess.Popen[bytes]:
        """See Launcher. What it prints goes to `master.out` in its directory."""
        account = account_of(self._user) if self._user else None
        try:
            with rights_of(self._user), (directory / "master.out").open("ab") as output:
                return subprocess.Popen(
                    [*self._command, "--dir", str(directory)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd="/",
                    user=account.pw_uid if account else None,
                    group=account.pw_gid if account else None,
                    extra_groups=[] if account else None,
                )
        except OSError as failed:
            raise Missing(
                f"{self._command[0]} cannot be started: {failed.strerror}",
                hint="install the master daemon on this node, or make it no master candidate",
            ) from None

    def end(self, pid: int) -> None:
        """See Launcher. Asked first, killed if it does not end in time."""
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            for signum in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signum)
                if select.select([handle], [], [], _END_S)[0]:
                    return
        finally:
            os.close(handle)


class Unit:
    """A unit of systemd, whose file says the user, the directory and what the daemon may do."""

    def __init__(self, name: str, systemctl: Sequence[str] = ("systemctl",)) -> None:
        self._name, self._systemctl = name, tuple(systemctl)

    def start(self, directory: Path) -> None:
        """See Launcher."""
        self._run("enable", "--now")

    def end(self, pid: int) -> None:
        """See Launcher."""
        self._run("disable", "--now")

    def _run(self, *order: str) -> None:
        try:
            argv = [*self._systemctl, *order, self._name]
            run_command(argv, scope=TaskScope(), timeout_s=_SYSTEMCTL_S)
        except CommandFailed as failed:
            said = failed.output.strip() or str(failed)
            raise Missing(
                f"the unit {self._name} cannot be managed: {said}",
                hint=f"install packaging/systemd on this node; journalctl -u {self._name}",
            ) from None


def account_of(user: str) -> pwd.struct_passwd:
    """Return a user of this machine. Raises Missing."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise Missing(
            f"there is no user {user!r} on this node",
            hint=f"useradd --system --user-group {user}, or systemd-sysusers",
        ) from None


@contextmanager
def rights_of(user: str) -> Iterator[None]:
    """Within the block this thread's access to files is that of `user`; empty: its own.

    What it makes is the user's. Other threads are not touched, but one that is started within has
    the same rights: setfsuid(2), "C library/kernel differences". Supplementary groups stay root's,
    which own nothing of Cairn's.
    """
    if not user:
        yield
        return
    account = account_of(user)
    before_gid, before_uid = _libc.setfsgid(account.pw_gid), _libc.setfsuid(account.pw_uid)
    try:
        # Neither call reports failure; asking for what cannot be returns what holds.
        assert _libc.setfsuid(-1) == account.pw_uid, "only root may take another user's rights"
        yield
    finally:
        _libc.setfsuid(before_uid)
        _libc.setfsgid(before_gid)


def make_private(directory: Path, user: str) -> None:
    """The directory exists, and is this user's alone; its parent is the agent's."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user:
        account = account_of(user)
        os.chown(directory, account.pw_uid, account.pw_gid, follow_symlinks=False)
