"""The master daemon of a new cluster is started as whom it is to be, and waited for."""

from __future__ import annotations

import io
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands.api import QueryReply
from eventstore.errors import Unreachable
from shell import master_start
from shell.config import Master
from shell.failure import Failure, Status
from shell.master_start import hand_over, start, wait
from shell.session import Session

USER = "daemon"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def master(*command: str, user: str = "") -> Master:
    return Master(directory="master", node="node1", command=command, user=user)


@needs_root
@pytest.mark.acceptance
def test_files_are_given_away_and_nothing_beyond_them(tmp_path: Path) -> None:
    """A link is given, not what it names."""
    outside = tmp_path / "outside"
    outside.touch()
    directory = tmp_path / "master"
    (directory / "log").mkdir(parents=True)
    (directory / "log/log.db").touch()
    (directory / "link").symlink_to(outside)
    hand_over(directory, USER)
    uid = pwd.getpwnam(USER).pw_uid
    assert {path.lstat().st_uid for path in (directory, *directory.rglob("*"))} == {uid}
    assert outside.stat().st_uid == 0


@needs_root
@pytest.mark.acceptance
def test_the_daemon_is_its_user(tmp_path: Path) -> None:
    """Without root's groups; what it says is in its log."""
    log = tmp_path / "out"
    daemon = start(master("sh", "-c", "id -u; id -G", user=USER), tmp_path, log)
    assert daemon is not None
    assert daemon.wait() == 0
    account = pwd.getpwnam(USER)
    assert log.read_text() == f"{account.pw_uid}\n{account.pw_gid}\n"


def test_a_user_who_is_not_there_is_named(tmp_path: Path) -> None:
    """With the command that makes it."""
    with pytest.raises(Failure, match="no-such-user") as refused:
        hand_over(tmp_path, "no-such-user")
    assert "useradd" in refused.value.hint


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The cluster is made; only its daemon does not run."""
    with pytest.raises(Failure, match="no-such-master") as failed:
        start(master("no-such-master"), tmp_path, tmp_path / "out")
    assert failed.value.hint.startswith("the cluster is made")
    assert f"no-such-master --dir {tmp_path}" in failed.value.hint


class Silent(Session):
    """A session whose master answers at the last of these tries: each is refused by raising."""

    tries: Iterator[BaseException | None]

    def ask(self, kind: str, body: Any, reply: Any, **_: Any) -> Any:
        """Be silent, or answer."""
        failed = next(self.tries)
        if failed is not None:
            raise failed
        return QueryReply(fields=(), rows=(), as_of=1, time_ms=0)


SILENT = Unreachable("nobody answers")


def session(*tries: BaseException | None) -> Silent:
    made = Silent(err=io.StringIO())
    made.tries = iter(tries)
    return made


@pytest.fixture
def living() -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that goes on until the test is over."""
    with subprocess.Popen(["sleep", "1000"]) as daemon:
        yield daemon
        daemon.kill()


def test_a_slow_daemon_that_lives_is_waited_for(
    tmp_path: Path, living: subprocess.Popen[bytes]
) -> None:
    """However often it is silent; nothing is said of one that comes soon."""
    slow = session(*[SILENT] * 50, None)
    wait(slow, master("sleep"), tmp_path, living, tmp_path / "out")
    assert not list(slow.tries)
    assert slow.err.getvalue() == ""  # type: ignore[attr-defined]  # a StringIO


def test_who_waits_for_long_is_told_once_what_for(
    tmp_path: Path, living: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster is made, whatever comes of the daemon."""
    monkeypatch.setattr(master_start, "_SAID_AFTER_S", 0)
    slow = session(SILENT, SILENT, None)
    wait(slow, master("sleep"), tmp_path, living, tmp_path / "out")
    said = f"The cluster is made; waiting for its master daemon (pid {living.pid}).\n"
    assert slow.err.getvalue() == said  # type: ignore[attr-defined]  # a StringIO


def test_a_daemon_that_lives_and_is_silent_for_too_long_is_left_as_it_is(
    tmp_path: Path, living: subprocess.Popen[bytes]
) -> None:
    """The cluster is made; the status says that no master answers, the hint what to look at."""
    output = tmp_path / "out"
    with pytest.raises(Failure, match=r"The cluster is made, .* has not answered") as failed:
        wait(session(SILENT), master("sleep"), tmp_path, living, output, patience_s=0)
    assert f"pid {living.pid}" in failed.value.message
    assert failed.value.status == Status.NOT_MASTER
    assert failed.value.hint == f"see {output}; gnt-cluster info answers once it does"
    assert living.poll() is None


def test_a_daemon_that_ended_is_told_with_the_line_that_starts_it(tmp_path: Path) -> None:
    """As the user that it is to be."""
    output = tmp_path / "out"
    output.write_text("serving\nthe port is taken\n")
    place = master("cairn-master", user=USER)
    with subprocess.Popen(["sh", "-c", "exit 3"]) as daemon:
        daemon.wait()
        with pytest.raises(Failure, match="status 3: the port is taken") as failed:
            wait(session(SILENT), place, tmp_path, daemon, output)
    assert failed.value.status == Status.FAILURE
    assert failed.value.hint.endswith(f"runuser -u {USER} -- cairn-master --dir {tmp_path}")


def test_who_does_not_want_to_wait_leaves_the_daemon_starting(
    tmp_path: Path, living: subprocess.Popen[bytes]
) -> None:
    """Ctrl-C ends the command, and says that the cluster is made."""
    tired = session(SILENT, KeyboardInterrupt())
    with pytest.raises(Failure, match=r"The cluster is made; .* goes on starting") as failed:
        wait(tired, master("sleep"), tmp_path, living, tmp_path / "out")
    assert failed.value.status == Status.INTERRUPTED
    assert living.poll() is None


def test_a_unit_is_named_instead_of_a_process(tmp_path: Path) -> None:
    """And its journal instead of a file."""
    unit = Master(directory="master", node="node1", unit="cairn-master.service")
    with pytest.raises(Failure, match=r"cairn-master\.service") as failed:
        wait(session(SILENT), unit, tmp_path, None, tmp_path / "out", patience_s=0)
    assert "journalctl -u cairn-master.service" in failed.value.hint
