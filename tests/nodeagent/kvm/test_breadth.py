"""What parameters ask for, as QEMU takes it: each set starts a real guest."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from pathlib import Path

import msgspec
import pytest

from nodeagent.calls import InstanceSpec
from nodeagent.errors import BadCall, CommandFailed, Missing
from nodeagent.hypervisor.kvm.driver import Kvm
from nodeagent.hypervisor.kvm.interfaces import address_of
from nodeagent.hypervisor.kvm.processes import identify, kill, open_process, owners
from nodeagent.hypervisor.kvm.records import Process
from tests.nodeagent.contract_hypervisor import finish, prepare, run, running, send
from tests.nodeagent.kvm.launching import Value
from tests.nodeagent.kvm.real_node import RealNode
from tests.nodeagent.kvm.tiny import boots
from tests.nodeagent.specs import GUEST

pytestmark = pytest.mark.acceptance
PORT = 5999  # of its screen: the last that VNC counts below 100

BOOTS: dict[str, dict[str, Value]] = {
    "q35": {"machine_version": "q35"},
    "a machine with a version": {"machine_version": "pc-i440fx-6.2"},
    "options of the machine": {"machine_version": "pc,vmport=off"},
    "no ACPI": {"acpi": False},
    "IDE": {"disk_type": "ide"},
    "IDE on q35": {"disk_type": "ide", "machine_version": "q35"},
    "SCSI": {"disk_type": "scsi"},
    "SCSI through virtio": {"disk_type": "scsi-hd", "scsi_controller_type": "virtio-scsi-pci"},
    "SCSI through a RAID controller": {
        "disk_type": "scsi-hd", "scsi_controller_type": "megasas",
    },
    "past the cache": {"disk_cache": "none", "disk_aio": "native", "disk_discard": "unmap"},
    "through the cache": {"disk_cache": "writethrough"},
    "a processor": {"cpu_type": "qemu64,+ssse3"},
    "a topology": {"cpu_sockets": 1, "cpu_cores": 2, "cpu_threads": 1},
    "two threads": {"cpu_threads": 2},
    "memory of a file": {"mem_path": "/dev/shm"},
    "mouse and more": {"usb_mouse": "tablet", "usb_devices": "keyboard,mouse"},
    "cirrus": {"vga": "cirrus"},
    "std": {"vga": "std"},
    "virtio": {"vga": "virtio"},
    "vmware": {"vga": "vmware"},
    "VNC": {"vnc_bind_address": "127.0.0.1", "keymap": "de"},
    "VNC over IPv6": {"vnc_bind_address": "::1"},
    "VNC, sealed": {"vnc_bind_address": "127.0.0.1", "vnc_tls": True},
    "SPICE": {
        "spice_bind": "127.0.0.1", "spice_image_compression": "auto_glz",
        "spice_streaming_video": "filter", "spice_playback_compression": False,
        "spice_jpeg_wan_compression": "auto", "spice_zlib_glz_wan_compression": "never",
        "vga": "", "soundhw": "ac97", "use_guest_agent": True,
    },
    "SPICE on an interface": {"spice_bind": "lo", "spice_use_vdagent": False},
    "a guest agent": {"use_guest_agent": True},
    "no console": {"serial_console": False},
    "local time": {"use_localtime": True},
    "one life": {"reboot_behavior": "exit"},
    "fewer slots": {"kvm_pci_reservations": 20},
    "more arguments": {"kvm_extra": "-device edu -name 'other,debug-threads=off'"},
    "sound": {"soundhw": "hda"},
    "older sound": {"soundhw": "sb16"},
    "capabilities": {"migration_caps": "auto-converge:xbzrle"},
    "locked in": {"use_chroot": True},
}  # fmt: skip


@pytest.mark.parametrize("name", BOOTS)
def test_a_guest_boots(node: RealNode, disk: Path, name: str) -> None:
    """QEMU takes the parameters, and the guest its disk."""
    spec = node.guest(hvparams={"vga": "none", **BOOTS[name]}, memory_mib=128)
    run(node, msgspec.structs.replace(spec, network_port=PORT))
    if BOOTS[name].get("serial_console", True):
        node.await_boot()
        assert boots(disk) == 1
    assert len(running(node)) == 1


def test_uefi(node: RealNode) -> None:
    """The firmware keeps its variables in a file of this guest; the disk has nothing for it."""
    spec = node.guest(hvparams={"machine_version": "q35,firmware=uefi"}, memory_mib=128)
    run(node, spec)
    with node.console() as console:
        console.until(b"UEFI", timeout_s=60)
    variables = Path(node.settings.state_directory) / "variables" / f"{spec.uuid}.fd"
    template = Path(node.settings.firmware_variables)
    assert variables.stat().st_size == template.stat().st_size


def test_uefi_variables_come_along(pair: tuple[RealNode, RealNode]) -> None:
    """With a guest that is migrated: the target's file has what the source's had."""
    one, two = pair
    wanted: dict[str, Value] = {"machine_version": "q35,firmware=uefi"}
    run(one, one.guest(hvparams=wanted, memory_mib=128))
    one.stop()
    mark, files = b"what the guest has set", [variables_of(node) for node in pair]
    with files[0].open("r+b") as variables:  # where the firmware writes nothing by itself
        variables.seek(-len(mark), os.SEEK_END)
        variables.write(mark)
    run(one, one.guest(hvparams=wanted, memory_mib=128))
    moved = one.guest(generation=2, hvparams=wanted, memory_mib=128)
    prepare(two, moved, running=one.hypervisor.describe(moved))
    assert not files[1].read_bytes().endswith(mark)
    send(one, two, moved)
    for node in pair:
        finish(node, pair, moved, succeeded=True)
    assert files[1].read_bytes().endswith(mark)


def variables_of(node: RealNode) -> Path:
    """Where a node keeps the UEFI variables of the guest."""
    return Path(node.settings.state_directory) / "variables" / f"{GUEST}.fd"


@pytest.mark.parametrize("kind", ["ide", "paravirtual", "scsi-cd"])
def test_cdroms_come_before_the_disk(node: RealNode, disk: Path, kind: str) -> None:
    """With boot_order=cdrom. What has no boot record of a CD-ROM makes the disk the next choice;
    a paravirtual drive is a disk to the firmware, and boots."""
    images = [disk.with_name(name) for name in ("one.iso", "two.iso")]
    for image in images:
        image.write_bytes(disk.read_bytes())
    first, second = map(str, images)
    wanted: dict[str, Value] = {
        "cdrom_image_path": first,
        "cdrom2_image_path": second,
        "cdrom_disk_type": kind,
        "boot_order": "cdrom",
    }
    run(node, node.guest(hvparams=wanted, memory_mib=128))
    node.await_boot()
    assert boots(disk) == (0 if kind == "paravirtual" else 1)


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_a_guest_boots_from_a_floppy(node: RealNode, disk: Path, machine: str) -> None:
    """With boot_order=floppy."""
    image = disk.with_name("floppy")
    image.write_bytes(disk.read_bytes().ljust(1_474_560, b"\0"))
    wanted: dict[str, Value] = {
        "machine_version": machine,
        "floppy_image_path": str(image),
        "boot_order": "floppy",
    }
    run(node, node.guest(hvparams=wanted, memory_mib=128))
    node.await_boot()
    assert boots(disk) == 0, "it booted from the disk"


def test_a_guest_runs_as_another_user(node: RealNode, disk: Path) -> None:
    """Named, or the first of the pool that no guest has; a disk is still plugged in."""
    node.settings = msgspec.structs.replace(node.settings, users=("daemon",))
    node.restart()
    cases: tuple[dict[str, Value], ...] = (
        {"security_model": "user", "security_domain": "nobody"},
        {"security_model": "pool"},
    )
    for wanted, user in zip(cases, ("nobody", "daemon"), strict=True):
        run(node, node.guest(hvparams=wanted, memory_mib=128))
        status = Path(f"/proc/{node.process}/status").read_text()
        assert f"Uid:\t{_number(user)}\t" in status
        spec, device = node.more()
        os.chmod(device.path, 0o600)
        node.hypervisor.plug_disk(spec, "d2", device=device)
        node.stop()


def test_guests_run_as_users_of_the_clusters_pool(pair: tuple[RealNode, RealNode]) -> None:
    """Each as one that has no process here, be there an account of it or not; the next is taken
    when the first is busy, and the pool ends with its last."""
    node = pair[0]
    free = next(uid for uid in range(60_000, 61_000) if uid not in owners())

    def pooled(uuid: str) -> InstanceSpec:
        spec = node.guest(hvparams={"security_model": "pool"}, memory_mib=128)
        return msgspec.structs.replace(spec, uuid=uuid, uid_pool=((free, free + 1),))

    with subprocess.Popen(["sleep", "60"], user=free) as other:
        run(node, pooled(GUEST))
        status = Path(f"/proc/{node.process}/status").read_text()
        assert f"Uid:\t{free + 1}\t" in status
        assert f"Gid:\t{free + 1}\t" in status
        with pytest.raises(BadCall, match="no user is free"):
            run(node, pooled("0f0f0f0f-5d2a-4b7e-9a51-0c9f3b7d2e10"))
        other.kill()


def test_a_pool_without_a_free_user(node: RealNode) -> None:
    """Is refused, with what to do."""
    with pytest.raises(BadCall, match="no user is free"):
        run(node, node.guest(hvparams={"security_model": "pool"}))
    assert node.hypervisor.seen() == ()


def test_a_guest_is_bound_to_processors(node: RealNode) -> None:
    """The whole of it, or each of its virtual processors."""
    run(node, node.guest(hvparams={"cpu_mask": "0"}, memory_mib=128))
    assert os.sched_getaffinity(node.process) == {0}
    node.stop()
    run(node, node.guest(hvparams={"cpu_mask": "0:1"}, memory_mib=128))
    tasks = Path(f"/proc/{node.process}/task")
    bound = [os.sched_getaffinity(int(task.name)) for task in tasks.iterdir()]
    assert {0} in bound
    assert {1} in bound


def test_a_screen_with_a_password(node: RealNode, tmp_path: Path) -> None:
    """VNC asks for what the file says; it offers no way without."""
    secret = tmp_path / "secret"
    secret.write_text("open\n")
    wanted: dict[str, Value] = {
        "vnc_bind_address": str(node.place.directory.parent),
        "vnc_password_file": str(secret),
    }
    spec = node.guest(hvparams=wanted, memory_mib=128)
    run(node, spec)
    with socket.socket(socket.AF_UNIX) as screen:
        screen.connect(str(node.place.directory.parent / f"{spec.name}.vnc"))
        greeting = screen.recv(12)
        screen.sendall(greeting)
        assert screen.recv(2) == b"\x01\x02"  # RFC 6143: one security type, VNC authentication


MISSING: dict[str, tuple[dict[str, Value], str]] = {
    "no QEMU": ({"kvm_path": "/usr/bin/no-such-qemu"}, "no /usr/bin/no-such-qemu"),
    "another program": ({"kvm_path": "/usr/bin/env"}, "is no QEMU|does not start"),
    "no kernel": ({"kernel_path": "/boot/no-such-kernel"}, "kernel_path: there is no"),
    "no image": ({"cdrom_image_path": "/srv/none.iso"}, "cdrom_image_path: there is no"),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_named(node: RealNode, name: str) -> None:
    """With what to do, and nothing is left of the attempt."""
    wanted, message = MISSING[name]
    with pytest.raises(Missing, match=message) as caught:
        run(node, node.guest(hvparams=wanted))
    assert caught.value.hint
    assert node.hypervisor.seen() == ()
    assert not node.place.directory.exists()


def test_an_unknown_machine_is_refused_with_the_known_ones(node: RealNode) -> None:
    """The types that this QEMU has."""
    with pytest.raises(BadCall, match="no machine 'sparc'") as caught:
        run(node, node.guest(hvparams={"machine_version": "sparc"}))
    assert "q35" in caught.value.hint


def test_what_qemu_says_is_shown(node: RealNode) -> None:
    """An argument that it does not know fails the start, with its own words."""
    with pytest.raises(CommandFailed) as caught:
        run(node, node.guest(hvparams={"kvm_extra": "-no-such-option"}))
    assert "no-such-option" in caught.value.output
    assert node.hypervisor.seen() == ()


def test_a_qemu_of_an_unknown_version_is_refused(node: RealNode, tmp_path: Path) -> None:
    """It is named, with those that the driver works with."""
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\necho 'QEMU emulator version 3.1.0'\n")
    program.chmod(0o755)
    with pytest.raises(Missing, match=r"QEMU 3\.1 is not known"):
        run(node, node.guest(hvparams={"kvm_path": str(program)}))


def test_a_part_of_qemu_in_a_package_of_its_own_is_named(node: RealNode, tmp_path: Path) -> None:
    """With the package, as Debian's QEMU itself says it."""
    program = tmp_path / "qemu"
    program.write_text(
        "#!/bin/sh\n"
        'case $1 in -version|-machine) exec /usr/bin/qemu-system-x86_64 "$@";; esac\n'
        "echo 'qemu: module block-block-curl not found, do you want to install"
        " qemu-block-extra package?' >&2\n"
        "exit 1\n"
    )
    program.chmod(0o755)
    with pytest.raises(Missing, match="lacks block-block-curl") as caught:
        run(node, node.guest(hvparams={"kvm_path": str(program)}))
    assert caught.value.hint == "install qemu-block-extra"


def test_a_path_that_is_too_long_for_sockets_is_named(tmp_path: Path) -> None:
    """Before a guest is started."""
    node = RealNode(tmp_path, tmp_path / "disk", 1)
    long = msgspec.structs.replace(node.settings, run_directory=f"/run/{'x' * 80}")
    driver = Kvm("node1", long)
    assert any("too long" in need for need in driver.needs())
    driver.close()
    node.close()


def test_the_address_of_an_interface() -> None:
    """One that has none is named."""
    assert address_of("lo", 4) == "127.0.0.1"
    for version in (4, 6):
        with pytest.raises(Missing, match=f"none-such has no address of IPv{version}"):
            address_of("none-such", version)


def test_a_process_id_that_is_given_anew_is_another_process() -> None:
    """It is told by when it began: the later one is neither watched nor killed."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        process = identify(sleeper.pid)
        earlier = Process(process.pid, process.began - 1)
        assert open_process(earlier) is None
        kill(earlier)
        handle = open_process(process)
        assert handle is not None, "it was killed for another one"
        os.close(handle)
        kill(process)
        assert sleeper.wait(10) == -signal.SIGKILL
        assert open_process(process) is None


def _number(user: str) -> int:
    return pwd.getpwnam(user).pw_uid
