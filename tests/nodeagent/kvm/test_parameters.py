"""Every hypervisor parameter of KVM acts, or is refused with a reason."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from nodeagent.errors import BadCall, NodeAgentError
from nodeagent.hypervisor.kvm.parameters import Parameters, cpu_masks, parameters
from projections import params
from tests.nodeagent.kvm.launching import Value, spec, started

TABLE = params.tables().hvparams["kvm"]
VNC: dict[str, Value] = {"vnc_bind_address": "0.0.0.0"}
TLS: dict[str, Value] = {**VNC, "vnc_tls": True}
SPICE: dict[str, Value] = {"spice_bind": "0.0.0.0"}
KERNEL: dict[str, Value] = {"kernel_path": "/boot/vmlinuz"}
CDROM: dict[str, Value] = {"cdrom_image_path": "/srv/a.iso"}


class Acts(NamedTuple):
    """A value other than the default, beside others that it needs, makes another start."""

    value: Value
    beside: dict[str, Value] = {}


# Each parameter, and what shows that it acts.
ACTS: dict[str, Acts] = {
    "acpi": Acts(False),
    "boot_order": Acts("network"),
    "cdrom2_image_path": Acts("/srv/b.iso", CDROM),
    "cdrom_disk_type": Acts("scsi", CDROM),
    "cdrom_image_path": Acts("http://mirror/a.iso"),
    "cpu_cores": Acts(2),
    "cpu_mask": Acts("0-1:2"),
    "cpu_sockets": Acts(2),
    "cpu_threads": Acts(2),
    "cpu_type": Acts("host"),
    "disk_aio": Acts("native"),
    "disk_cache": Acts("writethrough"),
    "disk_discard": Acts("unmap"),
    "disk_type": Acts("scsi-hd"),
    "floppy_image_path": Acts("/srv/a.img"),
    "initrd_path": Acts("/boot/initrd", KERNEL),
    "kernel_args": Acts("rw", KERNEL),
    "kernel_path": Acts("/boot/vmlinuz"),
    "keymap": Acts("de"),
    "kvm_extra": Acts("-device 'edu,id=a b'"),
    "kvm_flag": Acts("enabled"),
    "kvm_path": Acts("/opt/qemu"),
    "kvm_pci_reservations": Acts(6),
    "machine_version": Acts("pc-q35-7.2"),
    "mem_path": Acts("/hugepages"),
    "migration_bandwidth": Acts(100),
    "migration_caps": Acts("auto-converge:postcopy-ram"),
    "migration_downtime": Acts(300),
    "migration_port": Acts(8200),
    "nic_type": Acts("e1000"),
    "reboot_behavior": Acts("exit"),
    "root_path": Acts("/dev/vda2", KERNEL),
    "scsi_controller_type": Acts("virtio-scsi-pci", {"disk_type": "scsi"}),
    "security_domain": Acts("joe", {"security_model": "user", "security_domain": "jane"}),
    "security_model": Acts("pool"),
    "serial_console": Acts(False),
    "serial_speed": Acts(9600, KERNEL),
    "soundhw": Acts("hda"),
    "spice_bind": Acts("::1"),
    "spice_image_compression": Acts("glz", SPICE),
    "spice_ip_version": Acts(6, {"spice_bind": "localhost"}),
    "spice_jpeg_wan_compression": Acts("never", SPICE),
    "spice_password_file": Acts("/etc/secret", SPICE),
    "spice_playback_compression": Acts(False, SPICE),
    "spice_streaming_video": Acts("all", SPICE),
    "spice_tls_ciphers": Acts("HIGH", {**SPICE, "spice_use_tls": True}),
    "spice_use_tls": Acts(True, SPICE),
    "spice_use_vdagent": Acts(False, SPICE),
    "spice_zlib_glz_wan_compression": Acts("always", SPICE),
    "usb_devices": Acts("tablet host:1.2,host:0403:6001"),
    "usb_mouse": Acts("tablet"),
    "use_chroot": Acts(True),
    "use_guest_agent": Acts(True),
    "use_localtime": Acts(True),
    "user_shutdown": Acts(True),
    "vga": Acts("virtio"),
    "vhost_net": Acts(False),
    "virtio_net_queues": Acts(4),
    "vnc_bind_address": Acts("/run/vnc"),
    "vnc_password_file": Acts("/etc/secret", VNC),
    "vnc_tls": Acts(True, VNC),
    "vnc_x509_path": Acts("/etc/tls", TLS),
    "vnc_x509_verify": Acts(True, {**TLS, "vnc_x509_path": "/etc/tls"}),
    "vnet_hdr": Acts(False),
}
# Not the driver's: what acts upon it instead.
ELSEWHERE = {"migration_mode": "commands/instance_ops/migrate.py chooses live or not"}

REFUSED: dict[str, tuple[dict[str, Value], str]] = {
    "an unknown parameter": ({"turbo": True}, "turbo"),
    "a value that it cannot have": ({"disk_cache": "fast"}, "disk_cache"),
    "flash": ({"disk_type": "pflash"}, "flash memory"),
    "a CD-ROM in flash": ({**CDROM, "cdrom_disk_type": "mtd"}, "cannot be a CD-ROM"),
    "a CD-ROM as a disk": ({**CDROM, "cdrom_disk_type": "scsi-hd"}, "scsi-cd"),
    "a disk as a CD-ROM": ({"disk_type": "scsi-cd"}, "cannot be written"),
    "a drive without an image": ({"cdrom_disk_type": "ide"}, "without cdrom_image_path"),
    "a second CD-ROM alone": ({"cdrom2_image_path": "/b.iso"}, "second"),
    "native with a cache": ({"disk_aio": "native", "disk_cache": "writeback"}, "past the"),
    "a boot from no CD-ROM": ({"boot_order": "cdrom"}, "needs cdrom_image_path"),
    "a boot from no floppy": ({"boot_order": "floppy"}, "needs floppy_image_path"),
    "an initrd alone": ({"initrd_path": "/boot/initrd"}, "without kernel_path"),
    "a user without a name": ({"security_model": "user"}, "needs security_domain"),
    "a name without a user": ({"security_domain": "joe"}, "without security_model"),
    "two screens": ({**VNC, **SPICE}, "exclude each other"),
    "a check without certificates": ({**TLS, "vnc_x509_verify": True}, "needs vnc_x509_path"),
    "certificates without TLS": ({**VNC, "vnc_x509_path": "/a"}, "without vnc_tls"),
    "VNC nowhere": ({"vnc_bind_address": "here"}, "vnc_bind_address"),
    "VNC's password without VNC": ({"vnc_password_file": "/a"}, "without vnc_bind_address"),
    "SPICE's options without SPICE": ({"spice_use_tls": True}, "without spice_bind"),
    "unknown sound": ({"soundhw": "all"}, "ac97"),
    "an unknown screen": ({"vga": "cga"}, "cirrus"),
    "queues without virtio": ({"virtio_net_queues": 2, "nic_type": "e1000"}, "paravirtual"),
    "a quotation without an end": ({"kvm_extra": "-name 'a"}, "quotation"),
    "a mask that is none": ({"cpu_mask": "a-b"}, "cpu_mask"),
    "a relative path": ({"kernel_path": "vmlinuz"}, "not a full path"),
    "a path with dots": ({"mem_path": "/a/../b"}, "not a full path"),
    "an image that is neither": ({"cdrom_image_path": "a.iso"}, "nor a URL"),
    "two roots": ({"use_chroot": True, "kvm_extra": "-chroot /"}, "kvm_extra"),
}


def test_every_parameter_is_in_one_of_the_tables() -> None:
    """Those of Ganeti's table, and no others."""
    assert set(ACTS) | set(ELSEWHERE) == set(TABLE)
    assert set(Parameters.__struct_fields__) == set(TABLE)


def test_defaults_are_those_of_the_table() -> None:
    """So a guest whose parameters are not all filled in is started as the cluster would."""
    assert {name: getattr(Parameters(), name) for name in TABLE} == {
        name: each.default for name, each in TABLE.items()
    }


@pytest.mark.parametrize("name", ACTS)
def test_a_parameter_acts(name: str) -> None:
    """With another value the guest is started, or moved, or ends otherwise."""
    case = ACTS[name]
    before = started(spec(**case.beside))
    assert started(spec(**{**case.beside, name: case.value})) != before


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_with_the_reason(case: str) -> None:
    """Before anything is started."""
    given, reason = REFUSED[case]
    with pytest.raises(BadCall, match=reason):
        parameters({"kernel_path": "", **given})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"usb_devices": "gamepad"}, "gamepad"),
        ({**SPICE, "spice_ip_version": 6}, "IPv4"),
        ({"cpu_sockets": 1, "cpu_cores": 1, "cpu_threads": 1}, "do not fit"),
        ({"kvm_pci_reservations": 32}, "slots"),
        ({"disk_type": "scsi-block"}, "real SCSI device"),
    ],
)
def test_what_only_the_command_line_shows(given: dict[str, Value], reason: str) -> None:
    """It is refused, too."""
    with pytest.raises(NodeAgentError, match=reason):
        started(spec(**given))


def test_masks() -> None:
    """gnt-instance(8), cpu_mask."""
    assert cpu_masks("all") == ()
    assert cpu_masks("0-2,5") == (frozenset({0, 1, 2, 5}),)
    assert cpu_masks("1:all:3") == (frozenset({1}), frozenset(), frozenset({3}))
