"""Where the files of the test bed lie, and how large its nodes are (pure).

<dir>/image/root.img       the Debian system that every node starts from; image/key says of what
<dir>/image/vmlinux        its kernel, unpacked, and image/initrd.img, which mounts the root
<dir>/template/            one node that was booted, with its disks, and its memory in `memory`
<dir>/nodes/<node>/        the disks of a node, the sockets and the log of its QEMU

`<dir>` is `.testbed` in the project's folder, or what CAIRN_TESTBED names: several work trees may
share an image, not nodes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
GUEST = Path(__file__).with_name("guest")  # files that go into the image
NODES = ("node1", "node2", "node3")
VOLUME_GROUP = "xenvg"
MEMORY_MIB = 768  # of a node
DISKS = ("vdb", "vdc")  # each a physical volume of the volume group: two, for stripes
DISK_MIB = 8192  # of each; they take room as they are written to
ROOT_MIB = 3072
SUBNET = "10.77.1"  # of the nodes; .1 is the machine that the test bed is on


class BedError(Exception):
    """The test bed cannot do what was asked; the message says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one test bed. `directory` is absolute."""

    directory: Path

    @property
    def image(self) -> Path:
        """What all nodes start from."""
        return self.directory / "image"

    @property
    def template(self) -> Path:
        """A node that was booted and put aside."""
        return self.directory / "template"

    def node(self, name: str) -> Path:
        """The directory of a node's VM."""
        return self.directory / "nodes" / name


def default_layout() -> Layout:
    """Return the test bed of this work tree."""
    named = os.environ.get("CAIRN_TESTBED")
    return Layout(Path(named).absolute() if named else PROJECT / ".testbed")


def number_of(node: str) -> int:
    """Return the number at the end of a node's name. Raises BedError."""
    if node not in NODES:
        raise BedError(f"no node {node!r}; there are {', '.join(NODES)}")
    return NODES.index(node) + 1


def address_of(node: str) -> str:
    """Return the address of a node in the network of the test bed."""
    return f"{SUBNET}.{10 + number_of(node)}"
