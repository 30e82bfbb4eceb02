"""OS definitions: which are valid, what their scripts see, how they end."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from nodeagent.calls import Device, NetworkSpec
from nodeagent.errors import BadCall, CommandFailed, Missing, NoSuchThing, Stopped
from nodeagent.os_definition import find_os, list_os
from nodeagent.os_environment import instance_environment
from nodeagent.os_interface import OsInterface
from nodeagent.task_scope import Progress, TaskScope
from tests.nodeagent.specs import instance, plain_disk

SAMPLES = Path(__file__).parents[2] / "tools" / "lab" / "os"
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make an OS definition whose `create` is the given script."""

    def make_os(name: str = "test", create: str = "env", version: str = "20\n") -> Path:
        directory = tmp_path / "os" / name
        directory.mkdir(parents=True)
        for script in ("create", "import", "export", "rename", "verify"):
            body = create if script == "create" else "exit 0"
            (directory / script).write_text(f"#!/bin/sh\n{body}\n")
            (directory / script).chmod(0o755)
        (directory / "ganeti_api_version").write_text(version)
        (directory / "parameters.list").write_text("dhcp  Whether to ask for an address\n")
        (directory / "variants.list").write_text("# comment\n\nsmall\nlarge\n")
        return directory

    return make_os


def interface(tmp_path: Path) -> OsInterface:
    return OsInterface(
        [tmp_path / "os"], log_directory=tmp_path / "logs", lock_directory=tmp_path / "locks"
    )


def test_a_definition_is_read_whole(make: Make, tmp_path: Path) -> None:
    """Versions, variants and parameters, without comments and blank lines."""
    make(version="10\n15\n20\n99\n")
    found = find_os([tmp_path / "os"], "test+large")
    assert found.api_version == 20
    assert found.api_versions == (20, 15, 10)
    assert found.variants == ("small", "large")
    assert found.parameters == ("dhcp",)


def test_older_versions_need_less(make: Make, tmp_path: Path) -> None:
    """Version 10 has neither variants nor parameters nor verify."""
    directory = make(version="10\n")
    (directory / "verify").unlink()
    (directory / "parameters.list").unlink()
    found = find_os([tmp_path / "os"], "test")
    assert (found.variants, found.parameters) == ((), ())


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda d: (d / "ganeti_api_version").write_text("7\n"), "API version"),
        (lambda d: (d / "ganeti_api_version").write_text("x\n"), "integers"),
        (lambda d: (d / "ganeti_api_version").unlink(), "ganeti_api_version"),
        (lambda d: (d / "create").unlink(), "create"),
        (lambda d: (d / "rename").chmod(0o644), "rename is not executable"),
        (lambda d: (d / "verify").unlink(), "verify"),
        (lambda d: (d / "parameters.list").unlink(), "parameters.list"),
    ],
)
def test_what_is_wrong_is_named(
    make: Make, tmp_path: Path, damage: Callable[[Path], object], problem: str
) -> None:
    """An invalid definition is listed with its problem, and refused with it."""
    damage(make())
    (status,) = list_os([tmp_path / "os"])
    assert problem in status.problem
    with pytest.raises(Missing, match=problem):
        find_os([tmp_path / "os"], "test")


def test_unknown_names_are_refused_with_the_known_ones(make: Make, tmp_path: Path) -> None:
    """An OS, a variant; and a name cannot leave the search path."""
    make()
    for name in ("plan9", "", "../os/test"):
        with pytest.raises(NoSuchThing) as refused:
            find_os([tmp_path / "os"], name)
        assert "test" in refused.value.hint
    with pytest.raises(BadCall) as unknown:
        find_os([tmp_path / "os"], "test+huge")
    assert "small, large" in unknown.value.hint


def test_the_environment_is_ganetis(make: Make, tmp_path: Path) -> None:
    """Exactly the variables of interfaces.md 1.3 that apply, and no other."""
    make()
    spec = instance(plain_disk(), os="test+large")
    found = find_os([tmp_path / "os"], spec.os)
    environment = instance_environment(found, spec, [Device(path="/dev/x")])
    assert environment == {
        "PATH": "/sbin:/bin:/usr/sbin:/usr/bin",
        "OS_API_VERSION": "20",
        "OS_NAME": "test",
        "INSTANCE_OS": "test+large",
        "OS_VARIANT": "large",
        "DEBUG_LEVEL": "0",
        "INSTANCE_NAME": "i1.example.net",
        "INSTANCE_UUID": "i1",
        "INSTANCE_CTIME": "0.0",
        "INSTANCE_MTIME": "0.0",
        "INSTANCE_PRIMARY_NODE": "",
        "INSTANCE_SECONDARY_NODES": "",
        "INSTANCE_BE_maxmem": "512",
        "INSTANCE_BE_minmem": "512",
        "INSTANCE_BE_vcpus": "2",
        "INSTANCE_HV_disk_type": "paravirtual",
        "INSTANCE_HV_nic_type": "paravirtual",
        "HYPERVISOR": "kvm",
        "DISK_COUNT": "1",
        "DISK_0_PATH": "/dev/x",
        "DISK_0_SIZE": "1024",
        "DISK_0_ACCESS": "rw",
        "DISK_0_UUID": "d1",
        "DISK_0_FRONTEND_TYPE": "paravirtual",
        "DISK_0_BACKEND_TYPE": "block",
        "NIC_COUNT": "1",
        "NIC_0_MAC": "aa:00:00:00:00:01",
        "NIC_0_UUID": "i1-nic",
        "NIC_0_MODE": "bridged",
        "NIC_0_LINK": "br0",
        "NIC_0_BRIDGE": "br0",
        "NIC_0_FRONTEND_TYPE": "paravirtual",
    }


def test_a_script_sees_its_environment_and_its_directory(make: Make, tmp_path: Path) -> None:
    """It runs in the OS directory; what it prints is logged, said and returned."""
    directory = make(create='pwd; echo "$INSTANCE_REINSTALL $OSP_DHCP_RANGE"; echo wrong >&2')
    (directory / "parameters.list").write_text("dhcp-range  Addresses to choose from\n")
    said: list[Progress] = []
    spec = instance(os="test")
    ran = interface(tmp_path).create(
        msgspec.structs.replace(spec, osparams={"dhcp-range": "a b"}),
        [], reinstall=True, debug_level=0, scope=TaskScope(said.append),
    )  # fmt: skip
    assert ran.output == f"{tmp_path / 'os' / 'test'}\n1 a b\nwrong\n"
    assert ran.log.read_text() == ran.output
    assert "".join(line.text for line in said).startswith(str(tmp_path))


def test_a_failing_script_bears_its_output(make: Make, tmp_path: Path) -> None:
    """With its exit status and where all of it is."""
    make(create="echo no space on this disk; exit 7")
    with pytest.raises(CommandFailed) as failed:
        _create(interface(tmp_path), TaskScope())
    told = failed.value.failure()
    assert (told.exit_status, told.output) == (7, "no space on this disk\n")
    assert str(tmp_path / "logs") in told.hint


def test_a_hanging_script_is_killed_when_its_task_is_stopped(make: Make, tmp_path: Path) -> None:
    """With all its children; the error says that the disks are half done."""
    make(create="echo started; sleep 60 & sleep 60")
    scope = TaskScope(lambda line: threading.Thread(target=stop).start())

    def stop() -> None:
        scope.stop("timeout", "not done in 1 s")

    with pytest.raises(Stopped, match="half done") as stopped:
        _create(interface(tmp_path), scope)
    assert stopped.value.failure().code == "timeout"
    assert stopped.value.output == "started\n"


def test_a_stopped_script_may_clean_up(make: Make, tmp_path: Path) -> None:
    """What it mounted would keep the disk busy: it has time to unmount, more than a tool has."""
    clean_up = "sleep 1.5; echo cleaned; exit 1"  # longer than the second that tools have
    make(create=f"trap '{clean_up}' TERM; echo started; while :; do sleep 1; done")
    scope = TaskScope(lambda line: scope.stop("timeout", "not done in 1 s"))
    with pytest.raises(Stopped) as stopped:
        _create(interface(tmp_path), scope)
    assert stopped.value.output.endswith("cleaned\n")


def test_the_script_of_a_dead_agent_is_ended_first(make: Make, tmp_path: Path) -> None:
    """An orphan that still works on the disks is killed before the script runs again."""
    make(create=f"echo $$ >> {tmp_path}/pids; [ -e {tmp_path}/second ] || exec sleep 60")
    program = (
        "import sys; from pathlib import Path; from tests.nodeagent import test_os_interface as t;"
        "from nodeagent.task_scope import TaskScope;"
        "t._create(t.interface(Path(sys.argv[1])), TaskScope())"
    )
    agent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    pids = tmp_path / "pids"
    deadline = threading.Event()
    while not pids.exists() or not pids.read_text().strip():
        assert not deadline.wait(0.02)
        assert agent.poll() is None
    agent.kill()
    agent.wait()
    orphan = int(pids.read_text())
    assert Path(f"/proc/{orphan}").exists()
    (tmp_path / "second").touch()
    _create(interface(tmp_path), TaskScope())
    assert len(pids.read_text().split()) == 2
    assert not _alive(orphan)


def test_a_script_whose_agent_died_before_it_was_named_is_ended_too(
    make: Make, tmp_path: Path
) -> None:
    """The lock says nothing of it, or of a group that is gone: whoever holds the lock is ended."""
    make(create="true")
    locks = tmp_path / "locks"
    locks.mkdir()
    gone = subprocess.Popen(["true"], start_new_session=True)
    gone.wait()
    for named in (b"", str(gone.pid).encode()):
        handle = os.open(locks / "i1", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.write(handle, named)
        fcntl.flock(handle, fcntl.LOCK_EX)
        orphan = subprocess.Popen(["sleep", "600"], pass_fds=(handle,), start_new_session=True)
        os.close(handle)
        _create(interface(tmp_path), TaskScope())
        assert orphan.wait(timeout=60) == -signal.SIGKILL


def test_parameters_are_verified_by_the_definition() -> None:
    """The sample definitions accept good parameters and refuse bad and unknown ones."""
    samples = OsInterface([SAMPLES], log_directory=Path("/x"), lock_directory=Path("/x"))
    assert samples.verify("redhat", {"selinux": "permissive"}, scope=TaskScope()) != ""
    with pytest.raises(CommandFailed) as refused:
        samples.verify("redhat", {"selinux": "perhaps"}, scope=TaskScope())
    assert "enforcing" in refused.value.output
    with pytest.raises(BadCall) as unknown:
        samples.verify("debian", {"color": "red"}, scope=TaskScope())
    assert "hostname, packages" in unknown.value.hint


def test_the_sample_definitions_are_valid() -> None:
    """Both are found, of version 20, without a problem."""
    found = list_os([SAMPLES])
    assert [(os.name, os.problem, os.api_versions) for os in found] == [
        ("debian", "", (20,)),
        ("redhat", "", (20,)),
    ]


@pytest.mark.parametrize("os_name", ["debian", "redhat"])
def test_a_sample_installs_renames_exports_and_imports(tmp_path: Path, os_name: str) -> None:
    """What it writes is the same each time; renamed, the guest has its new name; an exported disk
    is imported byte for byte."""
    samples = OsInterface([SAMPLES], log_directory=tmp_path, lock_directory=tmp_path / "locks")
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(65_536))
    device, spec = Device(path=str(disk)), instance(plain_disk(), os=os_name)
    contents = []
    for _ in range(2):
        samples.create(spec, [device], reinstall=False, debug_level=0, scope=TaskScope())
        contents.append(disk.read_bytes())
    assert contents[0] == contents[1]
    assert b"hostname=i1.example.net\n" in contents[0]
    samples.rename(spec, [device], old_name="i1.example.net", scope=TaskScope())
    assert disk.read_bytes() == contents[0]
    samples.rename(
        msgspec.structs.replace(spec, name="new.example.net"), [device],
        old_name="i1.example.net", scope=TaskScope(),
    )  # fmt: skip
    assert b"hostname=new.example.net\n" in disk.read_bytes()
    assert disk.stat().st_size == 65_536
    copy = tmp_path / "copy"
    copy.write_bytes(bytes(65_536))
    dump = tmp_path / "dump"
    with dump.open("w+b") as file:
        exported = samples.export_disk(
            spec, [device], index=0, copy=device, sink=file.fileno(), scope=TaskScope()
        )
        assert exported.expected_bytes == dump.stat().st_size
        file.seek(0)
        samples.import_disk(
            spec, [Device(path=str(copy))], index=0, source=file.fileno(), scope=TaskScope()
        )
    assert copy.read_bytes() == disk.read_bytes()


def test_an_export_that_fails_is_told_apart_from_its_dump(make: Make, tmp_path: Path) -> None:
    """What it dumped so far is in the sink, what it said is in the error."""
    script = make() / "export"
    script.write_text("#!/bin/sh\necho data; echo no disk $EXPORT_INDEX >&2; exit 3\n")
    spec = instance(plain_disk(), os="test")
    with (tmp_path / "dump").open("wb") as sink, pytest.raises(CommandFailed) as failed:
        interface(tmp_path).export_disk(
            spec, [Device()], index=0, copy=Device(uri="rbd:pool/x"), sink=sink.fileno(),
            scope=TaskScope(),
        )  # fmt: skip
    assert (failed.value.exit_status, failed.value.output) == (3, "no disk 0\n")
    assert (tmp_path / "dump").read_text() == "data\n"


def test_parameters_are_verified_before_a_disk_is_touched(make: Make, tmp_path: Path) -> None:
    """One that the definition refuses, or does not have, ends the call."""
    directory = make(create=f"touch {tmp_path}/touched")
    (directory / "verify").write_text('#!/bin/sh\necho "dhcp: $OSP_DHCP?"; exit 1\n')
    for parameters, error in (({"dhcp": "x"}, CommandFailed), ({"color": "red"}, BadCall)):
        spec = msgspec.structs.replace(instance(os="test"), osparams=parameters)
        with pytest.raises(error):
            interface(tmp_path).create(spec, [], reinstall=False, debug_level=0, scope=TaskScope())
    assert not (tmp_path / "touched").exists()


def test_a_network_is_described_to_scripts(make: Make, tmp_path: Path) -> None:
    """With those of its properties that it has."""
    make()
    network = NetworkSpec(
        uuid="n1", name="lan", subnet="192.0.2.0/24", subnet6="2001:db8::/64",
        gateway6="2001:db8::1", tags=("a", "b"),
    )  # fmt: skip
    spec = instance(os="test")
    nic = msgspec.structs.replace(spec.nics[0], network="n1", network_spec=network)
    spec = msgspec.structs.replace(spec, nics=(nic,))
    environment = instance_environment(find_os([tmp_path / "os"], "test"), spec, [])
    assert {k: v for k, v in environment.items() if "NETWORK" in k} == {
        "NIC_0_NETWORK_UUID": "n1",
        "NIC_0_NETWORK_NAME": "lan",
        "NIC_0_NETWORK_TAGS": "a b",
        "NIC_0_NETWORK_SUBNET": "192.0.2.0/24",
        "NIC_0_NETWORK_SUBNET6": "2001:db8::/64",
        "NIC_0_NETWORK_GATEWAY6": "2001:db8::1",
    }


def test_of_long_output_the_end_is_shown(make: Make, tmp_path: Path) -> None:
    """A script that prints for hours ends with what matters; its log has all of it."""
    make(create="yes line | head -c 3000000; echo the reason; exit 1")
    with pytest.raises(CommandFailed) as failed:
        _create(interface(tmp_path), TaskScope())
    assert failed.value.output.endswith("the reason\n")
    (log,) = (tmp_path / "logs").iterdir()
    assert log.stat().st_size > 3_000_000


def _create(interface: OsInterface, scope: TaskScope) -> None:
    interface.create(instance(os="test"), [], reinstall=False, debug_level=0, scope=scope)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
