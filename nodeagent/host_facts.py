"""What the leader asks of a real machine when it verifies a cluster (edge)."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from pathlib import Path

from nodeagent import host
from nodeagent.calls import HostFacts, Probe
from nodeagent.network.netlink import Netlink

_DRBD_HELPER = Path("/sys/module/drbd/parameters/usermode_helper")


def look_around(probe: Probe) -> HostFacts:
    """Return what is seen now of what the probe asks for. An address is one of any interface."""
    missing_links: tuple[str, ...] = ()
    missing_addresses: tuple[str, ...] = ()
    if probe.links or probe.addresses:
        with Netlink() as net:
            missing_links = _without(probe.links, net.links())
            missing_addresses = tuple(
                each for each in probe.addresses if not net.prefixes(ip_address(each))
            )
    return HostFacts(
        clock_ms=host.clock_ms(),
        missing_links=missing_links,
        missing_addresses=missing_addresses,
        drbd_helper=_drbd_helper(),
    )


def _without(wanted: tuple[str, ...], present: Collection[str]) -> tuple[str, ...]:
    return tuple(each for each in wanted if each not in present)


def _drbd_helper() -> str:
    try:
        return _DRBD_HELPER.read_text().strip()
    except OSError:  # the module is not loaded
        return ""
