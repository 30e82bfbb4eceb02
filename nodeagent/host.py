"""What the kernel says of the machine: memory, processors, boot, clock, versions (edge).

Source: proc(5). Every value is read anew, cheaply enough for once a second; `/proc` is a parameter
so that a test can show another machine. Hypervisors that see more than the kernel of their own
domain (Xen) do not ask here for memory and processors.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from nodeagent.errors import Missing
from nodeagent.hypervisor.contract import HostCpus, HostMemory

_KIB_PER_MIB = 1024
_PROC, _NODES = Path("/proc"), Path("/sys/devices/system/node")
# What the kernel gives back at once when a guest asks for memory, as Ganeti counts it, less
# `Shmem`: it is part of `Cached`, but it is in use, often as the memory of guests.
_RECLAIMABLE = ("MemFree", "Buffers", "Cached", "SReclaimable")


def read_memory(*, guests_mib: int = 0, proc: Path = _PROC) -> HostMemory:
    """Return the node's memory. `guests_mib`: what guests take of it now, which is not its own.

    Free is what a new guest may have: pages that are free or can be had back without writing.
    Raises Missing if the kernel does not tell.
    """
    kib = _meminfo(proc / "meminfo")
    try:
        total = kib["MemTotal"]
        free = sum(kib[name] for name in _RECLAIMABLE) - kib["Shmem"]
    except KeyError as absent:
        raise Missing(f"{proc}/meminfo does not tell {absent}", hint="mount /proc") from None
    free = min(max(free, kib["MemFree"]), total)
    total_mib, free_mib = total // _KIB_PER_MIB, free // _KIB_PER_MIB
    return HostMemory(total_mib, free_mib, max(total_mib - free_mib - guests_mib, 0))


def read_cpus(*, proc: Path = _PROC, nodes: Path = _NODES) -> HostCpus:
    """Return the processors that are online: threads, sockets, NUMA nodes."""
    try:
        text = (proc / "cpuinfo").read_text()
    except OSError as failed:
        raise Missing(f"{proc}/cpuinfo: {failed.strerror}", hint="mount /proc") from None
    cpus = len(re.findall(r"^processor\s*:", text, re.MULTILINE))
    sockets = len(set(re.findall(r"^physical id\s*:\s*(\d+)", text, re.MULTILINE)))
    numa = sum(1 for each in nodes.glob("node[0-9]*")) if nodes.is_dir() else 0
    # Machines other than x86 name neither: they count as one of each.
    return HostCpus(cpus or os.cpu_count() or 1, sockets or 1, numa or 1)


def boot_id(*, proc: Path = _PROC) -> str:
    """Return the id of this boot of the machine: another one after each restart."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def clock_ms() -> int:
    """Return the wall clock, ms since 1970 UTC: what the leader compares with its own."""
    return time.time_ns() // 1_000_000


def drbd_version(*, proc: Path = _PROC) -> str:
    """Return the version of the DRBD module, empty if it is not loaded."""
    try:
        first = (proc / "drbd").read_text().partition("\n")[0]
    except OSError:
        return ""
    found = re.match(r"version: (\S+)", first)
    return found[1] if found else ""


def _meminfo(path: Path) -> dict[str, int]:
    try:
        text = path.read_text()
    except OSError as failed:
        raise Missing(f"{path}: {failed.strerror}", hint="mount /proc") from None
    return {name: int(kib) for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
