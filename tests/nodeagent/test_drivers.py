"""The real drivers of a node, put together; what they do is tested with each."""

from __future__ import annotations

from pathlib import Path

from eventstore.access.keys import new_curve_keys
from nodeagent.allocators import Allocators
from nodeagent.drivers import real_drivers
from nodeagent.hypervisor.kvm.settings import KvmSettings
from nodeagent.identity import AgentConfig
from nodeagent.os_interface import OsInterface
from nodeagent.runner import run_command


def test_every_kind_is_served_and_what_is_missing_is_named(tmp_path: Path) -> None:
    """Disks of every template, guests of KVM, bridged and routed interfaces; a volume group and a
    directory that are not there are named, and no more is needed to start."""
    files = tmp_path / "files"
    files.mkdir()
    config = AgentConfig(
        file_path=(str(files),), shared_file_path=(str(tmp_path / "none"),),
        kvm=KvmSettings(run_directory=str(tmp_path / "run"), state_directory=str(tmp_path / "kvm")),
        run_directory=str(tmp_path / "run"),
    )  # fmt: skip
    os = OsInterface([], log_directory=tmp_path / "logs", lock_directory=tmp_path / "locks")
    drivers = real_drivers("n1", new_curve_keys(), config, os, Allocators((), run_command))
    drivers.use_volume_group("nosuch")
    lacks = drivers.lacks()
    assert any("nosuch" in need or "lvm2" in need for need in lacks["lvm"])
    assert "none is missing" in lacks["sharedfile"][0]
    assert "file" not in lacks
    assert drivers.disks.space("file").total_mib > 0
    assert drivers.disks.space("lvm").total_mib == 0
    assert (drivers.disks.volumes(), drivers.disks.minors()) == ((), {})
    assert [hypervisor.names for hypervisor in drivers.hypervisors] == [("kvm",)]
    assert {mode for network in drivers.networks for mode in network.modes} == {"bridged", "routed"}
    assert not drivers.simulated
