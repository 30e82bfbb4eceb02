"""How the console of a KVM guest is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent.calls import ConsoleSeen
from nodeagent.hypervisor.kvm.console import console
from nodeagent.hypervisor.kvm.parameters import parameters
from nodeagent.hypervisor.kvm.records import Place
from tests.nodeagent.kvm.launching import Value, spec

QUIET: dict[str, Value] = {"serial_console": False}


@pytest.mark.parametrize(
    ("hvparams", "expected"),
    [
        (
            {"vnc_bind_address": "0.0.0.0"},
            ConsoleSeen(
                kind="ssh",
                command=(
                    "socat", "STDIO,raw,echo=0,escape=0x1d", "UNIX-CONNECT:/run/kvm/i1/serial",
                ),
            ),
        ),
        (
            {**QUIET, "vnc_bind_address": "0.0.0.0"},
            ConsoleSeen(kind="vnc", port=11004, display=5104),
        ),
        (
            {**QUIET, "vnc_bind_address": "192.0.2.7"},
            ConsoleSeen(kind="vnc", host="192.0.2.7", port=11004, display=5104),
        ),
        ({**QUIET, "spice_bind": "::"}, ConsoleSeen(kind="spice", port=11004)),
    ],
)  # fmt: skip
def test_the_serial_console_comes_first(hvparams: dict[str, Value], expected: ConsoleSeen) -> None:
    """Then VNC, then SPICE; the node's own address goes without saying."""
    wanted = spec(**hvparams)
    place = Place(Path("/run/kvm"), "i1")
    assert console(wanted, parameters(wanted.hvparams), place) == expected


def test_where_there_is_no_console_that_is_said() -> None:
    """With the parameters that would make one, or where the screen's socket is."""
    place = Place(Path("/run/kvm"), "i1")
    for hvparams, said in ((QUIET, "serial_console"), ({**QUIET, "vnc_bind_address": "/v"}, "/v/")):
        wanted = spec(**hvparams)
        assert said in console(wanted, parameters(wanted.hvparams), place).message
