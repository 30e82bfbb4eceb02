"""What DRBD says of itself: the state of each minor, the configuration of each resource (pure).

DRBD 8.4 tells states in `/proc/drbd`, which costs no command, and configuration by `drbdsetup
show`, whose text is that of its configuration files: words, strings, blocks in braces, `;` and
comments. Both are shown in the manual, drbdsetup-8.4(8) and drbd.conf-8.4(5).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from nodeagent.calls import DiskSeen

_SYNCING = re.compile(r"(Starting|Paused)?Sync(S|T|Source|Target)|WFBitMap[ST]|WFSyncUUID")
_VERIFYING = ("VerifyS", "VerifyT")
_MINOR = re.compile(r"^ *(\d+): cs:(\w+)(?: ro:(\w+)/(\w+) ds:(\w+)/(\w+))?", re.MULTILINE)
_PERCENT = re.compile(r"sync'ed: *([\d.]+)%")
_FINISH = re.compile(r"finish: (\d+):(\d\d):(\d\d)")
_TOKEN = re.compile(r'\s+|#[^\n]*|"((?:[^"\\]|\\.)*)"|([{};])|([^\s{};"]+)')


class MinorState(NamedTuple):
    """What a minor does. Words are DRBD's: connection, roles, disks; here first, then the peer."""

    connection: str
    role: str = "Unknown"
    peer_role: str = "Unknown"
    disk: str = "Diskless"
    peer_disk: str = "DUnknown"
    sync_percent: float | None = None
    sync_eta_s: float | None = None

    @property
    def primary(self) -> bool:
        """Whether this side may be written to."""
        return self.role == "Primary"

    @property
    def connected(self) -> bool:
        """Whether each side sees what the other writes, or will when it has caught up."""
        return self.connection in ("Connected", *_VERIFYING) or self.syncing

    @property
    def syncing(self) -> bool:
        """Whether one side catches up with the other."""
        return _SYNCING.fullmatch(self.connection) is not None

    @property
    def peer_has_data(self) -> bool:
        """Whether this side can do without its own disk."""
        return self.connected and self.peer_disk == "UpToDate"

    def seen(self, disk: str) -> DiskSeen:
        """Return the state as it is reported."""
        role = "primary" if self.primary else "secondary"
        words = f"{self.connection} {self.disk}/{self.peer_disk}"
        if self.disk in ("Diskless", "Failed", "Detaching"):
            return DiskSeen(disk, "faulty", role, words=words)
        if self.syncing:
            return DiskSeen(disk, "syncing", role, self.sync_percent, self.sync_eta_s)
        both = self.connected and self.disk == self.peer_disk == "UpToDate"
        return DiskSeen(disk, "ok", role) if both else DiskSeen(disk, "degraded", role, words=words)


def read_proc(text: str) -> dict[int, MinorState]:
    """Return the state of each minor in `/proc/drbd` of DRBD 8.4."""
    found = list(_MINOR.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        int(match[1]): _minor(match, text[match.end() : end])
        for match, end in zip(found, ends, strict=False)
    }


def _minor(match: re.Match[str], rest: str) -> MinorState:
    _, connection, role, peer_role, disk, peer_disk = match.groups()
    if role is None:
        return MinorState(connection)  # Unconfigured: a minor without disk and connection
    percent, finish = _PERCENT.search(rest), _FINISH.search(rest)
    eta_s = None
    if finish is not None:
        hours, minutes, seconds = (int(part) for part in finish.groups())
        eta_s = float(hours * 3600 + minutes * 60 + seconds)
    done = float(percent[1]) if percent is not None else None
    return MinorState(connection, role, peer_role, disk, peer_disk, done, eta_s)


class Resource(NamedTuple):
    """How a resource is configured. Empty where it has no disk or no peer."""

    minor: int | None = None
    data: str = ""
    meta: str = ""
    own: str = ""  # address:port
    peer: str = ""  # address:port
    two_primaries: bool = False
    peer_node: int | None = None  # DRBD 9: the peer's number


def read_show(text: str) -> dict[str, Resource]:
    """Return the resources that `drbdsetup show` (8.4) printed, by name."""
    resources: dict[str, Resource] = {}
    for words, block in blocks(text):
        if words[:1] == ["resource"] and len(words) == 2:
            resources[words[1]] = _resource(block)
    return resources


def _resource(block: Block) -> Resource:
    here, there, net = (block.inner(name) for name in ("_this_host", "_remote_host", "net"))
    volume = here.inner("volume")
    minor = volume.value("device")
    return Resource(
        minor=int(minor) if minor.isdigit() else None,
        data=device_path(volume.value("disk")),
        meta=device_path(volume.value("meta-disk")),
        own=here.value("address"),
        peer=there.value("address"),
        two_primaries=net.value("allow-two-primaries") == "yes",
    )


def device_path(path: str) -> str:
    """Return a device as it was shown, "" for none."""
    return "" if path == "none" else path


def blocks(text: str) -> list[tuple[list[str], Block]]:
    """Return the outermost blocks of a configuration, with the words before each."""
    return _Parser(text).items()


class Block:
    """Statements in braces: words up to `;`, or words before a block of their own."""

    def __init__(self) -> None:
        self.statements: list[list[str]] = []
        self.blocks: list[tuple[list[str], Block]] = []

    def value(self, name: str) -> str:
        """Return the last word of a statement, empty if there is none."""
        return next((words[-1] for words in self.statements if words[0] == name), "")

    def inner(self, name: str) -> Block:
        """Return the first block of this name, an empty one if there is none."""
        return next((block for words, block in self.blocks if words[:1] == [name]), Block())


class _Parser:
    """Reads DRBD's configuration language."""

    def __init__(self, text: str) -> None:
        self._tokens = [
            (match[1] if match[1] is not None else match[2] or match[3], match[2] is not None)
            for match in _TOKEN.finditer(text)
            if match.lastindex is not None
        ]
        self._at = 0

    def items(self) -> list[tuple[list[str], Block]]:
        """Return the outermost blocks."""
        return self._block().blocks

    def _block(self) -> Block:
        block, words = Block(), list[str]()
        while self._at < len(self._tokens):
            token, is_mark = self._tokens[self._at]
            self._at += 1
            if not is_mark:
                words.append(token)
            elif token == "{":
                block.blocks.append((words, self._block()))
                words = []
            elif token == "}":
                break
            elif words:
                block.statements.append(words)
                words = []
        return block
