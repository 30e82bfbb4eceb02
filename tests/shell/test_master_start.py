"""The master daemon of a new cluster is started as whom it is to be."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from shell.config import Master
from shell.failure import Failure
from shell.master_start import hand_over, start

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
    assert "by hand" in failed.value.hint
