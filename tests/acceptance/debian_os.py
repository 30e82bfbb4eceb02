"""What Debian's own OS definitions need around them: a small mirror, and configuration of the site.

The definitions read files under /etc and write a cache under /var: a mount namespace shows them
those of the test, and the machine keeps its own.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
SUITE = "bookworm"
# wanted by debootstrap itself; makes the /etc/network that the definition writes into
_MORE = ("usr-is-merged", "ifupdown")
_NEWNS = 0x00020000
_MS_PRIVATE_RECURSIVE, _MS_BIND = 0x44000, 0x1000
_libc = ctypes.CDLL(None, use_errno=True)


def make_mirror(root: Path) -> str:
    """Make a mirror of what a minimal Debian consists of, from the machine's; returns its URL."""
    pool, index = root / "pool", root / "dists" / SUITE / "main" / f"binary-{_architecture()}"
    for directory in (pool / "partial", index):
        directory.mkdir(parents=True)
    apt = [
        "apt-get", "-y", "-qq", "--download-only", "--no-install-recommends",
        "-o", "Dir::State::status=/dev/null", "-o", f"Dir::Cache::archives={pool}",
        "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
    with_known_packages(lambda: _run([*apt, "install", *_required(), *_MORE]))
    (index / "Packages").write_text(_run(["apt-ftparchive", "packages", "pool"], root))
    told = {
        "Codename": SUITE, "Suite": SUITE, "Components": "main", "Architectures": _architecture(),
    }  # fmt: skip
    options = [f"-oAPT::FTPArchive::Release::{key}={value}" for key, value in told.items()]
    release = _run(["apt-ftparchive", *options, "release", f"dists/{SUITE}"], root)
    (root / "dists" / SUITE / "Release").write_text(release)
    return f"file://{root}"


def with_own_files(shown: Mapping[str, Path], work: Callable[[], T]) -> T:
    """Do something on a thread that sees `shown` (path -> what is there); returns what it does."""

    def run() -> T:
        _check(_libc.unshare(_NEWNS), "unshare")
        _check(_libc.mount(b"none", b"/", None, _MS_PRIVATE_RECURSIVE, None), "mount /")
        for path, source in shown.items():
            _check(_libc.mount(bytes(source), path.encode(), None, _MS_BIND, None), path)
        return work()

    with ThreadPoolExecutor(max_workers=1) as thread:  # of its own: it stays in its namespace
        return thread.submit(run).result()


def with_known_packages(fetch: Callable[[], T]) -> T:
    """Fetch packages; if this machine's lists are missing or too old, once more with new ones."""
    try:
        return fetch()
    except subprocess.CalledProcessError:
        _run(["apt-get", "update", "-qq"])
        return fetch()


def _architecture() -> str:
    return _run(["dpkg", "--print-architecture"]).strip()


def _required() -> list[str]:
    found, package = set(), ""
    for line in _run(["apt-cache", "dumpavail"]).splitlines():
        if line.startswith("Package: "):
            package = line.split()[1]
        elif line == "Priority: required":
            found.add(package)
    return sorted(found)


def _run(argv: list[str], directory: Path = Path("/")) -> str:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        argv, check=True, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
    ).stdout


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
