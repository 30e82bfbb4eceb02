"""The test bed as a whole: up, down, a node killed or booted, the work tree brought to it (edge).

Nodes do not boot: one VM was booted once, and put aside with its memory as the **template**; each
node goes on from there with disks of its own, and is then told who it is. It has to be given new
randomness too, or all three would draw the same keys.

A node that was killed boots like any machine, from its own disks, and knows from its kernel's
arguments who it is.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tools.testbed import image, network
from tools.testbed.layout import (
    DISK_MIB,
    DISKS,
    NODES,
    PROJECT,
    VOLUME_GROUP,
    BedError,
    Layout,
    number_of,
)
from tools.testbed.machine import TEMPLATE, Machine

T = TypeVar("T")
Say = Callable[[str], None]
TREE = "/opt/cairn"  # where the work tree is in a node
_ROOMS = ("eventstore", "projections", "commands", "nodeagent", "shell", "tools")
# Mixes host randomness in and makes the kernel use it at once (random(4): RNDADDENTROPY's and
# RNDRESEEDCRNG's numbers), then sets the clock, which stood still while the memory lay in a file.
_WAKE = """
import fcntl, struct, sys, time
seed, now = sys.stdin.buffer.read(64), float(sys.argv[1])
with open("/dev/urandom", "wb", buffering=0) as device:
    fcntl.ioctl(device, 0x40085203, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
    fcntl.ioctl(device, 0x5207)
time.clock_settime(time.CLOCK_REALTIME, now)
"""


class Bed:
    """The nodes of one test bed."""

    def __init__(self, layout: Layout, say: Say = lambda _: None) -> None:
        self.layout = layout
        self._say = say
        self.nodes = {name: Machine(layout, name) for name in NODES}

    def up(self, names: Iterable[str] = NODES) -> None:
        """These nodes run, fresh, with the work tree in them; those that ran before are replaced.

        Raises BedError.
        """
        names = tuple(names)
        image.build(self.layout, self._say)
        network.make(self.layout)
        self._ensure_template()
        self._say(f"starting {', '.join(names)} from the template")
        self._each(names, self._restore)
        self.bring_tree(names)

    def down(self) -> None:
        """No node runs, and nothing of them is left but the image and the template."""
        for machine in (*self.nodes.values(), Machine(self.layout, TEMPLATE)):
            machine.kill()
        for machine in self.nodes.values():
            shutil.rmtree(machine.home, ignore_errors=True)  # GiBs, once mirrors were copied
        network.remove(self.layout)

    def boot(self, name: str) -> None:
        """A node that was killed is switched on again, with its disks as they were."""
        self.nodes[name].start()
        self.nodes[name].wait()

    def bring_tree(self, names: Iterable[str]) -> None:
        """The nodes have the work tree as it is now, compiled, and its commands on their PATH."""
        packed = _packed_tree()
        self._each(tuple(names), lambda name: self._unpack(name, packed))

    def _unpack(self, name: str, packed: bytes) -> None:
        script = f"rm -rf {TREE} && mkdir -p {TREE} && tar -xz -C {TREE}"
        self.nodes[name].check("sh", "-c", script, stdin=packed)

    def _ensure_template(self) -> None:
        machine = Machine(self.layout, TEMPLATE)
        key, made_of = self.layout.template / "key", machine.made_of
        if not key.exists() or key.read_text() != made_of:
            key.unlink(missing_ok=True)
            self._make_template(machine, self.layout.template / "memory")
            key.write_text(made_of)

    def _make_template(self, machine: Machine, memory: Path) -> None:
        self._say("booting the template (half a minute)")
        machine.kill()
        machine.home.mkdir(parents=True, exist_ok=True)
        _overlay(machine.home / "vda.qcow2", self.layout.image / "root.img", "raw")
        for disk in DISKS:
            _empty_disk(machine.home / f"{disk}.qcow2")
        machine.start()
        machine.wait()
        devices = [f"/dev/{disk}" for disk in DISKS]
        machine.check("vgcreate", "--quiet", VOLUME_GROUP, *devices)
        machine.check("sync")
        machine.put_aside(memory)

    def _restore(self, name: str) -> None:
        machine = self.nodes[name]
        machine.kill()
        machine.home.mkdir(parents=True, exist_ok=True)
        for disk in ("vda", *DISKS):
            _overlay(machine.home / f"{disk}.qcow2", self.layout.template / f"{disk}.qcow2")
        machine.start(memory=self.layout.template / "memory")
        machine.go_on()
        machine.wait()
        machine.check("python3", "-c", _WAKE, str(time.time()), stdin=os.urandom(64))
        machine.check("/etc/cairn/be", str(number_of(name)))

    @staticmethod
    def _each(names: tuple[str, ...], work: Callable[[str], T]) -> list[T]:
        with ThreadPoolExecutor(len(names)) as threads:
            return list(threads.map(work, names))


def _overlay(path: Path, under: Path, kind: str = "qcow2") -> None:
    """Make a disk that starts with the content of another, which must not change any more."""
    path.unlink(missing_ok=True)
    _run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(under), str(path)])


def _empty_disk(path: Path) -> None:
    path.unlink(missing_ok=True)
    _run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), f"{DISK_MIB}M"])


def _packed_tree() -> bytes:
    """Return the rooms of the work tree, with their compiled modules and commands, as a tar file.

    Compiled here: a node would take half a minute for it. A compiled module is used if the source
    beside it has the time and size that it was made of, and tar keeps both.
    """
    rooms = [str(PROJECT / room) for room in _ROOMS]
    _run([sys.executable, "-m", "compileall", "-q", *rooms])
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=3) as archive:
        for room in _ROOMS:
            archive.add(PROJECT / room, arcname=room)
        for name, where in sorted(_scripts().items()):
            module, _, function = where.partition(":")
            text = (
                f"#!/usr/bin/python3\nimport sys\nsys.path.insert(0, {TREE!r})\n"
                f"from {module} import {function}\nsys.exit({function}())\n"
            )
            _add(archive, f"bin/{name}", text, mode=0o755)
        # The daemons ask for their own version, and `cairn` for its commands.
        distribution = importlib.metadata.distribution("cairn")
        for name in ("METADATA", "entry_points.txt"):
            _add(archive, f"cairn-0.dist-info/{name}", distribution.read_text(name) or "")
    return packed.getvalue()


def _add(archive: tarfile.TarFile, name: str, text: str, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text.encode()), mode
    archive.addfile(entry, io.BytesIO(text.encode()))


def _scripts() -> dict[str, str]:
    """Return the project's commands: name -> module:function."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    scripts: dict[str, str] = project["scripts"]
    return scripts


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BedError(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()}")
