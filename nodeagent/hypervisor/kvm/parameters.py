"""Hypervisor parameters of KVM: what each may be, and which values are refused (pure).

Names and defaults are Ganeti's. Every parameter acts (on the command line, over QMP, or when a
guest ends or moves; `tests/nodeagent/kvm/test_parameters.py` walks all of them) or is refused with
a reason. None is ignored: one that could only act together with another is refused without it.
"""

from __future__ import annotations

import ipaddress
import posixpath
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from nodeagent.calls import Value
from nodeagent.errors import BadCall

DiskType = Literal[
    "ide", "mtd", "paravirtual", "pflash", "scsi", "scsi-block", "scsi-cd", "scsi-generic",
    "scsi-hd", "sd",
]  # fmt: skip
WanCompression = Literal["", "always", "auto", "never"]
Count = Annotated[int, Meta(ge=0)]
FLASH = ("mtd", "pflash", "sd")
SOUND = ("ac97", "adlib", "cs4231a", "es1370", "gus", "hda", "sb16")
VGA = ("cirrus", "none", "qxl", "std", "virtio", "vmware")


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of one guest."""

    acpi: bool = True
    boot_order: Literal["cdrom", "disk", "floppy", "network"] = "disk"
    cdrom2_image_path: str = ""
    cdrom_disk_type: Literal[DiskType, ""] = ""
    cdrom_image_path: str = ""
    cpu_cores: Count = 0
    cpu_mask: str = "all"
    cpu_sockets: Count = 0
    cpu_threads: Count = 0
    cpu_type: str = ""
    disk_aio: Literal["io_uring", "native", "threads"] = "threads"
    disk_cache: Literal["default", "none", "writeback", "writethrough"] = "default"
    disk_discard: Literal["ignore", "unmap"] = "ignore"
    disk_type: DiskType = "paravirtual"
    floppy_image_path: str = ""
    initrd_path: str = ""
    kernel_args: str = "ro"
    kernel_path: str = "/boot/vmlinuz-3-kvmU"
    keymap: str = ""
    kvm_extra: str = ""
    kvm_flag: Literal["", "disabled", "enabled"] = ""
    kvm_path: str = "/usr/bin/kvm"
    kvm_pci_reservations: Annotated[int, Meta(ge=0, le=32)] = 12
    machine_version: str = ""
    mem_path: str = ""
    migration_bandwidth: Count = 32  # MiB/s
    migration_caps: str = ""
    migration_downtime: Count = 30  # ms
    migration_mode: Literal["live", "non-live"] = "live"
    migration_port: Annotated[int, Meta(ge=1, le=65534)] = 8102
    nic_type: Literal[
        "e1000", "i82551", "i82557b", "i82559er", "ne2k_isa", "ne2k_pci", "paravirtual",
        "pcnet", "rtl8139",
    ] = "paravirtual"  # fmt: skip
    reboot_behavior: Literal["reboot", "exit"] = "reboot"
    root_path: str | None = "/dev/vda1"
    scsi_controller_type: Literal["lsi", "megasas", "virtio-scsi-pci"] = "lsi"
    security_domain: str = ""
    security_model: Literal["none", "pool", "user"] = "none"
    serial_console: bool = True
    serial_speed: Annotated[int, Meta(gt=0)] = 38400
    soundhw: str = ""
    spice_bind: str = ""
    spice_image_compression: Literal["", "auto_glz", "auto_lz", "glz", "lz", "off", "quic"] = ""
    spice_ip_version: Literal[0, 4, 6] = 0
    spice_jpeg_wan_compression: WanCompression = ""
    spice_password_file: str = ""
    spice_playback_compression: bool = True
    spice_streaming_video: Literal["", "all", "filter", "off"] = ""
    spice_tls_ciphers: str = "HIGH:-DES:-3DES:-EXPORT:-DH"
    spice_use_tls: bool = False
    spice_use_vdagent: bool = True
    spice_zlib_glz_wan_compression: WanCompression = ""
    usb_devices: str = ""
    usb_mouse: Literal["", "mouse", "tablet"] = ""
    use_chroot: bool = False
    use_guest_agent: bool = False
    use_localtime: bool = False
    user_shutdown: bool = False
    vga: str = ""
    vhost_net: bool = True
    virtio_net_queues: Annotated[int, Meta(ge=1, le=32)] = 1
    vnc_bind_address: str = ""
    vnc_password_file: str = ""
    vnc_tls: bool = False
    vnc_x509_path: str = ""
    vnc_x509_verify: bool = False
    vnet_hdr: bool = True


msgspec.convert({}, Parameters)  # so that msgspec knows it before threads do: docs/decisions/0206


def parameters(given: Mapping[str, Value]) -> Parameters:
    """Return the parameters. Raises BadCall with every reason against them."""
    try:
        found = msgspec.convert(dict(given), Parameters, strict=False)
    except msgspec.ValidationError as wrong:
        raise BadCall(
            f"hypervisor parameters: {wrong}", hint="gnt-instance info shows those in force"
        ) from None
    wrong_ones = tuple(reasons_against(found))
    if wrong_ones:
        raise BadCall(
            f"hypervisor parameters: {'; '.join(wrong_ones)}", hint="gnt-instance modify -H"
        )
    return found


def reasons_against(found: Parameters) -> Iterator[str]:
    """Yield why these parameters cannot all be done as they say."""
    for name in _PATHS:
        path = str(getattr(found, name) or "")
        if path and (not path.startswith("/") or posixpath.normpath(path) != path):
            yield f"{name}={path} is not a full path"
    for name in ("cdrom_image_path", "cdrom2_image_path"):
        path = getattr(found, name)
        if path and "://" not in path and not path.startswith("/"):
            yield f"{name}={path} is neither a full path nor a URL"
    yield from _without(found, "vnc_bind_address", VNC)
    yield from _without(found, "spice_bind", SPICE)
    for check, reason in _RULES:
        if check(found):
            yield reason


def _without(found: Parameters, name: str, dependents: tuple[str, ...]) -> Iterator[str]:
    if not getattr(found, name):
        for dependent in dependents:
            if getattr(found, dependent) != getattr(_DEFAULTS, dependent):
                yield f"{dependent} does nothing without {name}"


def cdrom_kind(found: Parameters) -> str:
    """Return what kind of drive a CD-ROM is: as the disks, but IDE where these are paravirtual."""
    like_disks = "ide" if found.disk_type == "paravirtual" else found.disk_type
    return found.cdrom_disk_type or like_disks


def cpu_masks(mask: str) -> tuple[frozenset[int], ...]:
    """Return the host CPUs of each vCPU, or one set for all; nothing for "all".

    Raises ValueError. Source: gnt-instance(8), cpu_mask: masks separated by colons, `0-3,5:all`.
    An empty set stands for `all` among several.
    """
    if mask in ("", "all"):
        return ()
    return tuple(_cpus(part) for part in mask.split(":"))


def _cpus(part: str) -> frozenset[int]:
    if part == "all":
        return frozenset()
    found: set[int] = set()
    for piece in part.split(","):
        first, _, last = piece.partition("-")
        numbers = range(int(first), int(last or first) + 1)
        if not numbers:
            raise ValueError(f"{piece} is empty")
        found.update(numbers)
    return frozenset(found)


def _bad_mask(found: Parameters) -> bool:
    try:
        cpu_masks(found.cpu_mask)
    except ValueError:
        return True
    return False


def _bad_words(found: Parameters) -> bool:
    try:
        shlex.split(found.kvm_extra)
    except ValueError:
        return True
    return False


def is_address(text: str) -> bool:
    """Whether this is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_DEFAULTS = Parameters()
_PATHS = (
    "floppy_image_path", "initrd_path", "kernel_path", "kvm_path", "mem_path",
    "spice_password_file", "vnc_password_file", "vnc_x509_path",
)  # fmt: skip
VNC = ("vnc_password_file", "vnc_tls", "vnc_x509_path", "vnc_x509_verify")
SPICE = (
    "spice_image_compression", "spice_ip_version", "spice_jpeg_wan_compression",
    "spice_password_file", "spice_playback_compression", "spice_streaming_video",
    "spice_tls_ciphers", "spice_use_tls", "spice_use_vdagent", "spice_zlib_glz_wan_compression",
)  # fmt: skip
_RULES: tuple[tuple[Callable[[Parameters], bool], str], ...] = (
    (
        lambda p: p.disk_type in FLASH,
        "disk_type: mtd, pflash and sd are for boards with flash memory, which no machine here is",
    ),
    (
        lambda p: p.cdrom_disk_type in FLASH,
        "cdrom_disk_type: flash memory cannot be a CD-ROM drive",
    ),
    (
        lambda p: p.cdrom_disk_type in ("scsi-block", "scsi-generic", "scsi-hd"),
        "cdrom_disk_type: of the SCSI devices only scsi or scsi-cd is a CD-ROM drive",
    ),
    (
        lambda p: p.cdrom_disk_type != "" and not p.cdrom_image_path,
        "cdrom_disk_type does nothing without cdrom_image_path",
    ),
    (
        lambda p: p.cdrom2_image_path != "" and not p.cdrom_image_path,
        "cdrom2_image_path is for a second CD-ROM; set cdrom_image_path first",
    ),
    (
        lambda p: p.disk_type == "scsi-cd",
        "disk_type=scsi-cd: a CD-ROM drive cannot be written; give an image as cdrom_image_path",
    ),
    (
        lambda p: p.disk_aio == "native" and p.disk_cache in ("writeback", "writethrough"),
        "disk_aio=native goes past the host's cache, so disk_cache must be none or default",
    ),
    (
        lambda p: p.boot_order == "cdrom" and not p.cdrom_image_path,
        "boot_order=cdrom needs cdrom_image_path",
    ),
    (
        lambda p: p.boot_order == "floppy" and not p.floppy_image_path,
        "boot_order=floppy needs floppy_image_path",
    ),
    (
        lambda p: p.initrd_path != "" and not p.kernel_path,
        "initrd_path does nothing without kernel_path",
    ),
    (
        lambda p: p.security_model == "user" and not p.security_domain,
        "security_model=user needs security_domain, the name of the user",
    ),
    (
        lambda p: p.security_model != "user" and p.security_domain != "",
        "security_domain does nothing without security_model=user",
    ),
    (
        lambda p: p.vnc_bind_address != "" and p.spice_bind != "",
        "vnc_bind_address and spice_bind exclude each other: both would listen on the same port",
    ),
    (
        lambda p: p.vnc_x509_verify and not p.vnc_x509_path,
        "vnc_x509_verify needs vnc_x509_path, where the certificates are",
    ),
    (
        lambda p: p.vnc_x509_path != "" and not p.vnc_tls,
        "vnc_x509_path does nothing without vnc_tls",
    ),
    (
        lambda p: (
            p.vnc_bind_address != ""
            and not p.vnc_bind_address.startswith("/")
            and not is_address(p.vnc_bind_address)
        ),
        "vnc_bind_address is neither an address nor the full path of a directory",
    ),
    (
        lambda p: p.soundhw != "" and p.soundhw not in SOUND,
        f"soundhw: QEMU has {', '.join(SOUND)}",
    ),
    (lambda p: p.vga != "" and p.vga not in VGA, f"vga: QEMU has {', '.join(VGA)}"),
    (
        lambda p: p.virtio_net_queues > 1 and p.nic_type != "paravirtual",
        "virtio_net_queues is for nic_type=paravirtual",
    ),
    (_bad_words, "kvm_extra: a quotation mark is not closed"),
    (_bad_mask, "cpu_mask: give CPUs as 0-3,5, or one such list for each vCPU, with : between"),
    (
        lambda p: p.use_chroot and p.kvm_extra != "" and "chroot" in p.kvm_extra,
        "kvm_extra and use_chroot both say where QEMU is locked in",
    ),
)
