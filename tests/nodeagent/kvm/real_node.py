"""Nodes that run real guests under software emulation, without NICs, on one shared disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec

from nodeagent.calls import Device, InstanceSpec
from nodeagent.hypervisor.contract import HostMemory
from nodeagent.hypervisor.kvm.driver import Kvm
from nodeagent.hypervisor.kvm.records import Place
from nodeagent.hypervisor.kvm.settings import TCG, KvmSettings
from nodeagent.runner import run_command
from nodeagent.task_scope import TaskScope
from tests.nodeagent.kvm.launching import Value
from tests.nodeagent.kvm.tiny import Console
from tests.nodeagent.specs import GUEST, instance, plain_disk

TOTAL_MIB = 4096
HVPARAMS: Mapping[str, Value] = {
    "kernel_path": "",
    "kvm_path": "/usr/bin/qemu-system-x86_64",
    "user_shutdown": True,
}


def fixed_memory(*, guests_mib: int) -> HostMemory:
    """A node whose memory nobody but guests takes."""
    return HostMemory(TOTAL_MIB, TOTAL_MIB, 0)


def loopback(number: int) -> str:
    """Return an address on the loopback for a node; tests in other processes have others.

    Two guests that wait at one port would take each other's memory.
    """
    process = os.getpid()
    return f"127.{1 + process % 250}.{process // 250 % 250}.{number + 1}"


class RealNode:
    """A driver and what it runs. Each node has an address of its own on the loopback."""

    def __init__(self, home: Path, disk: Path, number: int) -> None:
        self.uuid, self.address = f"node{number}", loopback(number)
        # Sockets need short paths, which those of pytest are not.
        self._run = Path(tempfile.mkdtemp(prefix=f"kvm{number}-"))
        self.settings = KvmSettings(
            run_directory=str(self._run),
            state_directory=str(home / f"state{number}"),
            accelerator=TCG,
        )
        self._disk = disk
        self._inside: tuple[str, ...] = ()  # what QEMU is started by, if not directly
        self.starts: list[tuple[str, ...]] = []  # command lines of guests that were started
        self.news = 0
        self.hypervisor = self._driver()

    def restart(self) -> None:
        """The agent ends, and another one starts."""
        self.hypervisor.close()
        self.hypervisor = self._driver()

    def close(self) -> None:
        """End all guests, and remove what is left."""
        for guest in self.hypervisor.seen():
            self.hypervisor.ensure_stopped(guest.uuid, grace_s=0, force=True, scope=TaskScope())
        self.hypervisor.close()
        shutil.rmtree(self._run)

    def guest(
        self,
        *,
        generation: int = 1,
        memory_mib: int = 512,
        hvparams: Mapping[str, Value] = MappingProxyType({}),
    ) -> InstanceSpec:
        """The instance that the contract is tried with, with these parameters besides."""
        spec = instance(plain_disk(), uuid=GUEST, generation=generation, memory_mib=memory_mib)
        return msgspec.structs.replace(spec, nics=(), hvparams={**HVPARAMS, **hvparams})

    def devices(self) -> tuple[Device, ...]:
        """Where its disk is."""
        return (Device(path=str(self._disk)),)

    def interfaces(self) -> tuple[str, ...]:
        """It has no NIC."""
        return ()

    def more(self) -> tuple[InstanceSpec, Device]:
        """That instance with one disk more, and where it is."""
        spare = self._disk.with_name("spare")
        spare.touch()
        os.truncate(spare, 1 << 20)
        spec = self.guest()
        second = msgspec.structs.replace(plain_disk("d2", instance=GUEST), index=1)
        return msgspec.structs.replace(spec, disks=(*spec.disks, second)), Device(path=str(spare))

    def await_boot(self) -> None:
        """Wait until it counts."""
        with self.console() as console:
            console.tick()

    def reboots(self) -> int:
        """How often QEMU was started anew."""
        return max(len(self.starts) - 1, 0)

    @property
    def place(self) -> Place:
        """Where its files are."""
        return Place(self._run, GUEST)

    @property
    def process(self) -> int:
        """The guest's QEMU."""
        return int(self.place.pid_file.read_text())

    def when_migration_is(self, state: str, then: Callable[[], None]) -> None:
        """Have `then` called, on the thread that hears QEMU, as soon as it says so of the guest."""
        guest = self.hypervisor._guests.running(GUEST)  # nobody else is told

        def look() -> None:
            if guest.migration[-1:] == [state]:
                then()

        self.hypervisor.on_news(look)

    def stop(self) -> None:
        """End the guest by force."""
        self.hypervisor.ensure_stopped(GUEST, grace_s=0, force=True, scope=TaskScope())

    def console(self) -> Console:
        """Return the guest's console, to be closed."""
        return Console(self.place.serial)

    def _driver(self) -> Kvm:
        driver = Kvm(self.uuid, self.settings, run=self._run_command, host_memory=fixed_memory)
        driver.on_news(self._note_news)
        return driver

    def _note_news(self) -> None:
        self.news += 1

    def _run_command(
        self, argv: Sequence[str], *, scope: TaskScope, timeout_s: float = 60.0, stdin: bytes = b""
    ) -> str:
        starts = "-daemonize" in argv
        inside = self._inside if starts else ()
        answer = run_command([*inside, *argv], scope=scope, timeout_s=timeout_s, stdin=stdin)
        if starts:
            self.starts.append(tuple(argv))
        return answer
