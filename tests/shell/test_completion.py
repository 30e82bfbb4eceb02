"""What completes a line, and the script that asks for it."""

from __future__ import annotations

import subprocess

import pytest

from shell import completion
from shell.completion import candidates
from tests.commands.building import Town
from tests.shell.stand_in import Master


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    town.add_instance(1)
    town.add_instance(2)
    master = Master(town)

    def names(table: str, prefix: str) -> list[str]:
        from commands.api import Names, NamesReply
        from eventstore.wire import frames

        reply = master.ask("names", frames.encode(Names(table=table, prefix=prefix)), None)
        assert isinstance(reply, NamesReply)
        return list(reply.names)

    monkeypatch.setattr(completion, "_names", names)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("gnt-instance st", ["start", "startup", "stop"]),
        ("cairn ins", ["instance"]),
        ("cairn instance li", ["list", "list-fields", "list-tags"]),
        ("/usr/bin/gnt-instance startup web2", ["web2.example.net"]),
        ("gnt-instance startup --force-m", ["--force-multiple"]),
        ("gnt-instance add -n node1:no", ["node1:node1", "node1:node2", "node1:node3"]),
        ("gnt-instance add -t dr", ["drbd"]),
        ("gnt-node modify -D ", ["no", "yes"]),
        ("gnt-instance rename web1 ", []),
        ("gnt-instance -x --y z", []),
        ("ls ", []),
    ],
)
def test_candidates(line: str, found: list[str]) -> None:
    """Commands, options, values and live names complete where they may stand."""
    assert candidates(line.split(" ")) == found


def test_nothing_completes_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without settings or a master the names are missing, and nothing is written."""
    monkeypatch.undo()
    monkeypatch.setenv("CAIRN_CONFIG", "/nonexistent/client.json")
    assert completion.run(["words", "2", "gnt-instance", "startup", ""]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_script_is_bash(capsys: pytest.CaptureFixture[str]) -> None:
    """Bash reads the script without complaint."""
    assert completion.run(["bash"]) == 0
    script = capsys.readouterr().out
    assert "gnt-instance" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=10)
