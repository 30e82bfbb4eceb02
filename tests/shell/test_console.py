"""gnt-instance console: what it prints, and what it would run."""

from __future__ import annotations

import pytest

from tests.commands.building import Town
from tests.shell.stand_in import Master, run, succeeded

SERIAL = {
    "instance": "web1.example.net", "kind": "ssh", "message": None, "host": "node1.example.net",
    "port": None, "user": "root", "command": "socat STDIO,raw UNIX-CONNECT:/run/i/serial",
    "display": None, "address": "192.0.2.1",
}  # fmt: skip


@pytest.fixture
def master() -> Master:
    town = Town()
    town.add_instance(1)
    return Master(town)


@pytest.mark.parametrize(
    ("told", "printed"),
    [
        (
            {},
            (
                "ssh -t -q -oEscapeChar=none -oHashKnownHosts=no root@node1.example.net"
                " 'socat STDIO,raw UNIX-CONNECT:/run/i/serial'"
            ),
        ),
        ({"address": "127.0.0.1"}, "socat STDIO,raw UNIX-CONNECT:/run/i/serial"),
        (
            {"kind": "vnc", "host": "192.0.2.1", "port": 11004, "display": 5104},
            (
                "Instance web1.example.net has VNC listening on 192.0.2.1:11004 (display 5104), "
                "URL <vnc://192.0.2.1:11004/>"
            ),
        ),
        (
            {"kind": "spice", "host": "192.0.2.1", "port": 11004},
            "Instance web1.example.net has SPICE listening on 192.0.2.1:11004",
        ),
        ({"kind": "msg", "message": "it has no console"}, "it has no console"),
    ],
)
def test_how_a_console_is_reached(master: Master, told: dict[str, object], printed: str) -> None:
    """On the node itself no SSH is needed; a screen is named; what there is not is said."""
    master.news = [succeeded(1, {**SERIAL, **told})]
    ran = run("gnt-instance console --show-cmd web1", master)
    assert (ran.status, ran.out) == (0, f"{printed}\n")
    (op,) = master.submitted[0][1].jobs[0].ops
    assert op.name == "OP_INSTANCE_CONSOLE"
