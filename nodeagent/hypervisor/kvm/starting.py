"""From what is wanted to a QEMU that waits to run (edge)."""

from __future__ import annotations

import logging
import os
import pwd
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from nodeagent.calls import Device, InstanceSpec
from nodeagent.errors import CommandFailed, Missing, NodeAgentError
from nodeagent.hypervisor.kvm import machine, processes
from nodeagent.hypervisor.kvm.acceleration import accelerates
from nodeagent.hypervisor.kvm.devices import disks_on_pci, nics_on_pci
from nodeagent.hypervisor.kvm.errors import MonitorFailed
from nodeagent.hypervisor.kvm.guest import Guest
from nodeagent.hypervisor.kvm.here import NO_KVM, NO_VHOST, on_this_node
from nodeagent.hypervisor.kvm.launch import Launch, Node, launch
from nodeagent.hypervisor.kvm.layout import Layout, with_device
from nodeagent.hypervisor.kvm.monitor import Watch
from nodeagent.hypervisor.kvm.parameters import Parameters, parameters
from nodeagent.hypervisor.kvm.programs import DEFAULT, Programs
from nodeagent.hypervisor.kvm.records import GuestRecord, Place, write_record
from nodeagent.hypervisor.kvm.settings import AUTO, KVM, TCG, KvmSettings
from nodeagent.runner import Runner
from nodeagent.task_scope import TaskScope

_log = logging.getLogger(__name__)
# What Debian's QEMU says when a part of it is in a package of its own.
_LACKS = re.compile(r"module (\S+) not found, do you want to install (\S+) package")


class Starter:
    """Starts guests on this node."""

    def __init__(
        self,
        settings: KvmSettings,
        run: Runner,
        programs: Programs,
        watch: Watch,
        on_news: Callable[[], None],
    ) -> None:
        self._settings, self._run, self._programs = settings, run, programs
        self._watch, self._on_news = watch, on_news
        self._accelerates: bool | None = None

    def layout(self, instance: InstanceSpec) -> Layout:
        """Return the layout of a guest that is started anew. Raises BadCall, NoRoom, Missing."""
        found = parameters(instance.hvparams)
        kind = machine.wanted(found.machine_version)[0]
        layout = machine.new_layout(instance, found, self._programs.machine(found.kvm_path, kind))
        reserved = found.kvm_pci_reservations
        for disk in instance.disks:
            layout = with_device(layout, disk.uuid, on_pci=disks_on_pci(found), reserved=reserved)
        for nic in instance.nics:
            layout = with_device(layout, nic.uuid, on_pci=nics_on_pci(found), reserved=reserved)
        return layout

    def start(self, record: GuestRecord, *, taken_users: frozenset[str], scope: TaskScope) -> Guest:
        """Start QEMU for a guest, which waits: for `cont`, or to be received.

        Raises Missing, BadCall, CommandFailed (what QEMU said is in its output), Stopped. Then no
        process is left.
        """
        wanted = parameters(record.layout.hvparams)
        found = on_this_node(wanted)
        for slower in self._slower(record, wanted, found):
            scope.feedback(f"{record.instance.name}: {slower}")
        place = Place(Path(self._settings.run_directory), record.instance.uuid)
        if found.security_model == "pool":
            user = self._free_user(record.instance.uid_pool, taken_users)
            record = msgspec.structs.replace(record, user=user)
        node = self._node(record, found, place)
        plan = launch(
            record.instance, found, record.layout,
            disks=record.devices, interfaces=record.interfaces, node=node,
            incoming=record.incoming,
        )  # fmt: skip
        place.remove()
        write_record(place, record)
        if found.use_chroot:
            place.root.mkdir(mode=0o755)
        try:
            self._start(plan, found, scope)
            record = msgspec.structs.replace(
                record, process=processes.identify(int(place.pid_file.read_text()))
            )
            write_record(place, record)
            return self._prepared(place, record, plan)
        except NodeAgentError:
            # QEMU makes itself a daemon when it is ready, and what came after may have failed.
            processes.end_daemon(place.pid_file)
            place.remove()
            raise

    def take_up(self, place: Place, record: GuestRecord) -> Guest:
        """Return a guest that an agent before this one started."""
        tells = bool(record.layout.hvparams.get("user_shutdown"))
        return self._guest(place, record, tells_user_down=tells)

    def accelerated(self, program: str = DEFAULT) -> bool:
        """Whether KVM works on this node. Takes up to five seconds the first time."""
        if self._accelerates is None:
            self._accelerates = accelerates(self._run, program)
            if not self._accelerates:
                _log.warning(NO_KVM)
        return self._accelerates

    def _slower(self, record: GuestRecord, wanted: Parameters, found: Parameters) -> Iterator[str]:
        """Yield what this node lacks, without which the guest runs all the same."""
        if (
            not found.kvm_flag
            and self._accelerator(found) == TCG
            and self._settings.accelerator == AUTO
        ):
            yield NO_KVM
        if record.instance.nics and wanted.vhost_net and not found.vhost_net:
            yield NO_VHOST

    def _prepared(self, place: Place, record: GuestRecord, plan: Launch) -> Guest:
        guest = self._guest(place, record, tells_user_down=plan.tells_user_down)
        try:
            guest.attach()
            for protocol, path in plan.passwords.items():
                self._set_password(guest, protocol, path)
            self._pin(guest, plan.pins)
        except NodeAgentError:
            guest.end()
            raise
        return guest

    def _guest(self, place: Place, record: GuestRecord, *, tells_user_down: bool) -> Guest:
        return Guest(
            place, record, self._watch, tells_user_down=tells_user_down, on_news=self._on_news
        )

    def _start(self, plan: Launch, found: Parameters, scope: TaskScope) -> None:
        self._check_files(found)
        try:
            self._run(plan.argv, scope=scope, timeout_s=self._settings.start_s)
        except CommandFailed as failed:
            lacks = _LACKS.search(failed.output)
            if lacks is None:
                raise
            raise Missing(f"this QEMU lacks {lacks[1]}", hint=f"install {lacks[2]}") from None

    def _check_files(self, found: Parameters) -> None:
        """QEMU's own words for a missing file do not name the parameter."""
        for name in ("kernel_path", "initrd_path", "cdrom_image_path", "cdrom2_image_path",
                     "floppy_image_path", "vnc_password_file", "spice_password_file",
                     "mem_path", "vnc_x509_path"):  # fmt: skip
            path = getattr(found, name)
            if path and "://" not in path and not os.path.exists(path):
                raise Missing(
                    f"{name}: there is no {path} on this node",
                    hint=f"put it there, or gnt-instance modify -H {name}=",
                )

    def _node(self, record: GuestRecord, found: Parameters, place: Place) -> Node:
        blocks = frozenset(device.path for device in record.devices if is_block(device))
        uefi = machine.wanted(found.machine_version)[1]
        return Node(
            directory=place.directory,
            accelerator="" if found.kvm_flag else self._accelerator(found),
            blocks=blocks,
            user=record.user,
            spice_tls_directory=self._settings.spice_tls_directory,
            firmware=self._firmware(record.instance.uuid) if uefi else None,
        )

    def _accelerator(self, found: Parameters) -> str:
        """Return what guests run on here, for those whose parameters do not say."""
        if self._settings.accelerator != AUTO:
            return self._settings.accelerator
        return KVM if self.accelerated(found.kvm_path) else TCG

    def _firmware(self, uuid: str) -> tuple[str, str]:
        """Return UEFI's code, and the file of this guest for its variables."""
        code, template = self._settings.firmware_code, self._settings.firmware_variables
        for path in (code, template):
            if not os.path.exists(path):
                raise Missing(f"firmware=uefi: there is no {path}", hint="install ovmf")
        variables = self.variables_file(uuid)
        if not variables.exists():
            variables.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = variables.with_suffix(".new")
            shutil.copyfile(template, draft)
            draft.rename(variables)
        return code, str(variables)

    def variables_file(self, uuid: str) -> Path:
        """Return where the UEFI variables of a guest are kept on this node."""
        return Path(self._settings.state_directory) / "variables" / f"{uuid}.fd"

    def _free_user(self, pool: tuple[tuple[int, int], ...], taken: frozenset[str]) -> str:
        """Return a user of the cluster's pool, or of this node's own; "" if none is free.

        One of the cluster's must not have any process here, whosever it is.
        """
        busy = processes.owners() if pool else frozenset()
        for first, last in pool:
            for uid in range(first, last + 1):
                user = _as_user(uid)
                if uid not in busy and user not in taken:
                    return user
        return next((user for user in self._settings.users if user not in taken), "")

    def _set_password(self, guest: Guest, protocol: str, path: str) -> None:
        password = Path(path).read_text().strip()
        guest.ask("set_password", {"protocol": protocol, "password": password})

    def _pin(self, guest: Guest, pins: tuple[frozenset[int], ...]) -> None:
        if not pins or guest.record.process is None:
            return
        pid = guest.record.process.pid
        if len(pins) == 1:
            processes.bind(pid, pins[0])
            return
        vcpus = guest.monitor.execute("query-cpus-fast")
        assert isinstance(vcpus, list), vcpus
        for vcpu, cpus in zip(vcpus, pins, strict=False):
            if cpus:
                processes.bind_thread(vcpu["thread-id"], cpus)


def run_on(guest: Guest) -> None:
    """Let a guest run that waits for it."""
    try:
        guest.monitor.execute("cont")
    except MonitorFailed as refused:
        raise NodeAgentError(f"{guest.record.instance.name} does not run: {refused}") from None
    guest.look()


def _as_user(uid: int) -> str:
    """Return a user as `-runas` takes it: by id, with the group of the account if there is one."""
    try:
        group = pwd.getpwuid(uid).pw_gid
    except KeyError:
        group = uid
    return f"{uid}:{group}"


def is_block(device: Device) -> bool:
    """Whether a disk is a block device rather than a file. Raises Missing if it is not there."""
    try:
        return bool(device.path) and stat.S_ISBLK(os.stat(device.path).st_mode)
    except OSError as unseen:
        raise Missing(
            f"the disk {device.path} cannot be opened: {unseen.strerror}",
            hint="gnt-instance activate-disks",
        ) from None
