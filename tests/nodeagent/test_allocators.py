"""Instance allocators are found, run within their time, and their answers looked at."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from nodeagent.allocators import Allocators
from nodeagent.calls import RunAllocator
from nodeagent.errors import BadCall, CommandFailed, Missing
from nodeagent.runner import run_command
from nodeagent.task_scope import TaskScope

ECHO = """#!/bin/sh
printf '{"success": true, "info": "%s", "result": %s}' "$2" "$(cat "$1")"
"""


def program(directory: Path, name: str, text: str) -> None:
    """Write an allocator."""
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)


def asked(directory: Path, name: str = "mine", **fields: object) -> dict[str, object]:
    """Ask an allocator, and return its answer."""
    request = zlib.compress(json.dumps(["a", 1]).encode())
    call = RunAllocator(allocator=name, request=request, **fields)  # type: ignore[arg-type]
    answer = Allocators([directory], run_command).ask(call, TaskScope())
    found: dict[str, object] = json.loads(zlib.decompress(answer.answer))
    return found


def test_the_program_gets_the_request_as_a_file_and_the_options(tmp_path: Path) -> None:
    """Its answer comes back whole."""
    program(tmp_path, "mine", ECHO)
    answer = asked(tmp_path, options=("--fast",))
    assert answer == {"success": True, "info": "--fast", "result": ["a", 1]}


def test_an_unknown_program_is_answered_with_those_there_are(tmp_path: Path) -> None:
    """Files that cannot be run are none."""
    program(tmp_path, "mine", ECHO)
    (tmp_path / "notes").write_text("no program")
    for name in ("other", "notes"):
        with pytest.raises(Missing) as missing:
            asked(tmp_path, name)
        assert "hail (built in), mine; looked in" in missing.value.hint


@pytest.mark.parametrize("name", ["", "../mine", "a/b", ".hidden", "-x"])
def test_a_path_is_no_name(tmp_path: Path, name: str) -> None:
    """Nothing outside of the search path can be run."""
    with pytest.raises(BadCall, match="cannot be the name"):
        asked(tmp_path, name)


@pytest.mark.parametrize("answer", ["", "[]", "{}", '{"success": 1, "info": ""}', "nonsense"])
def test_what_is_no_answer_is_refused(tmp_path: Path, answer: str) -> None:
    """The error shows what it printed."""
    program(tmp_path, "mine", f"#!/bin/sh\nprintf '%s' '{answer}'\n")
    with pytest.raises(CommandFailed) as failed:
        asked(tmp_path)
    assert "success, info and result" in failed.value.hint
    assert failed.value.output == answer


def test_a_program_that_fails_or_is_late_is_told_so(tmp_path: Path) -> None:
    """Its words come with the failure; what is late is killed."""
    program(tmp_path, "mine", "#!/bin/sh\necho sorry >&2; exit 3\n")
    with pytest.raises(CommandFailed) as failed:
        asked(tmp_path)
    assert (failed.value.exit_status, failed.value.output) == (3, "sorry\n")
    program(tmp_path, "slow", "#!/bin/sh\nexec sleep 600\n")
    with pytest.raises(CommandFailed) as late:
        asked(tmp_path, "slow", time_s=0.1)
    assert "0 s were over" in late.value.hint


def test_a_request_that_was_not_packed_is_refused(tmp_path: Path) -> None:
    """It is not handed on."""
    program(tmp_path, "mine", ECHO)
    call = RunAllocator(allocator="mine", request=b"{}")
    with pytest.raises(BadCall, match="cannot be unpacked"):
        Allocators([tmp_path], run_command).ask(call, TaskScope())
