"""A master daemon on a node is never root's: its files, its process, its unit."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nodeagent.calls import EnsureVoter
from nodeagent.errors import Missing, NodeAgentError
from nodeagent.task_scope import TaskScope
from nodeagent.voter_host import VoterHost
from nodeagent.voter_process import Launcher, OwnProcess, Unit, make_private, rights_of

USER = "daemon"  # of every Debian; owns nothing
STAND_IN = 'id -u >"$2/who"; echo $$ >"$2/master.pid"; exec tail -f "$2/who" "$2" 2>&1'
DAEMON = ("sh", "-c", STAND_IN, "cairn-master")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may take another's rights")
CALL = EnsureVoter(cluster_id="c1", name="node1", address="127.0.0.1")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users can reach, as /var/lib/cairn is; pytest's own are root's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def host(directory: Path, launcher: Launcher, user: str = "") -> VoterHost:
    return VoterHost(directory, launcher, user=user, address="", ports=(0, 0, 0, 0))


def test_without_a_user_it_is_the_agents_own(tmp_path: Path) -> None:
    """As in a lab, where nothing is root's."""
    voter = host(tmp_path / "master", OwnProcess(DAEMON))
    made = voter.ensure(CALL, TaskScope())
    assert voter.ensure(CALL, TaskScope()) == made  # it runs, and is kept
    assert (tmp_path / "master/who").read_text() == f"{os.geteuid()}\n"
    voter.remove("c1")
    assert not (tmp_path / "master").exists()


@needs_root
@pytest.mark.acceptance
def test_the_daemon_and_its_files_are_its_users(open_directory: Path) -> None:
    """Everything, and nobody else may look; also after it was removed and made again."""
    uid = pwd.getpwnam(USER).pw_uid
    directory = open_directory / "master"
    voter = host(directory, OwnProcess(DAEMON, USER), USER)
    for _ in range(2):
        voter.ensure(CALL, TaskScope())
        files = [directory, *directory.rglob("*")]
        assert {path.lstat().st_uid for path in files} == {uid}
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert (directory / "who").read_text() == f"{uid}\n"
        voter.remove("c1")
        assert not directory.exists()


@needs_root
@pytest.mark.acceptance
def test_root_is_not_led_astray_by_a_link(open_directory: Path) -> None:
    """What the daemon's user puts into its directory gives it none of root's files."""
    secret = open_directory / "secret"
    secret.write_text("of root")
    secret.chmod(0o600)
    directory = open_directory / "master"
    make_private(directory, USER)
    voter = host(directory, OwnProcess(DAEMON, USER), USER)
    (directory / "master.json").symlink_to(secret)  # which is read, if it is there
    with pytest.raises(NodeAgentError, match="Permission denied"):
        voter.ensure(CALL, TaskScope())
    (directory / "master.json").unlink()
    (directory / "master.json.new").symlink_to(secret)  # which is written, and then renamed
    voter.ensure(CALL, TaskScope())
    voter.remove("c1")
    assert secret.read_text() == "of root"


@needs_root
@pytest.mark.acceptance
def test_only_this_thread_has_the_users_rights(open_directory: Path) -> None:
    """Others go on as root meanwhile, and this one afterwards."""
    mine = open_directory / "mine"
    mine.write_text("of root")
    mine.chmod(0o600)
    with ThreadPoolExecutor(max_workers=1) as other:
        assert other.submit(mine.read_text).result() == "of root"
        with rights_of(USER):
            with pytest.raises(PermissionError):
                mine.read_text()
            assert other.submit(mine.read_text).result() == "of root"
    assert mine.read_text() == "of root"


def test_a_user_who_is_not_there_is_named(tmp_path: Path) -> None:
    """With the command that makes it; nothing was made."""
    voter = host(tmp_path / "master", OwnProcess(("true",), "no-such-user"), "no-such-user")
    with pytest.raises(Missing, match="no-such-user") as missing:
        voter.ensure(CALL, TaskScope())
    assert "useradd --system" in missing.value.hint


def systemctl(tmp_path: Path, body: str) -> Unit:
    path = tmp_path / "systemctl"
    path.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/orders\n{body}\n')
    path.chmod(0o755)
    return Unit("cairn-master.service", (str(path),))


@pytest.mark.acceptance
def test_a_unit_is_enabled_and_disabled(tmp_path: Path) -> None:
    """So that it comes up by itself at boot, and does not once it is removed."""
    directory = tmp_path / "master"
    start = f"setsid sh -c '{STAND_IN}' cairn-master --dir {directory} >/dev/null 2>&1 &"
    end = f"kill $(cat {directory}/master.pid)"
    voter = host(
        directory, systemctl(tmp_path, f'case "$1" in enable) {start} ;; *) {end} ;; esac')
    )
    voter.ensure(CALL, TaskScope())
    voter.remove("c1")
    assert (tmp_path / "orders").read_text() == (
        "enable --now cairn-master.service\ndisable --now cairn-master.service\n"
    )
    assert not directory.exists()


@pytest.mark.acceptance
def test_a_unit_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """With what systemctl said, and where the units are."""
    unit = systemctl(tmp_path, "echo Unit not found. >&2; exit 5")
    with pytest.raises(Missing, match=r"Unit not found\.") as missing:
        host(tmp_path / "master", unit).ensure(CALL, TaskScope())
    assert "packaging/systemd" in missing.value.hint
