"""What is read of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeagent import host
from nodeagent.errors import Missing
from nodeagent.hypervisor.contract import HostCpus, HostMemory

MEMINFO = """\
MemTotal:        8388608 kB
MemFree:         2097152 kB
MemAvailable:    3145728 kB
Buffers:          102400 kB
Cached:          1024000 kB
SwapCached:            0 kB
Shmem:            512000 kB
SReclaimable:     204800 kB
HugePages_Total:       0
"""
CPUINFO = "".join(
    f"processor\t: {number}\nmodel name\t: a processor\nphysical id\t: {number // 2}\n\n"
    for number in range(4)
)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    return tmp_path


def test_memory_that_can_be_had_back_is_free(proc: Path) -> None:
    """Caches count as free, shared memory does not; what is no guest's is the node's own."""
    free_mib = (2097152 + 102400 + 1024000 + 204800 - 512000) // 1024
    found = host.read_memory(guests_mib=1000, proc=proc)
    assert found == HostMemory(8192, free_mib, 8192 - free_mib - 1000)


def test_memory_of_guests_is_not_counted_twice(proc: Path) -> None:
    """A guest that has touched little of its memory does not make the node's own negative."""
    assert host.read_memory(guests_mib=100_000, proc=proc).own_mib == 0


def test_a_kernel_that_does_not_tell_is_named(proc: Path) -> None:
    """Without /proc, or with one that lacks a value, the error says which."""
    (proc / "meminfo").write_text("MemTotal: 5 kB\n")
    with pytest.raises(Missing, match="MemFree"):
        host.read_memory(proc=proc)
    (proc / "meminfo").unlink()
    with pytest.raises(Missing, match="meminfo"):
        host.read_memory(proc=proc)


def test_processors_are_threads_sockets_and_numa_nodes(proc: Path, tmp_path: Path) -> None:
    """Each is counted from where the kernel lists it."""
    for name in ("node0", "node1", "nothing"):
        (tmp_path / "nodes" / name).mkdir(parents=True)
    assert host.read_cpus(proc=proc, nodes=tmp_path / "nodes") == HostCpus(4, 2, 2)
    (proc / "cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 48.00\n\n")
    assert host.read_cpus(proc=proc, nodes=tmp_path / "absent") == HostCpus(1, 1, 1)


def test_this_machine_can_be_read() -> None:
    """The values make sense on the machine that runs the test, and a boot has one id."""
    memory, cpus = host.read_memory(), host.read_cpus()
    assert 0 < memory.free_mib <= memory.total_mib
    assert cpus.cpus >= cpus.sockets >= 1
    assert host.boot_id() == host.boot_id() != ""
    assert host.clock_ms() > 1_700_000_000_000


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("version: 8.4.11 (api:1/proto:86-101)\nsrcversion: F73C\n", "8.4.11"),
        ("version: 9.2.18 (api:2/proto:118-124)\nGIT-hash: X\n", "9.2.18"),
        (None, ""),
    ],
)
def test_the_version_of_drbd_is_that_of_the_module(
    tmp_path: Path, text: str | None, version: str
) -> None:
    """It is empty where the module is not loaded."""
    if text is not None:
        (tmp_path / "drbd").write_text(text)
    assert host.drbd_version(proc=tmp_path) == version
