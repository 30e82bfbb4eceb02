"""What the scripts of an OS definition see: exactly Ganeti's variables (pure).

Source: Ganeti's OS interface (docs/os-interface.md). OS definitions written for it run unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from nodeagent.calls import Device, DiskSpec, InstanceSpec, NicSpec, Value
from nodeagent.network.scripts import network_variables
from nodeagent.os_definition import OsDefinition, chosen_variant
from nodeagent.runner import PATH

_BACKENDS = {"file": "file:loop", "sharedfile": "file:loop", "gluster": "file:loop"}


def os_environment(
    definition: OsDefinition, name: str, parameters: Mapping[str, str], *, debug_level: int
) -> dict[str, str]:
    """What every script sees, with or without an instance. `name` includes the variant."""
    environment = {
        "PATH": PATH,
        "OS_API_VERSION": str(definition.api_version),
        "OS_NAME": definition.name,
        "INSTANCE_OS": name,
        "OS_VARIANT": chosen_variant(definition, name),
        "DEBUG_LEVEL": str(debug_level),
    }
    for parameter, value in parameters.items():
        environment[f"OSP_{parameter.upper().replace('-', '_')}"] = value
    return environment


def instance_environment(
    definition: OsDefinition,
    instance: InstanceSpec,
    devices: Sequence[Device],
    *,
    debug_level: int = 0,
) -> dict[str, str]:
    """What a script sees that works on an instance; `devices` are its disks', in order."""
    environment = os_environment(
        definition, instance.os, instance.osparams, debug_level=debug_level
    )
    environment |= {
        "INSTANCE_NAME": instance.name,
        "INSTANCE_UUID": instance.uuid,
        "INSTANCE_CTIME": str(instance.ctime),
        "INSTANCE_MTIME": str(instance.mtime),
        "INSTANCE_PRIMARY_NODE": instance.primary,
        "INSTANCE_SECONDARY_NODES": " ".join(instance.secondaries),
        "HYPERVISOR": instance.hypervisor,
        "DISK_COUNT": str(len(instance.disks)),
        "NIC_COUNT": str(len(instance.nics)),
    }
    environment |= dict(_prefixed("INSTANCE_BE_", instance.beparams))
    environment |= dict(_prefixed("INSTANCE_HV_", instance.hvparams))
    for number, (disk, device) in enumerate(zip(instance.disks, devices, strict=True)):
        pairs = _disk_environment(disk, device, instance)
        environment |= {f"DISK_{number}_{key}": value for key, value in pairs}
    for number, nic in enumerate(instance.nics):
        pairs = _nic_environment(nic, instance)
        environment |= {f"NIC_{number}_{key}": value for key, value in pairs}
    return environment


def disk_environment(prefix: str, index: int, device: Device) -> dict[str, str]:
    """What `export` and `import` see of the one disk that they are about, beside the rest.

    `prefix`: EXPORT or IMPORT. A disk without a path has a URI only.
    """
    environment = {f"{prefix}_INDEX": str(index)}
    if device.path:
        environment |= {f"{prefix}_DISK_PATH": device.path, f"{prefix}_DEVICE": device.path}
    if device.uri:
        environment[f"{prefix}_DISK_URI"] = device.uri
    return environment


def _prefixed(prefix: str, parameters: Mapping[str, Value]) -> Iterable[tuple[str, str]]:
    return ((prefix + name, str(value)) for name, value in parameters.items())


def _disk_environment(
    disk: DiskSpec, device: Device, instance: InstanceSpec
) -> Iterable[tuple[str, str]]:
    yield "ACCESS", disk.mode
    yield "SIZE", str(disk.size_mib)
    yield "UUID", disk.uuid
    yield "BACKEND_TYPE", _BACKENDS.get(disk.template, "block")
    if device.path:
        yield "PATH", device.path
    if device.uri:
        yield "URI", device.uri
    if disk.name:
        yield "NAME", disk.name
    if "disk_type" in instance.hvparams:
        yield "FRONTEND_TYPE", str(instance.hvparams["disk_type"])


def _nic_environment(nic: NicSpec, instance: InstanceSpec) -> Iterable[tuple[str, str]]:
    yield "MAC", nic.mac
    yield "UUID", nic.uuid
    yield "MODE", nic.mode
    yield "LINK", nic.link
    if nic.mode == "bridged":
        yield "BRIDGE", nic.link
    if nic.name:
        yield "NAME", nic.name
    if nic.ip:
        yield "IP", nic.ip
    yield from ((f"NETWORK_{name}", value) for name, value in network_variables(nic))
    if "nic_type" in instance.hvparams:
        yield "FRONTEND_TYPE", str(instance.hvparams["nic_type"])
