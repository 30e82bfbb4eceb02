"""An SSH server of the test's own, on loopback: its own keys, settings and users.

The server is taken out of Debian's package without installing it, as that would start one for
everybody. It runs in a mount namespace where the users are those of the test, because it insists
on one of its own, and on a directory under /run.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.debian_os import with_known_packages, with_own_files

_PASSWD = """\
root:x:0:0:root:/root:/bin/sh
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_SHADOW = "root:*:19000:0:99999:7:::\nsshd:!:19000::::::\nnobody:*:19000:0:99999:7:::\n"


@dataclass(frozen=True)
class LocalSshd:
    """A server that runs. `client`: the SSH command that reaches it, whatever host is named."""

    client: tuple[str, ...]


@contextmanager
def local_sshd(directory: Path) -> Iterator[LocalSshd]:
    """Run a server that lets root in with a key of the test."""
    directory.mkdir()
    program = _program(directory / "package")
    for key in ("host", "user"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / key)]
        subprocess.run(argv, check=True)
    port = _free_port()
    settings = directory / "sshd_config"
    settings.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory / 'host'}\n"
        f"AuthorizedKeysFile {directory / 'user.pub'}\nPasswordAuthentication no\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin prohibit-password\n"
    )
    known = directory / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(directory / 'host.pub').read_text()}")
    server = with_own_files(_shown(directory), lambda: _start(program, settings))
    try:
        _wait_until_it_listens(server)
        yield LocalSshd(
            ("ssh", "-F", "none", "-i", str(directory / "user"), "-p", str(port),
             "-o", f"UserKnownHostsFile={known}", "-o", "HostName=127.0.0.1")
        )  # fmt: skip
    finally:
        server.terminate()
        server.wait()


def _program(package: Path) -> Path:
    package.mkdir()
    download = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "openssh-server"]
    with_known_packages(lambda: subprocess.run(download, cwd=package, check=True))
    (archive,) = package.glob("openssh-server_*.deb")
    subprocess.run(["dpkg", "-x", str(archive), str(package)], check=True)
    return package / "usr/sbin/sshd"


def _shown(directory: Path) -> dict[str, Path]:
    (directory / "run/sshd").mkdir(parents=True)
    (directory / "passwd").write_text(_PASSWD)
    (directory / "shadow").write_text(_SHADOW)
    return {
        "/run": directory / "run",
        "/etc/passwd": directory / "passwd",
        "/etc/shadow": directory / "shadow",
    }


def _start(program: Path, settings: Path) -> subprocess.Popen[str]:
    argv = [str(program), "-D", "-e", "-f", str(settings)]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)


def _wait_until_it_listens(server: subprocess.Popen[str]) -> None:
    assert server.stderr is not None
    said = []
    for line in server.stderr:
        said.append(line)
        if "Server listening" in line:
            threading.Thread(target=server.stderr.read, daemon=True).start()  # so that it can go on
            return
    raise AssertionError(f"sshd did not start: {said}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])
