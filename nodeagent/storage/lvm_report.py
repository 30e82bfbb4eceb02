"""What LVM says of its groups, volumes and disks, in one command (pure).

`lvm fullreport` with `--reportformat json` answers all of it at once, also for a group without any
volume; on a slow machine each further command costs most of a second. Sizes come in bytes and are
kept in MiB, rounded down: what is free must not look like more than there is.
Sources: lvm-fullreport(8), lvmreport(7).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from nodeagent.errors import NodeAgentError

OWNER_TAG = "cairn.disk="  # before the uuid of the disk that a volume belongs to
_MIB = 1 << 20
_NONE = "vg_name=."  # no group has this name: of these sections nothing is wanted

REPORT = (
    *("lvm", "fullreport", "--reportformat", "json", "--units", "b", "--nosuffix"),
    *("--configreport", "vg", "-o", "vg_name,vg_size,vg_free,vg_extent_size"),
    *("--configreport", "pv", "-o", "pv_name,pv_size,pv_free,pv_allocatable,pv_missing"),
    *("--configreport", "lv", "-o", "lv_name,lv_size,lv_tags"),
    *("-o", "+lv_health_status,lv_device_open,origin"),
    *("--configreport", "pvseg", "-S", _NONE, "--configreport", "seg", "-S", _NONE),
)


class Group(NamedTuple):
    """A volume group, sizes in MiB."""

    size_mib: int
    free_mib: int
    extent_mib: int
    empty: tuple[str, ...]  # physical volumes on which nothing is yet, the largest first
    empty_mib: tuple[int, ...]  # how large each of these is
    sizes_mib: tuple[int, ...] = ()  # of all its physical volumes, the smallest first


class LogicalVolume(NamedTuple):
    """A logical volume. `owner`: uuid of a disk, empty if it bears no tag of ours."""

    size_mib: int
    owner: str
    faulty: bool  # a disk under it is missing
    is_open: bool = False  # by a guest, a mount, a mirror
    origin: str = ""  # of a snapshot: the volume, without its group


class LvmState(NamedTuple):
    """All groups by name, and all volumes by `group/volume`."""

    groups: dict[str, Group]
    volumes: dict[str, LogicalVolume]


class _Vg(msgspec.Struct):
    vg_name: str
    vg_size: str
    vg_free: str
    vg_extent_size: str


class _Pv(msgspec.Struct):
    pv_name: str
    pv_size: str
    pv_free: str
    pv_allocatable: str
    pv_missing: str


class _Lv(msgspec.Struct):
    lv_name: str
    lv_size: str
    lv_tags: str
    lv_health_status: str
    lv_device_open: str
    origin: str


class _Section(msgspec.Struct):
    vg: list[_Vg] = []
    pv: list[_Pv] = []
    lv: list[_Lv] = []


class _Report(msgspec.Struct):
    report: list[_Section]


_REPORT = msgspec.json.Decoder(_Report)  # made at the start: docs/decisions/0206


def read_report(text: str) -> LvmState:
    """Return what REPORT printed. Raises NodeAgentError if that is not what we know."""
    try:
        sections = _REPORT.decode(text).report
    except msgspec.MsgspecError as wrong:
        raise NodeAgentError(
            f"the report of LVM is not understood: {wrong}", hint="which version of lvm2 is it?"
        ) from None
    groups: dict[str, Group] = {}
    volumes: dict[str, LogicalVolume] = {}
    for section in sections:
        for vg in section.vg:  # one; none for physical volumes that no group has
            groups[vg.vg_name] = _group(vg, section.pv)
            for lv in section.lv:
                volumes[f"{vg.vg_name}/{lv.lv_name}"] = _volume(lv)
    return LvmState(groups, volumes)


def _group(vg: _Vg, pvs: list[_Pv]) -> Group:
    empty = sorted(
        (
            (int(pv.pv_size) // _MIB, pv.pv_name)
            for pv in pvs
            if pv.pv_size == pv.pv_free and pv.pv_allocatable and not pv.pv_missing
        ),
        reverse=True,
    )
    return Group(
        size_mib=int(vg.vg_size) // _MIB,
        free_mib=int(vg.vg_free) // _MIB,
        extent_mib=max(int(vg.vg_extent_size) // _MIB, 1),
        empty=tuple(name for _, name in empty),
        empty_mib=tuple(size for size, _ in empty),
        sizes_mib=tuple(sorted(int(pv.pv_size) // _MIB for pv in pvs)),
    )


def _volume(lv: _Lv) -> LogicalVolume:
    owners = [tag for tag in lv.lv_tags.split(",") if tag.startswith(OWNER_TAG)]
    return LogicalVolume(
        size_mib=int(lv.lv_size) // _MIB,
        owner=owners[0].removeprefix(OWNER_TAG) if owners else "",
        faulty=lv.lv_health_status == "partial",
        is_open=lv.lv_device_open == "open",
        origin=lv.origin,
    )
