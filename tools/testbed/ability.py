"""Whether this machine can have a test bed (edge)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.testbed import image
from tools.testbed.layout import BedError, Layout

MEMORY_MIB = 3072  # three nodes, as they use it, and the tests beside them
ROOM_MIB = 4096  # the image as it is made, and what is written in the nodes
TUN = Path("/dev/net/tun")
MEMORY = Path("/proc/meminfo")


def lacking(layout: Layout) -> str:
    """Return why there can be no test bed here, "" if there can."""
    try:
        image.require_tools()
    except BedError as missing:
        return str(missing)
    if not TUN.exists():
        return f"the test bed needs {TUN}, for the nodes' network: modprobe tun"
    if refused := may_unshare():
        return f"the test bed needs a root who may unshare and mount: {refused}"
    return _room(layout)


def may_unshare() -> str:
    """Return why this process may make no namespaces and mounts, "" if it may.

    The network of the bed is a namespace, and the image is made with mounts: containers often may
    do neither, whoever they run as.
    """
    argv = ["unshare", "--net", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    tried = subprocess.run(argv, capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


def _room(layout: Layout) -> str:
    words = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
    memory_mib = int(words["MemAvailable"].split()[0]) // 1024
    if memory_mib < MEMORY_MIB:
        return f"the test bed needs {MEMORY_MIB} MiB of free memory; there are {memory_mib}"
    layout.directory.mkdir(parents=True, exist_ok=True)
    disk_mib = shutil.disk_usage(layout.directory).free >> 20
    if disk_mib < ROOM_MIB and not (layout.image / "key").exists():
        return f"the test bed needs {ROOM_MIB} MiB of disk in {layout.directory}; {disk_mib} free"
    return ""
