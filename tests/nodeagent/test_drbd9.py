"""DRBD 9 as it is asked and read, on a scripted machine.

What the tools print was recorded from DRBD 9.2.18 and 9.3.2; no driver here ran on such a module.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from nodeagent.calls import Device, DiskSeen, DiskSpec
from nodeagent.errors import BadCall, NodeAgentError, StateMismatch
from nodeagent.storage.drbd import Drbd
from nodeagent.storage.drbd9 import GLANCE_S
from nodeagent.storage.drbd_metadata import generation_of, read_superblock
from nodeagent.storage.drbd_state import Resource
from nodeagent.storage.drbd_status import read_show9, read_status
from tests.nodeagent.simulated_lab import Clock
from tests.nodeagent.test_drbd import SCOPE, Kernel, spec, superblock

V09 = 0x8374026D
HEADER = "version: 9.2.18 (api:2/proto:118-124)\nTransports (api:21): tcp (9.2.18)\n"
# `drbdsetup status --json` of 9.3.2: a peer that is not reached
CONNECTING = """[
{
  "name": "r0",
  "node-id": 0,
  "role": "Secondary",
  "devices": [
    { "volume": 0, "minor": 0, "disk-state": "Inconsistent", "size": 131032 } ],
  "connections": [
    {
      "peer-node-id": 1,
      "name": "faketwo",
      "connection-state": "Connecting",
      "peer-role": "Unknown",
      "peer_devices": [
        { "volume": 0, "replication-state": "Off", "peer-disk-state": "DUnknown",
          "out-of-sync": 131032, "percent-in-sync": 0.00 } ]
    } ]
}
]"""
SHOWN = """\
resource "cairn-d1" {
    options {
        auto-promote    	no;
    }
    _this_host {
        node-id			0;
        volume 0 {
            device			minor 0;
            disk			"/dev/xenvg/d1.data";
            meta-disk			"/dev/xenvg/d1.meta";
            disk {
                size            	262144s; # bytes
            }
        }
    }
    connection {
        _peer_node_id 1;
        path {
            _this_host ipv4 10.77.1.11:11000;
            _remote_host ipv4 10.77.1.12:11000;
        }
        net {
            allow-two-primaries	yes;
            cram-hmac-alg   	"sha256";
            shared-secret   	"s";
            _name           	"peer";
        }
        volume 0 {
            disk {
                resync-rate     	61440k; # bytes/second
            }
        }
    }
}
"""


def status(
    connection: str = "Connected",
    replication: str = "Established",
    *,
    role: str = "Primary",
    peer_role: str = "Secondary",
    disk: str = "UpToDate",
    peer_disk: str = "UpToDate",
    **details: float,
) -> str:
    """What `drbdsetup status --json` says of minor 0; no connection if `connection` is empty."""
    peer = {
        "volume": 0, "replication-state": replication, "peer-disk-state": peer_disk,
        "peer-client": False, "resync-suspended": "no",
        **{name.replace("_", "-"): value for name, value in details.items()},
    }  # fmt: skip
    connections: list[dict[str, Any]] = [
        {"peer-node-id": 1, "name": "peer", "connection-state": connection,
         "peer-role": peer_role, "peer_devices": [peer]}
    ]  # fmt: skip
    return json.dumps(
        [{"name": "cairn-d1", "node-id": 0, "role": role, "suspended": False,
          "devices": [{"volume": 0, "minor": 0, "disk-state": disk, "client": False}],
          "connections": connections if connection else []}]
    )  # fmt: skip


def numbered(**fields: Any) -> DiskSpec:
    """Disk d1, in which this node is number 0 and its peer number 1."""
    return msgspec.structs.replace(spec(**fields), node_id=0, peer_node_id=1)


@pytest.fixture
def kernel() -> Kernel:
    kernel = Kernel()
    kernel.files["/proc/drbd"] = HEADER
    kernel.files["/sys/module/drbd_transport_tcp"] = ""
    kernel.answers["drbdsetup status"] = "# No currently configured DRBD found.\n"
    return kernel


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def drbd(kernel: Kernel, clock: Clock) -> Drbd:
    def now() -> float:
        clock.now += 1.0  # each look takes a second: no test waits
        return clock.now

    return Drbd(kernel, now=now)


def ensure(drbd: Drbd, disk: DiskSpec | None = None, *, fresh: bool = False) -> None:
    """Make the call."""
    drbd.ensure(
        disk or numbered(), data=Device(path="/dev/xenvg/d1.data"),
        meta=Device(path="/dev/xenvg/d1.meta"), fresh=fresh, source=False, scope=SCOPE,
    )  # fmt: skip


@pytest.fixture
def up(drbd: Drbd, kernel: Kernel) -> Drbd:
    """The mirror is up, connected, primary here, and DRBD was asked how it is configured."""
    kernel.answers["drbdsetup status"] = status()
    kernel.answers["drbdsetup show"] = SHOWN
    kernel.files["/sys/block/drbd0/size"] = str(128 * 2048)
    ensure(drbd)
    effects(kernel)
    return drbd


def effects(kernel: Kernel) -> list[str]:
    """The lines since the last time that change something."""
    lines, kernel.commands = kernel.commands, []
    looks = ("drbdsetup status", "drbdsetup show", "dmesg")
    return [line for line in lines if not line.startswith(looks)]


def test_recorded_states_are_read() -> None:
    """In the words of 8.4; nothing configured, and what is not understood."""
    (state,) = read_status(CONNECTING).values()
    assert (state.connection, state.role, state.disk) == (
        "WFConnection", "Secondary", "Inconsistent",
    )  # fmt: skip
    assert state.seen("d") == DiskSeen(
        "d", "degraded", "secondary", words="WFConnection Inconsistent/DUnknown"
    )
    assert read_status("# No currently configured DRBD found.\n") == read_status("[\n]\n") == {}
    with pytest.raises(NodeAgentError, match="not understood"):
        read_status('[{"devices": [{"minor": "x"}]}]')


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (status(), "ok"),
        (status(replication="VerifyS"), "ok"),
        (status(peer_disk="Diskless"), "degraded"),
        (status(disk="Diskless"), "faulty"),
        (status(disk="Failed"), "faulty"),
        (status("Connecting", "Off", peer_disk="DUnknown"), "degraded"),
        (status("StandAlone", "Off", peer_disk="DUnknown"), "degraded"),
        (status(""), "degraded"),
        (status("Connecting", "Off", disk="Outdated", peer_disk="DUnknown"), "degraded"),
        (status(replication="PausedSyncT", disk="Inconsistent"), "syncing"),
        (status(replication="WFBitMapS", peer_disk="Consistent"), "syncing"),
    ],
)
def test_states_are_told_as_what_they_are(said: str, state: str) -> None:
    """Ok is said only where both sides have all the data; alone is alone."""
    assert read_status(said)[0].seen("d").state == state


def test_a_sync_says_how_far_it_is_and_how_long_it_takes() -> None:
    """Percent of this resync where it is told, else of all; a time only where it is known."""
    syncing = status(
        replication="SyncSource", peer_disk="Inconsistent", percent_in_sync=18.48,
        percent_resync_done=3.35, estimated_seconds_to_finish=213,
    )  # fmt: skip
    assert read_status(syncing)[0].seen("d") == DiskSeen("d", "syncing", "primary", 3.35, 213.0)
    unknown = status(
        replication="SyncTarget", disk="Inconsistent", percent_in_sync=18.48,
        estimated_seconds_to_finish=987654321,
    )  # fmt: skip
    assert read_status(unknown)[0].seen("d") == DiskSeen("d", "syncing", "primary", 18.48, None)


def test_the_configuration_is_read() -> None:
    """Names stand in quotes, the peer has a number, the addresses are those of a path."""
    assert read_show9(SHOWN) == {
        "cairn-d1": Resource(
            0, "/dev/xenvg/d1.data", "/dev/xenvg/d1.meta", "10.77.1.11:11000", "10.77.1.12:11000",
            two_primaries=True, peer_node=1,
        )
    }  # fmt: skip
    alone = SHOWN.partition("    connection {")[0] + "}\n"
    assert read_show9(alone)["cairn-d1"].peer_node is None


def test_a_new_side_is_made_in_these_steps(drbd: Drbd, kernel: Kernel) -> None:
    """Number, minor, metadata that count as equal on both sides, disk, peer, path, speed, word."""
    ensure(drbd, numbered(**{"dynamic-resync": True, "c-max-rate": 9, "disk-custom": "--x"}),
           fresh=True)  # fmt: skip
    ids = f"{generation_of('d1'):016X}:{0:016X}:{0:016X}:{0:016X}:1:1:"
    assert effects(kernel) == [
        "drbdsetup new-resource cairn-d1 0 --auto-promote=no",
        "drbdsetup new-minor cairn-d1 0 0",
        "drbdmeta --force 0 v09 /dev/xenvg/d1.meta flex-external create-md 1",
        f"drbdmeta --force --node-id 1 0 v09 /dev/xenvg/d1.meta flex-external set-gi {ids}",
        (
            "drbdsetup attach 0 /dev/xenvg/d1.data /dev/xenvg/d1.meta flexible "
            "--on-io-error=detach --size=128m --x"
        ),
        (
            "drbdsetup new-peer cairn-d1 1 --_name=peer --protocol=C "
            "--after-sb-0pri=discard-zero-changes --after-sb-1pri=consensus"
        ),
        "drbdsetup new-path cairn-d1 1 ipv4:10.77.1.11:11000 ipv4:10.77.1.12:11000",
        "drbdsetup peer-device-options --set-defaults cairn-d1 1 0 --c-max-rate=9",
        "drbdsetup connect cairn-d1 1",
    ]


def test_roles_are_of_the_resource(up: Drbd, kernel: Kernel) -> None:
    """Two primaries are allowed by the peer's number, one is made by the name."""
    kernel.answers["drbdsetup status"] = status(role="Secondary")
    up.set_role(numbered(), primary=True, dual=False, scope=SCOPE)
    kernel.answers["drbdsetup status"] = status(role="Primary", peer_role="Secondary")
    up.set_role(numbered(), primary=False, dual=True, scope=SCOPE)
    assert effects(kernel) == [
        "drbdsetup primary cairn-d1",
        "drbdsetup net-options cairn-d1 1 --allow-two-primaries=no",
        "drbdsetup net-options cairn-d1 1 --allow-two-primaries=yes",
        "drbdsetup secondary cairn-d1",
    ]


def test_other_parameters_are_set_once(up: Drbd, kernel: Kernel) -> None:
    """Those of the disk, and the speed, which is the peer's; the same again is no command."""
    for _ in range(2):
        ensure(up, numbered(**{"resync-rate": 5}))
    assert effects(kernel) == [
        "drbdsetup disk-options --set-defaults 0 --on-io-error=detach",
        (
            "drbdsetup peer-device-options --set-defaults cairn-d1 1 0 --c-plan-ahead=0 "
            "--resync-rate=5"
        ),
    ]


def test_another_peer_is_turned_to(up: Drbd, kernel: Kernel) -> None:
    """The old one goes with its connection; the new one has its number, at another address."""
    moved = msgspec.structs.replace(numbered(), peer_address="10.77.1.13")
    kernel.files["/sys/block/drbd0/size"] = str(128 * 2048)
    ensure(up, moved)
    assert [line.split()[1] for line in effects(kernel)] == [
        "disconnect", "del-peer", "new-peer", "new-path", "peer-device-options", "connect",
    ]  # fmt: skip


def test_a_dropped_connection_is_tried_again_and_a_split_is_said(
    drbd: Drbd, kernel: Kernel
) -> None:
    """The peer is known still: it is only connected to. No side is told to give its data up."""
    kernel.heads["/dev/xenvg/d1.meta"] = superblock(0xABCDEF0123456788, magic=V09)
    kernel.answers["drbdsetup status"] = status("StandAlone", "Off", peer_disk="DUnknown")
    kernel.answers["drbdsetup show"] = SHOWN
    kernel.files["/sys/block/drbd0/size"] = str(128 * 2048)
    kernel.answers["dmesg"] = (
        "[1.0] drbd cairn-d1/0 drbd0 peer: Split-Brain detected but unresolved, "
        "dropping connection!\n"
    )
    with pytest.raises(StateMismatch, match="split brain on disk d1"):
        ensure(drbd, numbered(**{"resync-rate": 5}))
    orders = [line.split()[1] for line in effects(kernel)]
    assert orders[-2:] == ["peer-device-options", "connect"]
    assert not {"new-peer", "del-peer"} & set(orders)
    assert not any("discard-my-data" in line for line in kernel.commands)


def test_metadata_of_the_other_version_are_left_alone(drbd: Drbd, kernel: Kernel) -> None:
    """They are known by their number, and never converted or overwritten."""
    found = read_superblock(superblock(0xABCDEF0123456788, magic=V09))
    assert found is not None
    assert found.layout == "v09"
    kernel.heads["/dev/xenvg/d1.meta"] = superblock(0xABCDEF0123456788)
    with pytest.raises(StateMismatch, match="v08 of another DRBD, here it is v09"):
        ensure(drbd, fresh=True)
    assert not any("drbdmeta" in line for line in kernel.commands)


def test_a_disk_of_an_older_mirror_has_no_numbers(drbd: Drbd, kernel: Kernel) -> None:
    """Its sides cannot be told apart: refused, with what to do."""
    with pytest.raises(BadCall, match=r"made for DRBD 8\.4"):
        ensure(drbd, spec())


def test_looking_all_the_time_is_cheap(up: Drbd, kernel: Kernel, clock: Clock) -> None:
    """A look that is a few seconds old will do for reports, and for nothing else."""
    kernel.commands.clear()
    for _ in range(3):
        clock.now -= 0.9  # hardly any time passes
        up.seen()
    assert len(kernel.commands) <= 1
    clock.now += GLANCE_S
    kernel.answers["drbdsetup status"] = status("Connecting", "Off", peer_disk="DUnknown")
    assert [seen.state for seen in up.seen()] == ["degraded"]


def test_what_is_missing_is_named(drbd: Drbd, kernel: Kernel) -> None:
    """The transport is a module of its own."""
    assert drbd.needs() == ()
    del kernel.files["/sys/module/drbd_transport_tcp"]
    assert "modprobe it" in drbd.needs()[0]
