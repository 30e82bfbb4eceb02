"""One VM: its QEMU, started, restored, killed, and the commands that run in it (edge).

A node is reached by the commander in its image (guest/commander.py), through a port of QEMU's own
user network that is forwarded from the loopback of the test bed's namespace. That works before the
node knows who it is, which is why three nodes can start from the memory of one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.testbed import network
from tools.testbed.layout import DISKS, MEMORY_MIB, NODES, BedError, Layout, number_of

TEMPLATE = "template"
_FIRST_PORT = 2000  # of the namespace's loopback
_COMMANDER = "10.0.2.15:2000"
_LOOK_S = 0.1
_BOOT_S = 300.0


class Ended(NamedTuple):
    """How a command in a node ended."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """What it printed."""
        return self.stdout.decode(errors="replace")


class Machine:
    """The VM of a node, or the template."""

    def __init__(self, layout: Layout, name: str) -> None:
        self.name = name
        self._layout = layout
        self.home = layout.template if name == TEMPLATE else layout.node(name)
        self._port = _FIRST_PORT + (len(NODES) + 1 if name == TEMPLATE else number_of(name))

    # --- its process --------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """The process of its QEMU, None if it does not run."""
        try:
            pid = int((self.home / "pid").read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        ours = os.fsencode(f"file:{self._console}") in arguments and state != "Z"
        return pid if ours else None

    def start(self, *, memory: Path | None = None) -> None:
        """Start it: from the saved `memory`, else as a machine that was switched on.

        Returns when the QEMU runs, not when the node answers.
        """
        self._socket.unlink(missing_ok=True)
        argv = network.inside(self._layout, self._argv(memory))
        with (self.home / "qemu.log").open("ab") as log:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _BOOT_S
        while not self._listens():
            if process.poll() is not None or time.monotonic() > deadline:
                words = (self.home / "qemu.log").read_text(errors="replace")[-1000:]
                raise BedError(f"the QEMU of {self.name} did not start:\n{words}")
            time.sleep(_LOOK_S)
        (self.home / "pid").write_text(f"{process.pid}\n")

    def wait(self, *, within_s: float = _BOOT_S) -> None:
        """Return once it takes commands. Raises BedError."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self.pid is None:
                break
            try:
                if self.run(["true"], timeout_s=10).status == 0:
                    return
            except (OSError, ValueError):
                time.sleep(_LOOK_S)  # the kernel, or its commander, is not that far yet
        raise BedError(f"{self.name} does not answer; its console says:\n{self.console(1500)}")

    def console(self, size: int) -> str:
        """Return the last `size` characters of what its kernel and its init have printed."""
        try:
            return self._console.read_text(errors="replace")[-size:]
        except FileNotFoundError:
            return ""

    def kill(self) -> None:
        """Cut its power. Nothing happens if it has none."""
        pid = self.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            os.kill(pid, signal.SIGKILL)
            select.select([handle], [], [], 10.0)
            os.close(handle)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        (self.home / "pid").unlink(missing_ok=True)

    def put_aside(self, memory: Path) -> None:
        """Save its memory to a file, and end it. Its disks must then not be changed any more."""
        self.monitor("migrate", uri=f"exec:cat >{memory}")
        while (seen := self.monitor("query-migrate"))["status"] != "completed":
            if seen["status"] in ("failed", "cancelled"):
                raise BedError(f"the memory of {self.name} was not saved: {seen}")
            time.sleep(_LOOK_S)
        self.monitor("quit")
        while self.pid is not None:
            time.sleep(_LOOK_S)

    def go_on(self) -> None:
        """Let a machine that was started from saved memory run, once that has been read."""
        deadline = time.monotonic() + _BOOT_S
        while (state := self.monitor("query-status")["status"]) == "inmigrate":
            if time.monotonic() > deadline:
                raise BedError(f"{self.name} does not read its memory")
            time.sleep(_LOOK_S)
        if state != "running":
            self.monitor("cont")

    @property
    def made_of(self) -> str:
        """What saved memory of this machine depends on: another QEMU, or other parts of the
        machine, cannot go on from it."""
        version = subprocess.run(
            ["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False
        ).stdout
        return "\n".join((version, *self._argv(None)))

    def monitor(self, command: str, **arguments: object) -> dict[str, str]:
        """Give QEMU one order by QMP and return the answer. Raises BedError."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            with _at(self._socket) as path:
                connection.connect(path)
            with connection.makefile("rwb") as file:
                file.readline()  # its greeting
                answer: dict[str, dict[str, str]] = {}
                for order in ({"execute": "qmp_capabilities"}, {"execute": command}):
                    given = {"arguments": arguments} if arguments and len(answer) else {}
                    file.write(json.dumps({**order, **given}).encode())
                    file.flush()
                    answer = {}
                    while not answer.keys() & {"return", "error"}:
                        answer = json.loads(file.readline())
                    if "error" in answer:
                        raise BedError(f"{self.name}: {command}: {answer['error']}")
        return answer["return"]

    # --- commands in it -----------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 120.0,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run a command in the node, whatever its status. Raises OSError if it is not reached."""
        order = {
            "argv": list(argv), "stdin": base64.b64encode(stdin).decode(),
            "timeout_s": timeout_s, "environment": dict(environment or {}),
        }  # fmt: skip
        connection = network.connect(self._layout, self._port, timeout_s=timeout_s + 30)
        with connection, connection.makefile("rwb") as file:
            file.write(json.dumps(order).encode() + b"\n")
            file.flush()
            line = file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError(f"{self.name} went away while it ran {argv[0]}")
        answer = json.loads(line)
        out, err = (base64.b64decode(answer[stream]) for stream in ("stdout", "stderr"))
        return Ended(answer["status"], out, err)

    def check(self, *argv: str, stdin: bytes = b"", timeout_s: float = 120.0) -> str:
        """Run a command and return what it printed. Raises BedError if it fails."""
        ended = self.run(argv, stdin=stdin, timeout_s=timeout_s)
        if ended.status:
            said = (ended.stderr or ended.stdout).decode(errors="replace").strip()
            raise BedError(f"{self.name}: {' '.join(argv)}: status {ended.status}: {said}")
        return ended.text

    # --- how it is started --------------------------------------------------------------------

    @property
    def _socket(self) -> Path:
        return self.home / "qmp"

    def _listens(self) -> bool:
        """Whether QEMU takes orders. There is a name first, and somebody behind it a moment later;
        one who connects and says nothing is no trouble."""
        try:
            with socket.socket(socket.AF_UNIX) as connection, _at(self._socket) as path:
                connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    @property
    def _console(self) -> Path:
        return self.home / "console.log"

    def _argv(self, memory: Path | None) -> list[str]:
        image = self._layout.image
        number = "" if self.name == TEMPLATE else f" cairn.node={number_of(self.name)}"
        console = (
            f"console=ttyS0 quiet panic=1 mitigations=off no_timer_check net.ifnames=0{number}"
        )
        way_in = f"127.0.0.1:{self._port}-{_COMMANDER}"
        argv = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            # Software emulation everywhere: /dev/kvm may exist and not work.
            "-accel", "tcg,tb-size=128", "-cpu", "max", "-machine", "pc",
            "-m", str(MEMORY_MIB), "-kernel", str(image / "vmlinux"),
            "-initrd", str(image / "initrd.img"), "-append", console,
            "-serial", f"file:{self._console}",
            # A name without its directory, where QEMU is started: paths of sockets are short.
            "-qmp", f"unix:{self._socket.name},server=on,wait=off",
            "-netdev", f"user,id=way-in,restrict=on,hostfwd=tcp:{way_in}",
            "-device", "virtio-net-pci,netdev=way-in,romfile=",
            "-netdev", f"tap,id=lan,ifname={network.tap(self.name)},script=no,downscript=no",
            "-device", "virtio-net-pci,netdev=lan,romfile=",
            "-device", "virtio-rng-pci",
        ]  # fmt: skip
        # The host is never told to sync. The disks of the volume group have no cache of their own
        # that the loss of power would empty: not every tool asks for it to be flushed. Zeroes, of
        # which most of a copied mirror consists, take no room.
        system = f"file={self.home}/vda.qcow2,if=virtio,cache=unsafe"
        argv += ["-drive", system]
        for disk in DISKS:
            how = "cache.writeback=off,cache.no-flush=on,discard=unmap,detect-zeroes=unmap"
            argv += ["-drive", f"file={self.home / disk}.qcow2,if=virtio,{how}"]
        if memory is not None:
            argv += ["-incoming", f"exec:cat {memory}"]
        return argv


@contextlib.contextmanager
def _at(path: Path) -> Iterator[str]:
    """Yield a name of a socket that is short enough, however long its path."""
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)
