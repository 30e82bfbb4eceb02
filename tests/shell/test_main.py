"""The programs as a whole: whatever is typed ends with words and a status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shell import grammar, main, plugins
from shell.config import ClientConfig, Ssh
from tests.commands.building import Town
from tests.shell.stand_in import Master, run

WORDS = st.sampled_from(
    ["web1", "web1.example.net", "node1", "default", "0", "1g", "-1", "", "*", "a=b", "0:size=1",
     "all", "status == 1", "\x00", "name", "--", "+tags", "json", "é", "812", "10:42", "-15m",
     "cluster", "1d"]
)  # fmt: skip


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """Draw a command line: a command, some of its options, some words."""
    tool = grammar.load(draw(st.sampled_from([t for t in grammar.TOOLS if t != "gnt-log"])))
    name = draw(st.sampled_from(sorted(set(tool.commands) - {"init"})))
    words = [tool.tool, name]
    for option in draw(st.lists(st.sampled_from(tool.options_of(tool.commands[name])), max_size=4)):
        words.append(draw(st.sampled_from(option.names)))
        if not option.is_flag:
            words.append(draw(WORDS | st.sampled_from([*option.choices, "yes"])))
    return words + draw(st.lists(WORDS, max_size=3))


@pytest.fixture(autouse=True, scope="module")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is typed may name a file to write (`--ticket-file a=b`): not in the project's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("typed"))
        yield


@pytest.mark.property
@settings(max_examples=400, deadline=None)
@given(lines())
@example(["gnt-node", "add", "\x00"])
@example(["gnt-instance", "console", "web1"])
def test_whatever_is_typed_ends_in_words(line: list[str]) -> None:
    """No command line makes the program fail in a way that it does not know."""
    town = Town()
    town.add_instance(1)
    # no machine is prepared over SSH
    settings = ClientConfig(key_file="operator.key", ssh=Ssh(command=("no-such-ssh",)))
    ran = run(line, Master(town), settings=settings)
    assert ran.status in (0, 1, 2, 5, 12, 13, 14)
    assert "Internal error" not in ran.err
    # as with grep, finding nothing is status 1 and no words
    assert ran.status in (0, 14) or ran.err or line[1] == "search-tags"


def test_arguments_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """GNT_INSTANCE_LIST holds arguments that stand before those that are typed."""
    monkeypatch.setenv("GNT_INSTANCE_LIST", "-o name --no-headers")
    town = Town()
    town.add_instance(1)
    assert run("gnt-instance list", Master(town)).out == "web1.example.net\n"


class Plugin:
    """An entry point as the installed packages have them."""

    name = "lab"

    @staticmethod
    def load() -> click.Command:
        @click.command()
        @click.option("--status", type=int, default=0)
        def lab(status: int) -> int:
            click.echo("the lab speaks")
            return status

        return lab


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("slow node1 x", "'x' is not a valid float"),
        ("kill node1 -s KILL", "No such option"),
        ("nosuch", "No such command"),
        ("fail node1", "Missing argument"),
    ],
)
def test_a_wrong_line_of_a_plugin_is_a_usage_error(
    line: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words and status 2, and no traceback."""
    assert main.run_cairn(["lab", *line.split()]) == 2
    assert says in capsys.readouterr().err


def test_plugins(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A command of another package is listed without being loaded, and runs under its name."""
    from importlib import metadata

    def found(*, group: str, name: str = "lab") -> list[Any]:
        assert group == plugins.GROUP
        return [Plugin] if name == "lab" else []

    monkeypatch.setattr(metadata, "entry_points", found)
    assert plugins.plugin_names() == ["lab"]
    assert main.run_cairn(["lab", "--status", "3"]) == 3
    assert capsys.readouterr().out == "the lab speaks\n"
    assert main.run_cairn(["--help"]) == 0
    assert "lab" in capsys.readouterr().out


@pytest.mark.acceptance
def test_a_closed_pipe_is_no_error_to_talk_about() -> None:
    """`gnt-instance list-fields | head -1` ends without a traceback."""
    program = (
        "import sys; from shell.main import run; sys.exit(run('gnt-instance', ['list-fields']))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")
