"""The machine a guest sees: type, processors, memory, kernel or firmware, clock (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterator

from nodeagent.calls import InstanceSpec
from nodeagent.errors import BadCall
from nodeagent.hypervisor.kvm.devices import flat
from nodeagent.hypervisor.kvm.layout import DIMM_SLOTS, GROWTH, Layout
from nodeagent.hypervisor.kvm.parameters import Parameters
from nodeagent.hypervisor.kvm.settings import KVM, TCG

UEFI = "firmware=uefi"
_RAM = "ram"
_FLAGS = {"enabled": KVM, "disabled": TCG}  # kvm_flag


def arguments(
    instance: InstanceSpec,
    found: Parameters,
    layout: Layout,
    accelerator: str,
    firmware: tuple[str, str] | None,
) -> Iterator[str]:
    """Yield the arguments."""
    if firmware is not None:
        for place, path in enumerate(firmware):
            flash = {
                "driver": "file", "node-name": f"flash{place}", "filename": path,
                "read-only": place == 0,
            }  # fmt: skip
            yield from ("-blockdev", json.dumps(flash))
    yield from ("-machine", ",".join(_machine(found, layout, firmware)))
    yield from ("-accel", _FLAGS.get(found.kvm_flag, accelerator))
    if found.cpu_type:
        yield from ("-cpu", found.cpu_type)
    yield from ("-smp", _processors(found, layout))
    yield from _memory(found, layout)
    for vcpu in layout.plugged_vcpus:
        yield from ("-device", flat(vcpu, "driver"))
    if found.reboot_behavior == "exit":
        yield "-no-reboot"
    if found.use_localtime:
        yield from ("-rtc", "base=localtime")
    if found.kernel_path:
        yield from ("-kernel", found.kernel_path)
        if found.initrd_path:
            yield from ("-initrd", found.initrd_path)
        yield from ("-append", _kernel_line(found))


def wanted(machine_version: str) -> tuple[str, bool, tuple[str, ...]]:
    """Return what `machine_version` asks for: the type, whether UEFI boots it, its options."""
    name, *options = machine_version.split(",")
    return name, UEFI in options, tuple(option for option in options if option != UEFI)


def new_layout(instance: InstanceSpec, found: Parameters, machine: str) -> Layout:
    """Return the layout of a guest that is started, without disks and NICs yet.

    `machine`: its type, with the version.
    """
    topology = (found.cpu_sockets, found.cpu_cores, found.cpu_threads)
    fixed = topology[0] * topology[1] * topology[2]
    if fixed and fixed < instance.vcpus:
        raise BadCall(
            f"{instance.vcpus} vCPUs do not fit into {topology[0]} sockets of {topology[1]} cores "
            f"with {topology[2]} threads",
            hint="set cpu_sockets to 0: it then follows the number of vCPUs",
        )
    # With two of three given, QEMU computes the third, which only works without spare vCPUs.
    spare = fixed or (instance.vcpus if any(topology) else instance.vcpus * GROWTH)
    growth_gib = -(-instance.memory_mib * GROWTH // 1024)
    return Layout(
        machine=machine,
        hvparams=instance.hvparams,
        memory_mib=instance.memory_mib,
        vcpus=instance.vcpus,
        max_memory_mib=growth_gib * 1024,
        max_vcpus=spare,
    )


def _machine(found: Parameters, layout: Layout, firmware: tuple[str, str] | None) -> Iterator[str]:
    yield layout.machine
    yield from wanted(found.machine_version)[2]
    if not found.acpi:
        yield "acpi=off"
    if firmware is not None:
        yield from ("pflash0=flash0", "pflash1=flash1")
    if found.mem_path:
        yield f"memory-backend={_RAM}"
    if found.usb_mouse or found.usb_devices:
        yield "usb=on"


def _processors(found: Parameters, layout: Layout) -> str:
    parts = [f"cpus={layout.vcpus}", f"maxcpus={layout.max_vcpus}"]
    given = (
        ("sockets", found.cpu_sockets),
        ("cores", found.cpu_cores),
        ("threads", found.cpu_threads),
    )
    return ",".join([*parts, *(f"{name}={number}" for name, number in given if number)])


def _memory(found: Parameters, layout: Layout) -> Iterator[str]:
    size = f"size={layout.memory_mib}M"
    yield from ("-m", f"{size},slots={DIMM_SLOTS},maxmem={layout.max_memory_mib}M")
    if found.mem_path:
        path = found.mem_path.replace(",", ",,")
        backend = f"memory-backend-file,id={_RAM},{size},mem-path={path},prealloc=on"
        yield from ("-object", backend)
    for place, size_mib in enumerate(layout.dimms_mib):
        yield from ("-object", f"memory-backend-ram,id=dimm-ram{place},size={size_mib}M")
        yield from ("-device", f"pc-dimm,id=dimm{place},memdev=dimm-ram{place}")


def _kernel_line(found: Parameters) -> str:
    parts = [f"root={found.root_path}"] if found.root_path else []
    parts.append(found.kernel_args)
    if found.serial_console:
        parts.append(f"console=ttyS0,{found.serial_speed}")
    return " ".join(part for part in parts if part)
