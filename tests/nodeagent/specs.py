"""Disks and instances for tests."""

from __future__ import annotations

from nodeagent.calls import DiskSpec, InstanceSpec, NicSpec, VolumeSpec

PORT = 11000
GUEST = "6e1f4f3c-5d2a-4b7e-9a51-0c9f3b7d2e10"  # of the instance that contracts are tried with


def volume(name: str = "xenvg/d1.data", size_mib: int = 1024, kind: str = "lvm") -> VolumeSpec:
    """A volume."""
    return VolumeSpec(name=name, kind=kind, size_mib=size_mib)


def plain_disk(uuid: str = "d1", size_mib: int = 1024, instance: str = "i1") -> DiskSpec:
    """A disk on one node."""
    return DiskSpec(
        uuid=uuid, instance=instance, index=0, template="plain", size_mib=size_mib,
        volume=volume(f"xenvg/{uuid}.data", size_mib),
    )  # fmt: skip


def drbd_disk(
    peer: str | None, *, uuid: str = "d1", size_mib: int = 1024, minor: int = 0, part: str = ""
) -> DiskSpec:
    """One side of a mirrored disk. `part` tells a second set of volumes from the first."""
    return DiskSpec(
        uuid=uuid, instance="i1", index=0, template="drbd", size_mib=size_mib,
        volume=volume(f"xenvg/{uuid}.data{part}", size_mib),
        meta=volume(f"xenvg/{uuid}.meta{part}", 128),
        minor=minor, port=PORT + minor, peer=peer,
    )  # fmt: skip


def instance(
    *disks: DiskSpec,
    uuid: str = "i1",
    generation: int = 1,
    memory_mib: int = 512,
    os: str = "debian",
) -> InstanceSpec:
    """An instance with one NIC."""
    return InstanceSpec(
        uuid=uuid, name=f"{uuid}.example.net", generation=generation, hypervisor="kvm", os=os,
        memory_mib=memory_mib, min_memory_mib=memory_mib, vcpus=2, disks=disks,
        nics=(NicSpec(uuid=f"{uuid}-nic", index=0, mac="aa:00:00:00:00:01", link="br0"),),
        hvparams={"disk_type": "paravirtual", "nic_type": "paravirtual"},
        beparams={"maxmem": memory_mib, "minmem": memory_mib, "vcpus": 2},
    )  # fmt: skip
