"""LVM as it is asked, on a scripted machine; on a real one: tests/real/test_storage.py."""

from __future__ import annotations

import json
import threading

import pytest

from nodeagent.calls import DiskSeen, VolumeSpec
from nodeagent.errors import (
    BadCall,
    CommandFailed,
    NodeAgentError,
    NoRoom,
    NoSuchThing,
    StateMismatch,
)
from nodeagent.storage.contract import Space
from nodeagent.storage.lvm import LOOK_AGAIN_S, Lvm
from nodeagent.storage.lvm_report import read_report
from nodeagent.task_scope import TaskScope
from tests.nodeagent.scripted_system import ScriptedSystem, failed
from tests.nodeagent.simulated_lab import Clock
from tests.nodeagent.specs import volume

SCOPE = TaskScope()
REPORT = "lvm fullreport"
MIB = 1 << 20


def report(
    *volumes: tuple[str, int, str],
    free_mib: int = 4096,
    health: str = "",
    is_open: bool = False,
    origin: str = "",
) -> str:
    """What `lvm fullreport` of 2.03.16 printed of a group of two disks, with these volumes."""
    lvs = [
        {"lv_name": name, "lv_size": str(size * MIB), "lv_tags": tags, "lv_health_status": health,
         "lv_device_open": "open" if is_open else "", "origin": origin if name != origin else ""}
        for name, size, tags in volumes
    ]  # fmt: skip
    pvs = [
        {"pv_name": f"/dev/vd{letter}", "pv_size": str(size * MIB), "pv_free": str(free * MIB),
         "pv_allocatable": "allocatable", "pv_missing": ""}
        for letter, size, free in (("b", 8188, 8188), ("c", 8188, 4096))
    ]  # fmt: skip
    vg = {
        "vg_name": "xenvg", "vg_size": str(16376 * MIB), "vg_free": str(free_mib * MIB),
        "vg_extent_size": str(4 * MIB),
    }  # fmt: skip
    orphan = {"vg": [], "pv": [], "lv": [], "pvseg": [], "seg": []}
    mine = {"vg": [vg], "pv": pvs, "lv": lvs, "pvseg": [], "seg": []}
    return json.dumps({"report": [mine, orphan]})


@pytest.fixture
def system() -> ScriptedSystem:
    system = ScriptedSystem()
    system.answers[REPORT] = report()
    return system


@pytest.fixture
def lvm(system: ScriptedSystem) -> Lvm:
    lvm = Lvm(system, "xenvg")
    lvm.space()
    system.ran()
    return lvm


def test_a_report_is_read() -> None:
    """Sizes in MiB, the owner from its tag among others, a disk that is missing, empty disks."""
    text = report(("a", 64, "other,cairn.disk=d1"), ("b", 8, ""), health="partial")
    state = read_report(text)
    assert state.volumes["xenvg/a"][:3] == (64, "d1", True)
    assert state.volumes["xenvg/b"].owner == ""
    assert state.groups["xenvg"].empty == ("/dev/vdb",)
    with pytest.raises(NodeAgentError, match="not understood"):
        read_report("{}")


def test_a_volume_is_made_by_one_command(lvm: Lvm, system: ScriptedSystem) -> None:
    """Its tag is set in it; afterwards it is known without a look, and its room is gone."""
    wanted = VolumeSpec(name="xenvg/d1", kind="lvm", size_mib=250, stripes=2)
    lvm.ensure(wanted, owner="u1", scope=SCOPE)
    (line,) = system.commands
    assert line.endswith("--size 250m --name d1 --addtag cairn.disk=u1 --stripes 2 xenvg")
    system.files["/dev/xenvg/d1"] = ""
    lvm.ensure(wanted, owner="u1", scope=SCOPE)
    assert lvm.space() == Space(16376, 4096 - 256)  # two stripes of whole extents
    assert system.ran() == ["lvcreate"]


def test_what_lvm_refuses_is_explained_by_a_look(lvm: Lvm, system: ScriptedSystem) -> None:
    """No room says what is free; a volume that is there already is ours or is refused; anything
    else is told as LVM told it."""
    full = '  Volume group "xenvg" has insufficient free space (1024 extents): 2048 required.\n'
    system.answers["lvcreate"] = failed("lvcreate", full)
    with pytest.raises(NoRoom, match="4096 MiB of 16376 MiB are free"):
        lvm.ensure(volume("xenvg/d1", 8192), owner="u1", scope=SCOPE)
    system.answers["lvcreate"] = failed("lvcreate", "  device-mapper: create ioctl failed\n")
    with pytest.raises(CommandFailed) as broken:
        lvm.ensure(volume("xenvg/d1", 64), owner="u1", scope=SCOPE)
    assert "ioctl" in broken.value.failure().output
    system.answers[REPORT] = report(("d1", 64, "cairn.disk=u2"))
    with pytest.raises(StateMismatch, match="u2"):
        lvm.ensure(volume("xenvg/d1", 64), owner="u1", scope=SCOPE)
    system.answers[REPORT] = report(("d1", 64, "cairn.disk=u1"))
    lvm.ensure(volume("xenvg/d1", 64), owner="u1", scope=SCOPE)


def test_an_exclusive_volume_takes_empty_disks(lvm: Lvm, system: ScriptedSystem) -> None:
    """The empty one is named; two are not to be had."""
    wanted = VolumeSpec(name="xenvg/d1", kind="lvm", size_mib=64, exclusive=True)
    lvm.ensure(wanted, owner="u1", scope=SCOPE)
    assert system.commands[-1].endswith("xenvg /dev/vdb")
    two = VolumeSpec(name="xenvg/d2", kind="lvm", size_mib=64, exclusive=True, spindles=2)
    with pytest.raises(NoRoom, match="1 disks"):
        lvm.ensure(two, owner="u1", scope=SCOPE)


def test_only_what_bears_the_owners_tag_is_removed(lvm: Lvm, system: ScriptedSystem) -> None:
    """The selection is part of the command; a name that could change it is refused."""
    lvm.remove(volume("xenvg/d1"), owner="u1", scope=SCOPE)
    (line,) = system.commands
    assert 'lv_name="d1" && lv_tags={cairn.disk=u1}' in line
    with pytest.raises(BadCall):
        lvm.remove(volume('xenvg/d1" || lv_name!="'), owner="u1", scope=SCOPE)
    assert len(system.commands) == 1


def test_states_cost_no_command(system: ScriptedSystem) -> None:
    """Active, inactive and broken volumes are told apart; strangers are not reported."""
    system.answers[REPORT] = report(
        ("a", 8, "cairn.disk=u1"), ("b", 8, "cairn.disk=u2"), ("c", 8, "")
    )
    system.files["/dev/xenvg/a"] = ""
    lvm = Lvm(system, "xenvg")
    lvm.space()
    system.ran()
    assert lvm.seen() == (DiskSeen("u1", "ok", ""), DiskSeen("u2", "inactive", ""))
    assert system.ran() == []
    system.answers[REPORT] = report(("a", 8, "cairn.disk=u1"), health="partial")
    lvm.volumes()
    assert lvm.seen() == (DiskSeen("u1", "faulty", ""),)


def test_an_old_look_is_made_anew_aside(system: ScriptedSystem) -> None:
    """The caller gets what is known at once; what was changed by hand is known a little later."""
    clock, looked = Clock(), threading.Event()
    lvm = Lvm(system, "xenvg", now=clock)
    assert lvm.space().free_mib == 4096

    def look() -> str:
        looked.set()
        return report(free_mib=1000)

    system.answers[REPORT] = look
    clock.now += LOOK_AGAIN_S / 2
    assert lvm.space().free_mib == 4096
    assert not looked.is_set()
    clock.now += LOOK_AGAIN_S
    lvm.space()
    assert looked.wait(10)
    for thread in threading.enumerate():
        if thread.name == "lvm-look":
            thread.join(10)
    assert lvm.space().free_mib == 1000


def test_what_is_missing_is_named(system: ScriptedSystem) -> None:
    """The package, or the group; without LVM there is no room and no error."""
    assert Lvm(system, "xenvg").needs() == ()
    assert "vgcreate other" in Lvm(system, "other").needs()[0]
    system.tools.clear()
    system.answers[REPORT] = failed("lvm", "not found")
    bare = Lvm(system, "xenvg")
    assert "lvm2" in bare.needs()[0]
    assert bare.space() == Space(0, 0)
    assert bare.seen() == ()


def test_taking_over_is_a_tag_and_a_name(lvm: Lvm, system: ScriptedSystem) -> None:
    """In this order, and back in the other; what a crash left between the two is gone on with."""
    mine = volume("xenvg/d1", 64)
    system.answers[REPORT] = report(("theirs", 64, ""))
    lvm.adopt("xenvg/theirs", mine, owner="u1", scope=SCOPE)
    system.answers[REPORT] = report(("theirs", 64, "cairn.disk=u1"))
    lvm.adopt("xenvg/theirs", mine, owner="u1", scope=SCOPE)
    lvm.release(mine, "xenvg/theirs", owner="u1", scope=SCOPE)
    system.answers[REPORT] = report(("d1", 64, "cairn.disk=u1"))
    lvm.adopt("xenvg/theirs", mine, owner="u1", scope=SCOPE)
    lvm.release(mine, "xenvg/theirs", owner="u1", scope=SCOPE)
    changes = [line for line in system.commands if not line.startswith(REPORT)]
    assert changes == [
        "lvchange --quiet --addtag cairn.disk=u1 xenvg/theirs",
        "lvrename --quiet xenvg/theirs xenvg/d1",
        "lvrename --quiet xenvg/theirs xenvg/d1",
        "lvchange --quiet --deltag cairn.disk=u1 xenvg/theirs",
        "lvrename --quiet xenvg/d1 xenvg/theirs",
        "lvchange --quiet --deltag cairn.disk=u1 xenvg/theirs",
    ]


def test_what_may_not_be_taken_over_is_left_alone(lvm: Lvm, system: ScriptedSystem) -> None:
    """Open, too small, another's, of another group, or not there: each is refused by its name."""
    mine = volume("xenvg/d1", 64)
    for shown, error, words in (
        (report(("theirs", 64, ""), is_open=True), StateMismatch, "in use"),
        (report(("theirs", 60, "")), StateMismatch, "60 MiB, not 64"),
        (report(("theirs", 64, "cairn.disk=u2")), StateMismatch, "belongs to u2"),
        (report(("d1", 64, "cairn.disk=u2")), StateMismatch, "belongs to u2"),
        (report(), NoSuchThing, "xenvg/theirs"),
    ):
        system.answers[REPORT] = shown
        with pytest.raises(error, match=words):
            lvm.adopt("xenvg/theirs", mine, owner="u1", scope=SCOPE)
    with pytest.raises(BadCall, match="cannot become"):
        lvm.adopt("other/theirs", mine, owner="u1", scope=SCOPE)
    system.answers[REPORT] = report(("d1", 64, "cairn.disk=u1"), is_open=True)
    with pytest.raises(StateMismatch, match="in use"):
        lvm.release(mine, "xenvg/theirs", owner="u1", scope=SCOPE)
    assert all(line.startswith(REPORT) for line in system.commands)


def test_the_main_group_is_the_one_it_was_told(system: ScriptedSystem) -> None:
    """None at first, which lacks nothing and has no room; then that one, at once."""
    lvm = Lvm(system)
    assert (lvm.needs(), lvm.space()) == ((), Space(0, 0))
    lvm.use_group("xenvg")
    assert (lvm.needs(), lvm.space()) == ((), Space(16376, 4096))
    lvm.use_group("ssd")
    assert lvm.needs() == ("volume group ssd is missing: vgcreate ssd DISK...",)


def test_a_volume_that_exists_with_another_size(lvm: Lvm, system: ScriptedSystem) -> None:
    """Our own smaller one is grown, a larger one stays; another's is neither, whatever its size."""
    there = '  Logical Volume "d1" already exists in volume group "xenvg"\n'
    system.answers["lvcreate"] = failed("lvcreate", there)
    changes = {64: ["lvextend"], 128: [], 256: []}
    for size_mib, expected in changes.items():
        system.answers[REPORT] = report(("d1", size_mib, "cairn.disk=u1"))
        lvm.ensure(volume("xenvg/d1", 128), owner="u1", scope=SCOPE)
        ran = [each for each in system.ran() if each not in ("lvm", "lvcreate")]
        assert ran == expected, size_mib
    for size_mib in changes:
        system.answers[REPORT] = report(("d1", size_mib, "cairn.disk=u2"))
        with pytest.raises(StateMismatch, match="belongs to u2"):
            lvm.ensure(volume("xenvg/d1", 128), owner="u1", scope=SCOPE)
        assert not {"lvextend", "lvremove", "lvreduce"} & set(system.ran())
