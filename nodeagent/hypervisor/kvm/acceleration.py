"""Whether KVM works on this node: a machine is started with it (edge).

That /dev/kvm can be opened says little: where the node itself is a guest, it may make machines that
never get through their firmware. So one is booted, from a floppy whose only program ends QEMU.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from nodeagent.errors import CommandFailed
from nodeagent.runner import Runner
from nodeagent.task_scope import TaskScope

_PROBE_S = 5.0
_FLOPPY_BYTES = 1_474_560
_DEBUG_EXIT = 0xF4  # the port of the device that ends QEMU with status 2n + 1
# mov al, 0; out DEBUG_EXIT, al; hlt; and the mark of a boot sector
_SECTOR = (bytes([0xB0, 0x00, 0xE6, _DEBUG_EXIT, 0xF4])).ljust(510, b"\0") + b"\x55\xaa"


def accelerates(run: Runner, qemu: str, device: Path = Path("/dev/kvm")) -> bool:
    """Whether a guest runs with `-accel kvm`. Takes half a second, or five where it hangs."""
    if not device.exists():
        return False
    with tempfile.NamedTemporaryFile(prefix="cairn-kvm-") as floppy:
        floppy.write(_SECTOR.ljust(_FLOPPY_BYTES, b"\0"))
        floppy.flush()
        argv = [
            qemu, "-accel", "kvm", "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot",
            "-blockdev", f"driver=file,node-name=floppy,filename={floppy.name},read-only=on",
            "-device", "floppy,drive=floppy",
            "-device", f"isa-debug-exit,iobase={_DEBUG_EXIT:#x},iosize=1",
        ]  # fmt: skip
        try:
            run(argv, scope=TaskScope(), timeout_s=_PROBE_S)
        except CommandFailed as ended:
            return ended.exit_status == 1
    return False  # it ended by itself, which only another program would do
