"""What is played on a stage ends with it."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tools.lab import stage as module
from tools.lab.layout import LabError
from tools.lab.stage import Stage, played, wait_for


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stages are set up in the test's directory, and nothing is waited for."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(module, "WITHIN_S", 0.0)
    return tmp_path


def script(stage: Stage, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let every tool be this script."""
    path = stage.layout.directory / "tool"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setattr(module.daemons, "script", lambda name: str(path))


@pytest.mark.acceptance
def test_a_line_that_fails_ends_the_demo(
    own_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, with the line, what it printed, and its status; nothing is left."""
    monkeypatch.setattr(module, "WITHIN_S", 60.0)

    def play(stage: Stage) -> None:
        script(stage, monkeypatch, "echo no room; exit 4")
        stage.type("gnt-node list")

    assert played("test-", play) == 1
    told = capsys.readouterr()
    assert told.out == "$ gnt-node list\nno room\n"
    assert "`gnt-node list` ended with status 4" in told.err
    assert not list(own_place.iterdir())


@pytest.mark.acceptance
def test_a_line_that_does_not_end_is_ended(
    own_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When its time is over the demo fails, and the process does not outlive it."""
    processes: list[subprocess.Popen[str]] = []

    def play(stage: Stage) -> None:
        script(stage, monkeypatch, "exec sleep 1000")
        processes.append(stage.begin("gnt-job watch 1"))
        stage.finish("gnt-job watch 1", processes[0])

    assert played("test-", play) == 1
    assert "did not end within 0 s" in capsys.readouterr().err
    assert processes[0].returncode == -signal.SIGKILL
    assert not list(own_place.iterdir())


def test_what_is_not_seen_in_time_fails_in_words() -> None:
    """Looking ends, and the words are those of who looked."""
    with pytest.raises(LabError, match="nobody leads"):
        wait_for(lambda: None, "nobody leads")


def test_signals_are_what_they_were_afterwards() -> None:
    """Whatever the stage did with them."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    assert played("test-", lambda stage: None) == 0
    assert [signal.getsignal(number) for number in numbers] == before
