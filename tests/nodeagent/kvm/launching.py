"""Command lines without a QEMU: an instance, its layout, and how it would be started."""

from __future__ import annotations

from pathlib import Path

import msgspec

from nodeagent.calls import Device, InstanceSpec, NicSpec
from nodeagent.hypervisor.kvm import machine
from nodeagent.hypervisor.kvm.devices import disks_on_pci, nics_on_pci
from nodeagent.hypervisor.kvm.launch import Launch, Node, launch
from nodeagent.hypervisor.kvm.layout import Layout, with_device
from nodeagent.hypervisor.kvm.parameters import parameters
from tests.nodeagent.specs import GUEST, instance, plain_disk

Value = str | int | bool | None
NODE = Node(
    directory=Path("/run/kvm/i1"),
    accelerator="tcg",
    blocks=frozenset({"/dev/xenvg/d1"}),
    user="pool1",
    spice_tls_directory="/etc/spice",
    firmware=None,
)


def spec(**hvparams: Value) -> InstanceSpec:
    """An instance with two disks and two NICs; it boots its disk unless told otherwise."""
    one = instance(plain_disk("d1"), plain_disk("d2"), uuid=GUEST)
    second = msgspec.structs.replace(one.disks[1], index=1)
    nics = (*one.nics, NicSpec(uuid="n2", index=1, mac="aa:00:00:00:00:02"))
    return msgspec.structs.replace(
        one, disks=(one.disks[0], second), nics=nics, network_port=11004,
        hvparams={"kernel_path": "", **hvparams},
    )  # fmt: skip


def layout(wanted: InstanceSpec) -> Layout:
    """Where its devices are."""
    found = parameters(wanted.hvparams)
    name = machine.wanted(found.machine_version)[0] or "pc-i440fx-7.2"
    made = machine.new_layout(wanted, found, name)
    for disk in wanted.disks:
        made = with_device(
            made, disk.uuid, on_pci=disks_on_pci(found), reserved=found.kvm_pci_reservations
        )
    for nic in wanted.nics:
        made = with_device(
            made, nic.uuid, on_pci=nics_on_pci(found), reserved=found.kvm_pci_reservations
        )
    return made


def started(wanted: InstanceSpec, node: Node = NODE) -> Launch:
    """How it would be started."""
    return launch(
        wanted,
        parameters(wanted.hvparams),
        layout(wanted),
        disks=(Device(path="/dev/xenvg/d1"), Device(path="/srv/d2")),
        interfaces=("tap0", "tap1"),
        node=node,
    )
