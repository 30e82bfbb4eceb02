"""DRBD 8.4 as it is asked and read, on a scripted machine; on real ones: tests/real."""

from __future__ import annotations

import struct

import pytest

from nodeagent.calls import Device, DiskSeen, DiskSpec
from nodeagent.errors import BadCall, CommandFailed, NoSuchThing, StateMismatch
from nodeagent.storage.drbd import Drbd
from nodeagent.storage.drbd_metadata import generation_of, new_metadata, read_superblock
from nodeagent.storage.drbd_options import disk_options, net_options
from nodeagent.storage.drbd_state import Resource, read_proc, read_show
from nodeagent.task_scope import TaskScope
from tests.nodeagent.scripted_system import ScriptedSystem, failed
from tests.nodeagent.simulated_lab import Clock
from tests.nodeagent.specs import volume

SCOPE = TaskScope()
HEADER = "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: F73C670A7EC572DB9CF3E5B \n"
SYNCING = """\
 0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----
    ns:87040 nr:0 dw:0 dr:87040 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:n oos:44032
\t[============>.......] sync'ed: 69.7% (44032/131072)K
\tfinish: 0:01:01 speed: 29,012 (29,012) K/sec
"""
CONNECTED = """\
 {}: cs:Connected ro:{} ds:UpToDate/UpToDate C r-----
    ns:0 nr:0 dw:0 dr:0 al:0 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
"""
ALONE = """\
 {}: cs:{} ro:{}/Unknown ds:{}/DUnknown   r-----
    ns:0 nr:0 dw:0 dr:0 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:261888
"""
SHOWN = """\
resource cairn-d1 {
    options {
    }
    net {
        allow-two-primaries	yes;
        cram-hmac-alg   	"sha256";
        shared-secret   	"a { strange; \\"one\\"";
    }
    _remote_host {
        address			ipv4 10.77.1.12:11000;
    }
    _this_host {
        address			ipv4 10.77.1.11:11000;
        volume 0 {
            device			minor 0;
            disk			"/dev/xenvg/d1.data";
            meta-disk			"/dev/xenvg/d1.meta";
            disk {
                size            	524288s; # bytes
                resync-rate     	61440k; # bytes/second
            }
        }
    }
}
resource theirs {
    options {
    }
    _this_host {
        volume 0 {
            device			minor 7;
        }
    }
}
"""


def superblock(generation: int, magic: int = 0x8374026B) -> bytes:
    """The first bytes of a metadata device."""
    return struct.pack(">QQ24xQ8xII", 524288, generation, 0, 0x91, magic).ljust(4096, b"\0")


def spec(*, peer: str | None = "n2", size_mib: int = 128, **params: str | int | bool) -> DiskSpec:
    """Disk d1 as minor 0 of this node."""
    return DiskSpec(
        uuid="d1", instance="i1", index=0, template="drbd", size_mib=size_mib,
        volume=volume("xenvg/d1.data", size_mib), meta=volume("xenvg/d1.meta", 128), minor=0,
        port=11000, peer=peer, peer_address="10.77.1.12", own_address="10.77.1.11",
        params={"resync-rate": 61440, **params},
    )  # fmt: skip


class Kernel(ScriptedSystem):
    """A machine whose DRBD does what it is told, as far as these tests look."""

    def __init__(self) -> None:
        super().__init__()
        self.files["/proc/drbd"] = HEADER
        self.files["/sys/module/drbd/parameters/usermode_helper"] = "/bin/true\n"

    def state(self, text: str) -> None:
        """What `/proc/drbd` says from now on."""
        self.files["/proc/drbd"] = HEADER + text

    def orders(self) -> list[str]:
        """The orders since the last time: those of drbdsetup and drbdmeta, and other tools."""
        lines, self.commands = self.commands, []
        words = [line.split() for line in lines]
        return [
            next(word for word in line if word.endswith(("-md", "-al")))
            if line[0] == "drbdmeta"
            else line[1] if line[0] == "drbdsetup" else line[0]
            for line in words
        ]  # fmt: skip


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def drbd(kernel: Kernel) -> Drbd:
    clock = Clock()

    def now() -> float:
        clock.now += 1.0  # each look takes a second: no test waits
        return clock.now

    return Drbd(kernel, now=now)


def ensure(drbd: Drbd, disk: DiskSpec | None = None, part: str = "", **how: bool) -> None:
    """Make the call."""
    drbd.ensure(
        disk or spec(), data=Device(path=f"/dev/xenvg/d1.data{part}"),
        meta=Device(path=f"/dev/xenvg/d1.meta{part}"), fresh=how.get("fresh", False),
        source=how.get("source", False), scope=SCOPE,
    )  # fmt: skip


@pytest.fixture
def up(drbd: Drbd, kernel: Kernel) -> Drbd:
    """The mirror is up, connected, primary here, and DRBD was asked how it is configured."""
    kernel.state(CONNECTED.format(0, "Primary/Secondary"))
    kernel.answers["drbdsetup show"] = SHOWN.partition("resource theirs")[0]
    kernel.files["/sys/block/drbd0/size"] = str(128 * 2048)
    ensure(drbd)
    kernel.orders()
    return drbd


def test_the_states_of_minors_are_read() -> None:
    """A sync with its progress, minors without disk or peer, and none at all."""
    alone = ALONE.format(12, "StandAlone", "Primary", "Diskless")
    states = read_proc(HEADER + SYNCING + " 1: cs:Unconfigured\n" + alone)
    assert states[0].seen("d") == DiskSeen("d", "syncing", "primary", 69.7, 61.0)
    assert states[1].seen("d") == DiskSeen(
        "d", "faulty", "secondary", words="Unconfigured Diskless/DUnknown"
    )
    assert (states[12].connection, states[12].disk) == ("StandAlone", "Diskless")
    assert states[12].seen("d") == DiskSeen(
        "d", "faulty", "primary", words="StandAlone Diskless/DUnknown"
    )
    assert read_proc(HEADER) == {}


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate", "ok"),
        ("cs:VerifyS ro:Secondary/Primary ds:UpToDate/UpToDate", "ok"),
        ("cs:Connected ro:Primary/Secondary ds:UpToDate/Diskless", "degraded"),
        ("cs:Connected ro:Primary/Secondary ds:Diskless/UpToDate", "faulty"),
        ("cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown", "degraded"),
        ("cs:StandAlone ro:Primary/Unknown ds:UpToDate/DUnknown", "degraded"),
        ("cs:WFConnection ro:Secondary/Unknown ds:Outdated/DUnknown", "degraded"),
        ("cs:PausedSyncT ro:Secondary/Primary ds:Inconsistent/UpToDate", "syncing"),
        ("cs:WFBitMapS ro:Primary/Secondary ds:UpToDate/Consistent", "syncing"),
    ],
)
def test_states_are_told_as_what_they_are(line: str, state: str) -> None:
    """Ok is said only where both sides have all the data."""
    assert read_proc(f" 3: {line} C r-----\n")[3].seen("d").state == state


def test_the_configuration_is_read() -> None:
    """Names, minors, devices, addresses; strings with braces in them mislead nobody."""
    assert read_show(SHOWN) == {
        "cairn-d1": Resource(
            0, "/dev/xenvg/d1.data", "/dev/xenvg/d1.meta", "10.77.1.11:11000", "10.77.1.12:11000",
            two_primaries=True,
        ),
        "theirs": Resource(7),
    }  # fmt: skip
    assert read_show("") == {}


def test_metadata_are_known_by_their_start() -> None:
    """Clean or not, never used or used; zeros and other data are none."""
    assert read_superblock(bytes(4096)) is None
    assert read_superblock(b"") is None
    used = read_superblock(superblock(0xABCDEF0123456788, magic=0x8374026C))
    assert used is not None
    assert not used.empty
    created = read_superblock(superblock(4))
    assert created is not None
    assert created.empty


def test_new_sides_agree_on_where_they_start() -> None:
    """The same disk gives the same generation on both nodes, another disk another one; the lowest
    bit, which says "primary", is clear. The bitmap covers the whole disk."""
    assert generation_of("d1") == generation_of("d1") != generation_of("d2")
    assert all(generation_of(str(n)) & 1 == 0 and generation_of(str(n)) > 4 for n in range(64))
    text = new_metadata(generation_of("d1"), 340)
    assert "la-size-sect 696320;" in text
    assert f"{340 * 256 // 64} times 0x" in text


def test_parameters_become_options() -> None:
    """Fixed and dynamic resync, barriers, protocol, secrets, and what a person adds comes last."""
    assert disk_options({"resync-rate": 100, "disk-barriers": "bf", "meta-barriers": True}) == [
        "--disk-barrier=no", "--disk-flushes=no", "--md-flushes=no", "--c-plan-ahead=0",
        "--resync-rate=100",
    ]  # fmt: skip
    dynamic = disk_options({"dynamic-resync": True, "c-plan-ahead": 20, "c-max-rate": 9})
    assert dynamic == ["--c-plan-ahead=20", "--c-max-rate=9"]
    net = net_options(
        {"protocol": "A", "net-custom": "--timeout 90"}, secret="s", two_primaries=True
    )
    assert net[0] == "--protocol=A"
    assert net[-5:] == [
        "--cram-hmac-alg=sha256", "--shared-secret=s", "--allow-two-primaries=yes", "--timeout",
        "90",
    ]  # fmt: skip
    with pytest.raises(BadCall, match="disk-custom"):
        disk_options({"disk-custom": "--open 'quote"})


def test_a_new_side_takes_five_commands(drbd: Drbd, kernel: Kernel) -> None:
    """Beside one, once, to learn what there is; then all is known, and a role costs one more."""
    ensure(drbd, fresh=True)
    assert kernel.orders() == [
        "show", "new-resource", "new-minor", "create-md", "restore-md", "attach", "connect",
    ]  # fmt: skip
    assert f"0x{generation_of('d1'):016X}" in kernel.written["drbd0-metadata"]
    kernel.state(CONNECTED.format(0, "Secondary/Secondary"))
    kernel.files["/sys/block/drbd0/size"] = str(128 * 2048)
    ensure(drbd, fresh=True)
    assert kernel.orders() == []
    assert drbd.set_role(spec(), primary=True, dual=False, scope=SCOPE).path == "/dev/drbd0"
    assert kernel.orders() == ["primary"]
    assert drbd.minors() == {0: "d1"}
    assert drbd.holds(Device(path="/dev/xenvg/d1.meta"))


def test_metadata_that_are_there_are_kept(drbd: Drbd, kernel: Kernel) -> None:
    """Data that were written are never called new, whatever is asked; a side that never had any
    gets what is asked for."""
    kernel.heads["/dev/xenvg/d1.meta"] = superblock(0xABCDEF0123456788)
    ensure(drbd, spec(peer=None), fresh=True)
    assert "apply-al" in (orders := kernel.orders())
    assert not {"restore-md", "create-md"} & set(orders)
    other = Drbd(kernel)
    kernel.heads["/dev/xenvg/d1.meta"] = superblock(4)
    ensure(other, spec(peer=None), source=True)
    assert "restore-md" in kernel.orders()
    kernel.heads.clear()
    third = Drbd(kernel)
    ensure(third, spec(peer=None))
    assert "create-md" in kernel.orders()


def test_other_parameters_are_set_once(up: Drbd, kernel: Kernel) -> None:
    """A changed rate is one command; the same again is none."""
    for _ in range(2):
        ensure(up, spec(**{"resync-rate": 5}))
    assert kernel.orders() == ["disk-options"]


def test_another_peer_is_turned_to(up: Drbd, kernel: Kernel) -> None:
    """The old connection ends, a new one begins; alone it has none."""
    kernel.state(CONNECTED.format(0, "Primary/Secondary"))
    ensure(up, spec(peer=None))
    assert kernel.orders() == ["disconnect"]
    kernel.state(ALONE.format(0, "StandAlone", "Primary", "UpToDate"))
    ensure(up, spec(peer=None))
    assert kernel.orders() == []


def test_the_last_good_data_are_not_left(up: Drbd, kernel: Kernel) -> None:
    """A primary whose peer has no good data stays on its volumes; with good data there it moves."""
    kernel.state(ALONE.format(0, "WFConnection", "Primary", "UpToDate"))
    with pytest.raises(StateMismatch, match="no good data"):
        ensure(up, part=".new")
    assert kernel.orders() == []
    kernel.state(CONNECTED.format(0, "Primary/Secondary"))
    ensure(up, part=".new")
    assert kernel.orders() == ["show", "detach", "create-md", "attach"]


def test_minors_and_ports_of_others_are_refused(drbd: Drbd, kernel: Kernel) -> None:
    """Also those of resources that a person made."""
    kernel.answers["drbdsetup show"] = SHOWN
    kernel.state(CONNECTED.format(0, "Primary/Secondary") + " 7: cs:Unconfigured\n")
    other = DiskSpec(
        uuid="d9", instance="i1", index=0, template="drbd", size_mib=128, minor=7, port=11009,
        volume=volume("xenvg/d9.data"), meta=volume("xenvg/d9.meta"), peer="n2",
        peer_address="10.77.1.12", own_address="10.77.1.11",
    )  # fmt: skip
    with pytest.raises(StateMismatch, match="minor 7 is in use by disk theirs"):
        ensure(drbd, other)
    assert drbd.minors() == {0: "d1", 7: "theirs"}
    assert [seen.uuid for seen in drbd.seen()] == ["d1"]


def test_a_split_is_told_from_silence(drbd: Drbd, kernel: Kernel) -> None:
    """A connection that DRBD drops because both went on is refused with that word; one that is
    dropped for another reason with the kernel's words; a silent peer is no error."""
    kernel.heads["/dev/xenvg/d1.meta"] = superblock(0xABCDEF0123456788)
    kernel.state(ALONE.format(0, "WFConnection", "Secondary", "UpToDate"))
    ensure(drbd)
    kernel.orders()
    kernel.answers["drbdsetup show"] = SHOWN.partition("resource theirs")[0]
    kernel.state(ALONE.format(0, "StandAlone", "Secondary", "UpToDate"))
    kernel.files["/sys/block/drbd0/size"] = str(128 * 2048)
    kernel.answers["dmesg"] = (
        "[1.0] block drbd0: Split-Brain detected but unresolved, dropping connection!\n"
        "[1.1] drbd cairn-d1: conn( WFReportParams -> Disconnecting )\n"
    )
    with pytest.raises(StateMismatch, match="split brain"):
        ensure(drbd)
    kernel.answers["dmesg"] = "[1.0] drbd cairn-d1: incompatible after-sb-0pri settings\n"
    with pytest.raises(StateMismatch, match="incompatible"):
        ensure(drbd)


def test_promotion_says_why_not(up: Drbd, kernel: Kernel) -> None:
    """The peer is primary; there are no good data; or what DRBD said."""
    refused = failed("drbdsetup", "0: State change failed: (-1) Multiple primaries\n", 11)
    kernel.answers["drbdsetup primary"] = refused
    kernel.state(CONNECTED.format(0, "Secondary/Primary"))
    for dual in (False, True):
        with pytest.raises(StateMismatch, match="primary on its peer"):
            up.set_role(spec(), primary=True, dual=dual, scope=SCOPE)
    kernel.state(ALONE.format(0, "WFConnection", "Secondary", "Inconsistent"))
    with pytest.raises(StateMismatch, match="no good data here"):
        up.set_role(spec(), primary=True, dual=False, scope=SCOPE)
    kernel.state(ALONE.format(0, "WFConnection", "Secondary", "UpToDate"))
    with pytest.raises(CommandFailed):
        up.set_role(spec(), primary=True, dual=False, scope=SCOPE)
    kernel.answers["drbdsetup show"] = ""
    kernel.state("")
    with pytest.raises(NoSuchThing):
        up.set_role(spec(), primary=True, dual=False, scope=SCOPE)


def test_what_is_in_use_is_not_taken_down(up: Drbd, kernel: Kernel) -> None:
    """The role goes first, so that nothing is cut before it is known to be free."""
    held = failed("drbdsetup", "0: State change failed: (-12) Device is held open by someone\n", 11)
    kernel.answers["drbdsetup secondary"] = held
    with pytest.raises(StateMismatch, match="in use"):
        up.down(spec(), scope=SCOPE)
    assert "down" not in kernel.orders()
    kernel.answers["drbdsetup secondary"] = ""
    up.down(spec(), scope=SCOPE)
    kernel.state("")
    up.down(spec(), scope=SCOPE)
    assert [order for order in kernel.orders() if order != "show"] == ["secondary", "down"]


def test_what_is_missing_is_named(drbd: Drbd, kernel: Kernel) -> None:
    """Tools, the module, its version, its helper."""
    assert drbd.needs() == ()
    kernel.files["/sys/module/drbd/parameters/usermode_helper"] = "/sbin/drbdadm\n"
    assert "usermode_helper=/bin/true" in drbd.needs()[0]
    kernel.files["/proc/drbd"] = "version: 8.3.11 (api:88/proto:86-96)\n"
    assert "8.3.11" in drbd.needs()[0]
    del kernel.files["/proc/drbd"]
    kernel.tools.clear()
    assert [need.split()[0] for need in drbd.needs()] == ["drbdsetup", "drbdmeta", "the"]
    assert drbd.seen() == ()
    with pytest.raises(BadCall, match="minor"):
        ensure(
            drbd,
            DiskSpec(uuid="x", instance="i", index=0, template="drbd", size_mib=1, volume=volume()),
        )


LISTENING = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B014D0A:2AF8 00000000:0000 {} 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 8 1 0 100
"""


@pytest.mark.parametrize("table", ["/proc/net/tcp", "/proc/net/tcp6"])
def test_a_port_that_a_program_has_taken_is_refused(drbd: Drbd, kernel: Kernel, table: str) -> None:
    """DRBD would wait for its peer for ever; a connection that only passes there takes nothing."""
    kernel.files[table] = LISTENING.format("0A")
    with pytest.raises(StateMismatch, match="port 11000, of disk d1, is taken by another program"):
        ensure(drbd, fresh=True)
    assert "connect" not in kernel.orders()
    kernel.files[table] = LISTENING.format("01")
    ensure(drbd, fresh=True)
    assert "connect" in kernel.orders()


def test_a_port_of_another_mirror_is_refused(drbd: Drbd, kernel: Kernel) -> None:
    """Before anything is made; the port's owner is named."""
    kernel.answers["drbdsetup show"] = SHOWN
    kernel.state(CONNECTED.format(0, "Primary/Secondary") + " 7: cs:Unconfigured\n")
    other = DiskSpec(
        uuid="d9", instance="i1", index=0, template="drbd", size_mib=128, minor=3, port=11000,
        volume=volume("xenvg/d9.data"), meta=volume("xenvg/d9.meta"), peer="n2",
        peer_address="10.77.1.12", own_address="10.77.1.11",
    )  # fmt: skip
    with pytest.raises(StateMismatch, match="port 11000 is in use by disk d1"):
        ensure(drbd, other)
    assert kernel.orders() == ["show"]
