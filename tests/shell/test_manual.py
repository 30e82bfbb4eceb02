"""Help, and the page of all commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shell import grammar, main, manual, manual_writer
from tests.shell.stand_in import run


def test_descriptions_are_the_opcodes_own() -> None:
    """The file of descriptions says what the opcodes say (else: python -m shell.manual_writer)."""
    assert grammar.DESCRIPTIONS.read_text() == manual_writer.descriptions()


def test_the_page_is_up_to_date() -> None:
    """docs/commands.md is what the grammar gives (else: python -m shell.manual_writer)."""
    assert manual_writer.PAGE.read_text() == manual.page()


@pytest.mark.parametrize("tool", grammar.TOOLS)
def test_every_command_has_help(tool: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help of each command shows each of its options, and ends with status 0."""
    words = grammar.load(tool)
    for name, command in words.commands.items():
        assert main.run(tool, [name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert all(option.longest in shown for option in words.options_of(command))


@pytest.mark.parametrize("line", ["", "--help", "--version", "nonsense"])
def test_a_tool_by_itself(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A tool without a command, or with a wrong one, says what there is."""
    status = main.run("gnt-node", line.split())
    told = "".join(capsys.readouterr())
    assert status == (0 if line.startswith("--") else 2)
    assert "gnt-node" in told


def test_cairn_is_all_tools() -> None:
    """`cairn instance list` is `gnt-instance list`."""
    from tests.shell.stand_in import Master

    direct = run("gnt-node list", Master())
    assert direct.status == 0
    assert run(["gnt-node", "list"], Master()) == direct
    assert main.run_cairn(["nonsense"]) == 2


HEAVY = ("rich", "yaml", "cryptography", "prompt_toolkit", "apsw", "immutables", "asyncio",
         "numpy", "sqlite_utils", "concurrent.futures")  # fmt: skip


@pytest.mark.parametrize(
    "code",
    [
        "from shell import main; main.run('gnt-instance', ['add', '--help'])",
        (
            "import shell.listing, shell.commands, shell.parsing, shell.session;"
            "import eventstore.clients.client"
        ),
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    """Help and lists load none of the big packages: a command line starts at once."""
    program = f"import sys\n{code}\nprint(*sys.modules, sep='\\n', file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert not set(HEAVY) & set(ended.stderr.split())
