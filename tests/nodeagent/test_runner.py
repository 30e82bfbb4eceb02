"""External commands: their output, their end, and the end of their children."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from nodeagent.errors import CommandFailed, Missing, Stopped
from nodeagent.runner import run_command, run_process
from nodeagent.task_scope import TaskScope

pytestmark = pytest.mark.acceptance


def test_output_is_returned_and_the_environment_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stdout comes back; nothing of the agent's environment is inherited."""
    monkeypatch.setenv("SECRET", "x")
    output = run_command(["env"], scope=TaskScope())
    assert sorted(line.partition("=")[0] for line in output.splitlines()) == ["LC_ALL", "PATH"]
    assert run_command(["cat"], scope=TaskScope(), stdin=b"given") == "given"


def test_arguments_are_not_a_shell_line() -> None:
    """Nothing in an argument is interpreted."""
    odd = "a b; $(false) '\"*"
    assert run_command(["printf", "%s", odd], scope=TaskScope()) == odd


def test_secrets_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the log nor a failure shows the value of an option that is secret; the tool gets
    it."""
    argv = ["sh", "-c", 'test "$1" = --shared-secret=hush && exit 3', "sh", "--shared-secret=hush"]
    with caplog.at_level(logging.INFO), pytest.raises(CommandFailed) as failed:
        run_command(argv, scope=TaskScope())
    assert failed.value.exit_status == 3
    assert failed.value.failure().argv[-1] == "--shared-secret=***"
    assert "=***" in caplog.text


def test_a_failure_bears_argv_status_and_stderr() -> None:
    """What a person needs to see is in the error, and in what travels."""
    argv = ["sh", "-c", "echo out; echo wrong >&2; exit 3"]
    with pytest.raises(CommandFailed) as failed:
        run_command(argv, scope=TaskScope())
    told = failed.value.failure()
    assert (told.code, told.argv, told.exit_status) == ("environment_error", tuple(argv), 3)
    assert told.output == "wrong\n"


def test_a_missing_tool_is_named() -> None:
    """With a hint to install it."""
    with pytest.raises(Missing, match="no-such-tool") as missing:
        run_command(["no-such-tool"], scope=TaskScope())
    assert "install" in missing.value.hint


def test_a_late_command_is_ended_with_its_children(tmp_path: Path) -> None:
    """Its time over, the whole process group is gone, also one that ignores SIGTERM."""
    script = f"trap '' TERM; (trap '' TERM; echo $$ > {tmp_path}/pid; sleep 60) & sleep 60"
    began = time.monotonic()
    with pytest.raises(CommandFailed, match="ended with -9") as failed:
        run_command(["sh", "-c", script], scope=TaskScope(), timeout_s=0.2)
    assert time.monotonic() - began < 10
    assert "killed" in failed.value.hint
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/fd").exists()


def test_a_stopped_task_ends_its_command() -> None:
    """`stop` from another thread ends it at once; the error says that it was half-way."""
    scope = TaskScope()
    stopper = threading.Timer(0.05, lambda: scope.stop("stopped", "withdrawn"))
    stopper.start()
    with pytest.raises(Stopped, match="half-way"):
        run_command(["sleep", "60"], scope=scope)
    stopper.join()


def test_much_output_does_not_block_it() -> None:
    """More than a pipe holds is read as it comes; what is kept is bounded."""
    pieces: list[bytes] = []
    ran = run_process(
        ["sh", "-c", "head -c 3000000 /dev/zero; echo end >&2"],
        scope=TaskScope(), timeout_s=30, on_output=pieces.append,
    )  # fmt: skip
    assert ran.exit_status == 0
    assert sum(map(len, pieces)) == 3_000_004
    assert len(ran.stdout) == 1 << 20
    assert ran.stderr == b"end\n"


def test_a_daemon_that_a_command_leaves_is_not_waited_for() -> None:
    """It holds the pipe open, but the command has ended."""
    began = time.monotonic()
    output = run_command(["sh", "-c", "echo done; sleep 5 & exit 0"], scope=TaskScope())
    assert output == "done\n"
    assert time.monotonic() - began < 4
