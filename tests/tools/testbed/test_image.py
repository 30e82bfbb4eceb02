"""What the test bed's image is made of, where it can be told without building one."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest

from tools.testbed.image import cpio, image_key, runtime_distributions, unpacked_kernel
from tools.testbed.layout import GUEST, NODES, BedError, address_of, number_of


def test_an_archive_holds_what_was_put_in() -> None:
    """Each name stands before its content, both padded to four bytes, and the end is marked."""
    archive = cpio([("init", 0o100755, b"#!"), ("bin", 0o040755, b"")])
    assert len(archive) % 4 == 0
    assert archive.count(b"070701") == 3
    header = archive[: archive.index(b"init\0")]
    assert int(header[6 + 8 : 6 + 16], 16) == 0o100755  # its mode
    assert int(header[6 + 48 : 6 + 56], 16) == 2  # its size
    assert b"TRAILER!!!\0" in archive


def test_the_kernel_is_found_in_its_package(tmp_path: Path) -> None:
    """The ELF file that a bzImage holds packed comes out, whatever stands around it; a file
    without one is refused."""
    packed = tmp_path / "vmlinuz"
    noise = b"setup \xfd7zXZ\x00 is no kernel"
    packed.write_bytes(noise + lzma.compress(b"\x7fELF kernel") + b"trailer")
    assert unpacked_kernel(packed) == b"\x7fELF kernel"
    packed.write_bytes(noise)
    with pytest.raises(BedError, match="no kernel"):
        unpacked_kernel(packed)


def test_the_image_has_what_the_daemons_import() -> None:
    """The packages of pyproject.toml and what they need, and none that only developers use."""
    found = runtime_distributions()
    assert {"apsw", "msgspec", "pyzmq", "cryptography", "cffi"} <= found
    assert not found & {"pytest", "mypy", "ruff", "hypothesis"}


def test_another_package_is_another_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The key changes with each file that goes into the image, and with nothing else."""
    before = image_key()
    assert image_key() == before
    (tmp_path / "packages").write_text("lvm2\n")
    monkeypatch.setattr("tools.testbed.image.GUEST", tmp_path)
    assert image_key() != before


def test_nodes_have_addresses_by_their_numbers() -> None:
    """An unknown node is refused with those that there are."""
    assert [address_of(node)[-2:] for node in NODES] == ["11", "12", "13"]
    with pytest.raises(BedError, match="node1, node2, node3"):
        number_of("node9")


def test_the_scripts_of_a_node_are_sound() -> None:
    """The shells that run them can parse them."""
    for name in ("boot", "be", "init"):
        assert subprocess.run(["sh", "-n", str(GUEST / name)], check=False).returncode == 0
