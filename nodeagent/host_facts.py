"""What the leader asks of a real machine when it verifies a cluster (edge)."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType

from nodeagent import host
from nodeagent.calls import HostFacts, Probe
from nodeagent.network.netlink import Netlink
from nodeagent.network.scripts import SiteScripts

_DRBD_HELPER = Path("/sys/module/drbd/parameters/usermode_helper")


def look_around(
    probe: Probe,
    *,
    directories: Mapping[str, Sequence[str]] = MappingProxyType({}),
    scripts: SiteScripts | None = None,
    disk_sizes_mib: Callable[[], tuple[int, ...]] = tuple,
) -> HostFacts:
    """Return what is seen now of what the probe asks for. An address is one of any interface.

    `directories`: by kind of volume, those that the agent keeps disks in. `disk_sizes_mib`: of the
    physical volumes, the smallest first.
    """
    missing_links: tuple[str, ...] = ()
    missing_addresses: tuple[str, ...] = ()
    if probe.links or probe.addresses:
        with Netlink() as net:
            missing_links = _without(probe.links, net.links())
            missing_addresses = tuple(
                each for each in probe.addresses if not net.prefixes(ip_address(each))
            )
    sizes = disk_sizes_mib()
    return HostFacts(
        clock_ms=host.clock_ms(),
        missing_links=missing_links,
        missing_addresses=missing_addresses,
        drbd_helper=_drbd_helper(),
        forbidden=tuple(
            path
            for kind, path in probe.directories.items()
            if not _is_within(path, directories.get(kind, ()))
        ),
        missing_programs=tuple(each for each in probe.programs if not _can_be_run(each)),
        bad_scripts=(scripts or SiteScripts()).bad(),
        disks_mib=(sizes[0], sizes[-1]) if sizes else None,
    )


def _is_within(path: str, directories: Sequence[str]) -> bool:
    return any(Path(path).is_relative_to(each) for each in directories)


def _can_be_run(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _without(wanted: tuple[str, ...], present: Collection[str]) -> tuple[str, ...]:
    return tuple(each for each in wanted if each not in present)


def _drbd_helper() -> str:
    try:
        return _DRBD_HELPER.read_text().strip()
    except OSError:  # the module is not loaded
        return ""
