"""Builds what every node starts from: a Debian 12 system, its kernel, a small first stage (edge).

The system comes from the Debian mirror that this machine uses, by mmdebstrap; no VM runs for it.
Python packages that Cairn needs at run time are copied from the work tree's virtual environment:
both are Python 3.11, and no registry is asked. Takes about 3 minutes, and is done again only when
what goes into it has changed (`image/key`).

What can go wrong: not root (mounts are needed), no mirror, a virtual environment of another Python.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import lzma
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.testbed.layout import GUEST, PROJECT, ROOT_MIB, BedError, Layout

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "ip": "iproute2",
}  # program -> Debian package
FIRST_MODULES = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")  # to find the root's disk
USELESS = (  # parts of the kernel's modules, 200 MiB, that no VM has hardware for
    *("drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/staging", "drivers/iio"),
    *("drivers/net/wireless", "drivers/net/ethernet", "drivers/bluetooth", "drivers/scsi"),
    *("drivers/hid", "drivers/usb", "drivers/mtd", "drivers/comedi", "drivers/isdn"),
    *("sound", "net/bluetooth", "net/mac80211"),
)


def build(layout: Layout, say: Callable[[str], None]) -> None:
    """Make the image unless it is there already. Raises BedError."""
    key_file, key = layout.image / "key", image_key()
    if key_file.exists() and key_file.read_text() == key:
        return
    require_tools()
    key_file.unlink(missing_ok=True)
    shutil.rmtree(layout.template, ignore_errors=True)  # it was booted from the image before
    layout.image.mkdir(parents=True, exist_ok=True)
    root = layout.image / "root"
    _debootstrap(root, layout.image, say)
    say("the node's own files, the kernel, the file system")
    _install_ours(root)
    (layout.image / "vmlinux").write_bytes(unpacked_kernel(next(root.glob("boot/vmlinuz-*"))))
    (layout.image / "initrd.img").write_bytes(_first_stage(root))
    image = layout.image / "root.img"
    image.unlink(missing_ok=True)
    options = ["-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1"]
    _run(["mke2fs", *options, "-d", str(root), str(image), f"{ROOT_MIB}m"])
    key_file.write_text(key)


def require_tools() -> None:
    """Raises BedError for what is missing on this machine, with what to install."""
    if os.geteuid() != 0:
        raise BedError("the test bed needs root: it makes file systems and a network")
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise BedError(f"missing tools: apt-get install {' '.join(missing)}")
    if sys.version_info[:2] != (3, 11):
        raise BedError("the test bed's Debian has Python 3.11: use it for .venv too")


def image_key() -> str:
    """Return a digest of all that goes into the image."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in (*sorted(GUEST.iterdir()), PROJECT / "requirements.lock"):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def unpacked_kernel(path: Path) -> bytes:
    """Return the ELF kernel inside a bzImage, which starts in half the time under emulation.

    Debian packs it with xz. Raises BedError if there is none.
    """
    packed = path.read_bytes()
    for found in re.finditer(re.escape(b"\xfd7zXZ\x00"), packed):
        try:
            kernel = lzma.LZMADecompressor().decompress(packed[found.start() :])
        except lzma.LZMAError:
            continue
        if kernel.startswith(b"\x7fELF"):
            return kernel
    raise BedError(f"no kernel packed with xz in {path}")


def _debootstrap(root: Path, home: Path, say: Callable[[str], None]) -> None:
    """Fill `root` with a Debian system, unless it holds that of these packages already."""
    argv = _mmdebstrap(root)
    key, key_file = "\n".join(argv), home / "root-key"
    if key_file.exists() and key_file.read_text() == key:
        return
    say("mmdebstrap: a Debian 12 system (2 to 3 minutes)")
    key_file.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    log = home / "mmdebstrap.log"
    with log.open("wb") as out:
        status = subprocess.run(argv, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        end = log.read_text(errors="replace")[-2000:]
        raise BedError(f"mmdebstrap ended with {status}:\n{end}")
    key_file.write_text(key)


def _mmdebstrap(root: Path) -> list[str]:
    packages = [
        line for line in (GUEST / "packages").read_text().split("\n") if line and line[0] != "#"
    ]
    exclude = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"]
    exclude += [f"/lib/modules/*/kernel/{part}/*" for part in USELESS]
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}"]
    argv += ['--aptopt=Acquire::Retries "5"']
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in exclude]
    argv += ["bookworm", str(root)]
    mirrors = Path("/etc/apt/sources.list.d/debian.sources")
    return [*argv, str(mirrors)] if mirrors.exists() else argv


def _install_ours(root: Path) -> None:
    """The node's own files: its init, its commander, the packages that Cairn needs."""
    etc = root / "etc/cairn"
    etc.mkdir(exist_ok=True)
    for name in ("boot", "be", "commander.py"):
        shutil.copy(GUEST / name, etc / name)
        (etc / name).chmod(0o755)
    shutil.copy(GUEST / "inittab", root / "etc/inittab")
    (root / "sbin/init").unlink(missing_ok=True)
    (root / "sbin/init").symlink_to("/bin/busybox")
    hosts = "".join(f"10.77.1.{10 + number} node{number}\n" for number in (1, 2, 3))
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
    # LVM looks at the node's own disks, never at what a guest has written into a volume.
    lvm = root / "etc/lvm/lvmlocal.conf"
    lvm.write_text('devices { global_filter = [ "a|^/dev/vd[b-z]$|", "r|.*|" ] }\n')
    packages = root / "usr/lib/python3/dist-packages"
    for source, name in runtime_files():
        target = packages / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def runtime_files() -> Iterator[tuple[Path, str]]:
    """Yield the files of every Python package that Cairn needs to run: path, name below
    site-packages."""
    for name in sorted(runtime_distributions()):
        for file in importlib.metadata.files(name) or ():
            source = Path(str(file.locate()))
            if ".." not in file.parts and source.is_file():
                yield source, str(file)


def runtime_distributions() -> set[str]:
    """Return the names of the packages that Cairn needs, and those that these need, ..."""
    found: set[str] = set()
    waiting = ["cairn"]
    while waiting:
        for requirement in importlib.metadata.requires(waiting.pop()) or ():
            needed, _, marker = requirement.partition(";")
            match = re.match(r"[A-Za-z0-9._-]+", needed)
            assert match is not None, requirement
            name = match[0].lower().replace("_", "-")
            if "extra ==" not in marker and name not in found and _installed(name):
                found.add(name)
                waiting.append(name)
    return found


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False  # a requirement of another platform
    return True


def _first_stage(root: Path) -> bytes:
    """Return an initial RAM disk: busybox, and the modules between the kernel and its root."""
    modules = next((root / "lib/modules").iterdir())
    depends = dict(
        line.split(":", 1) for line in (modules / "modules.dep").read_text().splitlines()
    )
    of_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in depends}
    wanted: list[str] = []
    for name in FIRST_MODULES:
        if (path := of_name.get(name)) is not None:  # else it is built in
            wanted += [*reversed(depends[path].split()), path]
    inside = [
        ("init", 0o100755, (GUEST / "init").read_bytes()),
        ("bin", 0o040755, b""),
        ("bin/busybox", 0o100755, (root / "bin/busybox").read_bytes()),
        ("modules", 0o100644, "\n".join(dict.fromkeys(Path(p).name for p in wanted)).encode()),
    ]
    inside += [(Path(p).name, 0o100644, (modules / p).read_bytes()) for p in dict.fromkeys(wanted)]
    return cpio(inside)


def cpio(files: list[tuple[str, int, bytes]]) -> bytes:
    """Return an archive of (name, mode, content), in the "new ASCII" format.

    Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
    """
    archive = bytearray()
    for number, (name, mode, content) in enumerate((*files, ("TRAILER!!!", 0, b"")), start=1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields)
        archive += name.encode() + b"\0"
        archive += bytes(-len(archive) % 4)
        archive += content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BedError(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()}")
