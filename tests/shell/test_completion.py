"""What completes a line, and the script that asks for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shell import completion
from shell.completion import candidates
from tests.commands.building import Town
from tests.shell.stand_in import Master

# tables that a Town has not
OTHERS = {"os": ["debian", "redhat"], "job": ["8", "12", "17"], "allocator": ["hail", "mine"]}


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town()
    town.add_instance(1)
    town.add_instance(2)
    master = Master(town)

    def names(table: str, prefix: str) -> list[str]:
        from commands.api import Names, NamesReply
        from eventstore.wire import frames

        if table in OTHERS:
            return [name for name in OTHERS[table] if name.startswith(prefix)]
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
        ("gnt-instance add -o de", ["debian"]),
        ("gnt-node evacuate -I h", ["hail"]),
        ("gnt-instance add --os-type=re", ["--os-type=redhat"]),
        ("gnt-instance add --node=node1:node2", ["--node=node1:node2"]),
        ("gnt-instance add --no-install=", []),
        ("gnt-instance list -o name,ser", ["name,serial_no"]),
        ("gnt-node list -o +mf", ["+mfree"]),
        ("gnt-node list --output=mf", ["--output=mfree"]),
        ("gnt-node list-fields mf", ["mfree"]),
        ("gnt-log export -o ", []),
        ("gnt-log at 8", []),
        ("gnt-log at 812 inst", ["instance"]),
        ("gnt-log at 812 instance li", ["list", "list-tags"]),
        ("gnt-log at 812 instance rem", []),
        ("gnt-log at 812 gnt-instance info web1", ["web1.example.net"]),
        ("gnt-log at 812 instance list -o ser", ["serial_no"]),
        ("gnt-log at 812 nothing ", []),
        ("gnt-log why ", ["cluster", "group", "instance", "node"]),
        ("gnt-log why instance web2", ["web2.example.net"]),
        ("gnt-log why instance web2 vc", ["vcpus"]),
        ("gnt-log why cluster mac_", ["mac_prefix"]),
        ("gnt-log why node node1 ssh", ["ssh_port"]),
        ("gnt-log why node node1 x y", []),
        ("gnt-job info 1", ["12", "17"]),
        ("cairn lab br", ["break"]),
        ("cairn lab up --vo", ["--voters"]),
        ("cairn lab up --voters ", ["1", "3", "5"]),
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
    assert completion.run(["line", "gnt-instance startup ", ""]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_script_is_bash(capsys: pytest.CaptureFixture[str]) -> None:
    """Bash reads the script without complaint."""
    assert completion.run(["bash"]) == 0
    script = capsys.readouterr().out
    assert "gnt-instance" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=10)


@pytest.mark.parametrize(
    ("line", "words", "replies"),
    [
        ("gnt-instance st", ["gnt-instance", "st"], ["start", "startup", "stop"]),
        ("gnt-node modify -D ", ["gnt-node", "modify", "-D", ""], ["no", "yes"]),
        ("gnt-instance add --disk-template=dr",
         ["gnt-instance", "add", "--disk-template", "=", "dr"], ["drbd"]),
        ("gnt-node modify --drained=", ["gnt-node", "modify", "--drained", "="], ["no", "yes"]),
        ("gnt-log at 10:42 inst", ["gnt-log", "at", "10", ":", "42", "inst"], ["instance"]),
        ("gnt-instance list --separator : -o na",
         ["gnt-instance", "list", "--separator", ":", "-o", "na"], ["name"]),
        ("gnt-instance list -o 'na", ["gnt-instance", "list", "-o", "'na"], ["name"]),
    ],
)  # fmt: skip
def test_bash_completes_the_line(
    tmp_path: Path, line: str, words: list[str], replies: list[str]
) -> None:
    """The function that bash calls, with the words as bash breaks them, replies what is to be put
    in the place of the last of these."""
    script = tmp_path / "completion"
    script.write_text(
        'source <(cairn completion bash)\nline=$1; shift; COMP_WORDS=("$@")\n'
        "COMP_LINE=$line COMP_POINT=${#line} COMP_CWORD=$(($# - 1))\n"
        "_cairn_complete\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    ran = subprocess.run(
        ["bash", str(script), line, *words],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
             "CAIRN_CONFIG": "/nonexistent/client.json"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert (ran.stdout.splitlines(), ran.stderr) == (replies, "")
