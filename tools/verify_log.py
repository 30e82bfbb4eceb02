#!/usr/bin/env python3
"""Verify a log of Cairn by itself, for auditors: one file, copied alone to any machine.

    python verify_log.py LOGFILE [--key KEY]... [--ack-mark FILE]

It needs Python 3.11 with `msgpack` and `cryptography`, and shares no code with the programs that
write the log: it was written from docs/wire-protocol.md (records and chain), RFC 6962 (Merkle tree)
and C2SP (checkpoints, signed notes). LOGFILE is a voter's `log.sqlite`, with its `-wal` beside it
if there is one, or what `gnt-log export` wrote (JSON Lines). Nothing is changed.

What is checked, record by record:

- `seq` is dense from 1, and each hash is SHA-256(0x02 || hash before || exact bytes), that before
  the first SHA-256(0x02 || cluster id). Here reading stops at the first break: what follows it
  cannot be told from an invention;
- batches are whole, versions of each stream dense from 1, times rise, epochs never fall;
- each `log.checkpoint` has the Merkle root of as many first records as it says, and the Ed25519
  signature of a voter's key that the log had admitted by then and not revoked.

Who can write the whole disk can also invent a whole log with keys of its own. Against that give the
keys that you trust, from elsewhere, by --key (base64 as in `log.key-admitted`, or a C2SP verifier
key): only their signatures count then, and one at least must be there. Records behind the last
checkpoint are vouched for by nobody yet, and an end that was cut off shows only by the voter's
`ack-mark`, which is read if it lies beside LOGFILE.

Exports do not hold the records' bytes. They are put together again from the fields, as the leader
encodes them; that they are the right ones is what the hash then shows. The fields that are there
for people (`time`, `event`) are compared with what was hashed.

Exit status: 0 sound; 1 not sound, and the first bad seq is named; 2 it cannot be read at all.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgpack  # type: ignore[import-untyped]  # it has no stubs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

APPLICATION_ID = 0x43524E4C  # in the header of a log.sqlite
FORMAT = 1
MAX_RECORD_BYTES = 512 << 10
MAX_DEPTH = 32  # of arrays and maps in a record, itself included
MAX_NOTE_BYTES = 64 << 10
MAX_SIGNATURES = 16
MARK_SLOT_BYTES = 4096
_CHUNK = 500  # rows per query, so that a writer's checkpoints are not held up
_ED25519 = b"\x01"  # the algorithm in a key's id
_DASH = "— "


class Unreadable(Exception):
    """This is no log, or nothing of it can be read."""


class Bad(Exception):
    """A record, note or key is not what it should be; the message says why."""


class Finding(NamedTuple):
    """Something that is wrong, and the record that shows it."""

    seq: int
    what: str


class Entry(NamedTuple):
    """A record as it was found. `flaw`: why what stands beside its bytes contradicts them."""

    seq: int
    epoch: tuple[int, int]
    hash: bytes
    encoded: bytes
    flaw: str = ""


class Mark(NamedTuple):
    """What the voter had acknowledged."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Source:
    """A log to read. `entries` may be called again and yields all of them, in order.

    It raises Bad where the next one cannot be read.
    """

    cluster_id: str
    head: int  # seq that the last record claims
    entries: Callable[[], Iterator[Entry]]


@dataclass(slots=True)
class Report:
    """What was found. Sound if there are no findings."""

    cluster_id: str
    head: int
    records: int = 0  # that were walked
    head_hash: bytes = b""
    checkpoints: int = 0  # sound ones
    covered: int = 0  # records under the largest sound checkpoint
    findings: list[Finding] = field(default_factory=list)

    @property
    def first_bad(self) -> int | None:
        """The first seq at which something is wrong, None if nothing is."""
        return min((finding.seq for finding in self.findings), default=None)


def audit(source: Source, *, pinned: frozenset[bytes] = frozenset(), mark: Mark | None) -> Report:
    """Verify a log. `pinned`: Ed25519 keys of which alone signatures count, if there are any."""
    report = Report(source.cluster_id, source.head)
    walked = _Walk(report, mark)
    walked.through(source)
    roots = _roots(source, {note.size for note in walked.notes}, report.records)
    for note in walked.notes:
        flaw = note.flaw or _note_flaw(note, walked.origin, roots, pinned)
        if flaw:
            report.findings.append(Finding(note.seq, f"its checkpoint is not sound: {flaw}"))
        else:
            report.checkpoints += 1
            report.covered = max(report.covered, note.size)
    if pinned and not report.checkpoints:
        report.findings.append(Finding(1, "no checkpoint is signed by a key that was given"))
    report.findings.sort()
    return report


# --- the walk along the chain ---------------------------------------------------------------------


class Note(NamedTuple):
    """A checkpoint as it stands in record `seq`, and the voters' keys that were admitted then."""

    seq: int
    size: int
    text: str
    keys: frozenset[bytes]
    flaw: str = ""


class _Walk:
    """One pass over the records: the chain, and what later checks need."""

    def __init__(self, report: Report, mark: Mark | None) -> None:
        self.origin = ""
        self.notes: list[Note] = []
        self._report, self._mark = report, mark
        self._keys: dict[str, bytes] = {}  # CURVE key -> signing key, of voters
        self._versions: dict[str, int] = {}
        self._last: Record | None = None
        self._hash = report.head_hash = _sha(b"\x02", report.cluster_id.encode())

    def through(self, source: Source) -> None:
        """Walk until the end, or to the first record that does not follow."""
        report = self._report
        try:
            for entry in source.entries():
                self._follow(entry)
                report.records, report.head_hash = entry.seq, entry.hash
            self._at_end()
        except Bad as bad:
            self._found(str(bad), report.records + 1)
        if self._mark and self._mark.seq > report.head:
            told = f"records up to {self._mark.seq} were acknowledged, the log ends at"
            self._found(f"{told} {report.head}", report.head + 1)

    def _found(self, what: str, seq: int) -> None:
        self._report.findings.append(Finding(seq, what))

    def _follow(self, entry: Entry) -> None:
        """Check that `entry` is the next record. Raises Bad if it breaks the chain."""
        seq = self._report.records + 1
        if entry.seq != seq:
            raise Bad(f"it is missing; the next there is {entry.seq}")
        if entry.flaw:
            raise Bad(entry.flaw)
        if _sha(b"\x02", self._hash, entry.encoded) != entry.hash:
            raise Bad("its bytes do not belong to its hash and the one before")
        record = decode(entry.encoded)
        if (record.seq, record.epoch) != (seq, entry.epoch):
            raise Bad(f"its bytes are those of {record.seq} in {record.epoch}")
        self._check_batch(record)
        if self._mark and self._mark.seq == seq and self._mark.hash != entry.hash:
            self._found("it is not the record that was acknowledged", seq)
        self._check_order(record)
        self._hash, self._last = entry.hash, record
        if record.kind.startswith("log."):
            try:
                self._note_own(record)
            except Bad as bad:
                self._found(str(bad), seq)

    def _check_batch(self, record: Record) -> None:
        last = self._last
        if last is not None and last.index + 1 < last.count:
            fits = (record.index, record.count) == (last.index + 1, last.count)
        else:
            fits = record.index == 0
        if not fits:
            raise Bad(f"it is {record.index} of a batch of {record.count}, which does not follow")

    def _check_order(self, record: Record) -> None:
        expected = self._versions.get(record.stream, 0) + 1
        if record.version != expected:
            told = f"{record.stream} goes on with version {record.version}, not {expected}"
            self._found(told, record.seq)
        self._versions[record.stream] = record.version
        if self._last is None:
            return
        if record.time <= self._last.time:
            self._found("its time is not after that of the record before", record.seq)
        if record.epoch < self._last.epoch:
            self._found(f"its epoch {record.epoch} is below {self._last.epoch}", record.seq)

    def _at_end(self) -> None:
        if self._report.records < self._report.head:
            raise Bad(f"it is missing, as are those up to {self._report.head}")
        last = self._last
        if last is not None and last.index + 1 < last.count:
            told = f"the end of its batch is missing ({last.index + 1} of {last.count} are there)"
            self._found(told, last.seq - last.index)

    def _note_own(self, record: Record) -> None:
        """Remember the keys and the checkpoints. Raises Bad."""
        event = record.data
        match record.kind:
            case "log.created":
                self.origin = _typed(event, "origin", str)
                if _typed(event, "cluster_id", str) != self._report.cluster_id:
                    raise Bad(f"it begins the log of cluster {event['cluster_id']}")
            case "log.key-admitted":
                _, role, curve_key = (_typed(event, n, str) for n in ("name", "role", "curve_key"))
                if role == "voter" and event.get("sign_key"):
                    self._keys[curve_key] = _unbase64(_typed(event, "sign_key", str))
            case "log.key-revoked":
                self._keys.pop(_typed(event, "curve_key", str), None)
            case "log.checkpoint":
                size, text = _typed(event, "size", int), _typed(event, "note", str)
                self.notes.append(Note(record.seq, size, text, frozenset(self._keys.values())))


# --- records --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """What of a record is checked."""

    seq: int
    epoch: tuple[int, int]
    time: int
    kind: str
    stream: str
    version: int
    data: Any  # an event: a map, unless someone forged it
    index: int
    count: int


_TYPES: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    ("v", int), ("seq", int), ("gen", int), ("term", int), ("time", int), ("event_id", bytes),
    ("kind", str), ("schema", int), ("stream", str), ("version", int), ("actor", str),
    ("origin", str), ("job", (int, type(None))), ("cause", (int, type(None))),
    ("key", (str, type(None))), ("data", object), ("index", int), ("count", int),
)  # fmt: skip


def decode(encoded: bytes) -> Record:
    """Return the record in these bytes. Raises Bad if they are none."""
    if len(encoded) > MAX_RECORD_BYTES:
        raise Bad(f"a record of {len(encoded)} bytes; the limit is {MAX_RECORD_BYTES}")
    try:
        values = msgpack.unpackb(encoded, strict_map_key=False)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError, TypeError) as wrong:
        raise Bad(f"not a record: {wrong or type(wrong).__name__}") from None
    if not isinstance(values, list) or len(values) < 16:
        raise Bad("not a record: no array of at least 16 elements")
    if _deeper(values, MAX_DEPTH):
        raise Bad(f"nested deeper than {MAX_DEPTH}")
    values += (0, 1)[len(values) - 16 :] if len(values) < 18 else ()
    for (name, wanted), value in zip(_TYPES, values, strict=False):
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not object):
            raise Bad(f"not a record: {name} is {value!r:.40}")
    v, seq, gen, term, time, event_id, kind, _, stream, version = values[:10]
    index, count = values[16:18]
    if v != FORMAT:
        raise Bad(f"format {v}; this program reads {FORMAT}")
    if min(seq, version) < 1 or min(gen, term, time) < 0 or len(event_id) != 16:
        raise Bad("not a record: a number or an id out of range")
    if not 0 <= index < count:
        raise Bad(f"not a record: index {index} in a batch of {count}")
    return Record(seq, (gen, term), time, kind, stream, version, values[15], index, count)


def _deeper(value: object, limit: int) -> bool:
    """Say whether arrays and maps nest deeper than `limit`."""
    level: list[object] = [value]
    for _ in range(limit + 1):
        nested = [each for each in level if isinstance(each, (list, dict))]
        if not nested:
            return False
        level = [
            inner
            for each in nested
            for inner in ([*each.keys(), *each.values()] if isinstance(each, dict) else each)
        ]
    return True


def _typed(event: Any, name: str, kind: type) -> Any:
    value = event.get(name) if isinstance(event, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Bad(f"its event has no {name} that makes sense")
    return value


# --- the Merkle tree (RFC 6962) -------------------------------------------------------------------


def _roots(source: Source, sizes: set[int], records: int) -> dict[int, bytes]:
    """Return the root over the first `size` records for each size up to `records`.

    `frontier` holds the roots of the complete subtrees that the size is the sum of, largest first.
    """
    roots: dict[int, bytes] = {}
    frontier: list[bytes] = []
    last = max((size for size in sizes if size <= records), default=0)
    if not last:
        return roots
    for size, entry in enumerate(source.entries(), 1):
        node, even = _sha(b"\x00", entry.encoded), size
        while not even & 1:
            node, even = _sha(b"\x01", frontier.pop(), node), even >> 1
        frontier.append(node)
        if size in sizes:
            root = frontier[-1]
            for left in frontier[-2::-1]:
                root = _sha(b"\x01", left, root)
            roots[size] = root
        if size == last:
            break
    return roots


def _sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


# --- checkpoints (C2SP tlog-checkpoint, signed-note) ----------------------------------------------


def _note_flaw(note: Note, origin: str, roots: dict[int, bytes], pinned: frozenset[bytes]) -> str:
    """Say what is wrong with a checkpoint, "" if nothing is."""
    try:
        said, size, root, signatures, text = _parse_note(note.text)
        if said != origin or size != note.size:
            return f"it is one of {said} at size {size}"
        if size >= note.seq:
            return f"it speaks of {size} records, but stands at {note.seq}"
        if roots.get(size) != root:
            return f"its root is not that of the first {size} records"
        signers = _signers(origin, text, signatures, note.keys)
    except Bad as bad:
        return str(bad)
    if not signers:
        return "no voter's key that was admitted by then has signed it"
    if pinned and not signers & pinned:
        return "none of the keys that were given has signed it"
    return ""


def _parse_note(note: str) -> tuple[str, int, bytes, list[tuple[str, bytes]], bytes]:
    """Return origin, size, root, (name, id and signature) pairs, and the signed bytes."""
    if len(note.encode(errors="replace")) > MAX_NOTE_BYTES:
        raise Bad("a note of more than 64 KiB")
    text, found, below = note.rpartition("\n\n")
    lines = text.split("\n")
    if not found or not below.endswith("\n") or len(lines) < 3:
        raise Bad("no checkpoint of three lines with signatures under it")
    origin, size, root = lines[0], lines[1], _unbase64(lines[2])
    plain = size.isascii() and size.isdecimal() and len(size) <= 20
    if not origin or not plain or str(int(size)) != size or len(root) != 32:
        raise Bad("no checkpoint: an origin, a decimal size and a root of 32 bytes")
    signatures = []
    for line in below[:-1].split("\n"):
        name, _, signed = line.removeprefix(_DASH).partition(" ")
        content = _unbase64(signed)
        if not line.startswith(_DASH) or not name or len(content) < 5:
            raise Bad("a line under the note is no signature")
        signatures.append((name, content))
    if len(signatures) > MAX_SIGNATURES:
        raise Bad(f"more than {MAX_SIGNATURES} signatures")
    return origin, int(size), root, signatures, f"{text}\n".encode()


def _signers(
    origin: str, text: bytes, signatures: list[tuple[str, bytes]], keys: frozenset[bytes]
) -> frozenset[bytes]:
    """Return which of `keys` signed; other signatures are ignored. Raises Bad on a wrong one."""
    known = {_key_id(origin, key): key for key in keys}
    signers = set()
    for name, content in signatures:
        key = known.get(content[:4]) if name == origin else None
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(content[4:], text)
        except (InvalidSignature, ValueError):
            raise Bad("a signature under it, by the id of an admitted key, is wrong") from None
        signers.add(key)
    return frozenset(signers)


def _key_id(name: str, key: bytes) -> bytes:
    return _sha(name.encode(), b"\n", _ED25519, key)[:4]


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode(), validate=True)
    except ValueError as wrong:
        raise Bad(f"not base64: {wrong}") from None


# --- where a log comes from -----------------------------------------------------------------------


def open_source(path: Path) -> Source:
    """Find out what this file is. Raises Unreadable."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as failed:
        raise Unreadable(f"{path}: {failed.strerror}") from None
    if start == b"SQLite format 3\0":
        return _sqlite(path)
    if start.lstrip().startswith(b"{"):
        return _export(path)
    raise Unreadable(f"{path} is neither a log.sqlite nor an export in JSON Lines")


def _sqlite(path: Path) -> Source:
    try:
        with closing(_connect(path)) as db:
            (application,) = db.execute("PRAGMA application_id").fetchone()
            meta = dict(db.execute("SELECT name, value FROM meta"))
            (head,) = db.execute("SELECT max(seq) FROM log").fetchone()
    except sqlite3.Error as failed:
        raise Unreadable(f"{path} cannot be read: {failed}") from None
    if application != APPLICATION_ID or meta.get("format") != FORMAT:
        raise Unreadable(f"{path} is a database, but no log of Cairn in format {FORMAT}")
    if not isinstance(meta.get("cluster_id"), str) or not isinstance(head, int):
        raise Unreadable(f"{path} does not say what it is, or holds no record")
    return Source(meta["cluster_id"], head, lambda: _sqlite_entries(path, head))


def _sqlite_entries(path: Path, head: int) -> Iterator[Entry]:
    # The casts: a flipped bit can change the type of a value; the hash then finds the bytes wrong.
    select = (
        "SELECT seq, CAST(gen AS INTEGER), CAST(term AS INTEGER),"
        " coalesce(CAST(hash AS BLOB), x''), coalesce(CAST(bytes AS BLOB), x'')"
        " FROM log WHERE seq BETWEEN ? AND ? ORDER BY seq"
    )
    with closing(_connect(path)) as db:
        for first in range(1, head + 1, _CHUNK):
            try:
                for seq, gen, term, digest, encoded in db.execute(
                    select, (first, min(head, first + _CHUNK - 1))
                ):
                    yield Entry(seq, (gen, term), digest, encoded)
            except sqlite3.Error as failed:
                raise Bad(f"it cannot be read: {failed}") from None


def _connect(path: Path) -> sqlite3.Connection:
    """Open read-only. Without a WAL beside it the file is all there is, and nobody writes it."""
    wal = path.with_name(path.name + "-wal").exists()
    uri = f"file:{quote(str(path.absolute()))}?mode=ro{'' if wal else '&immutable=1'}"
    return sqlite3.connect(uri, uri=True)


def _export(path: Path) -> Source:
    head, cluster_id = 0, ""
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            head = number
            if number == 1:
                cluster_id = _cluster_of(path, line)
    return Source(cluster_id, head, lambda: _export_entries(path))


def _cluster_of(path: Path, line: str) -> str:
    """Return the cluster's id, which in an export only the first record tells."""
    try:
        event = msgpack.unpackb(base64.b64decode(json.loads(line)["data"], validate=True))
        return str(event["cluster_id"])
    except (ValueError, KeyError, TypeError, msgpack.exceptions.UnpackException):
        told = "does not begin with record 1, which names the cluster: export the whole log"
        raise Unreadable(f"{path} {told}") from None


def _export_entries(path: Path) -> Iterator[Entry]:
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            try:
                yield _rebuilt(json.loads(line))
            except (ValueError, KeyError, TypeError, OverflowError) as wrong:
                raise Bad(f"its line is no exported record: {wrong!r:.80}") from None


def _rebuilt(fields: dict[str, Any]) -> Entry:
    """Return the record of a line, in the bytes that the leader must have written."""
    gen, term = fields["epoch"]
    data = base64.b64decode(fields["data"], validate=True)
    before = [
        FORMAT, fields["seq"], gen, term, fields["hlc"], bytes.fromhex(fields["event_id"]),
        fields["kind"], fields["schema"], fields["stream"], fields["version"], fields["actor"],
        fields["origin"], fields["job"], fields["cause"], fields["key"],
    ]  # fmt: skip
    pack = msgpack.packb
    encoded = b"\xdc\x00\x12" + b"".join(map(pack, before)) + data
    encoded += pack(fields["index"]) + pack(fields["count"])
    flaw = _told_otherwise(fields, data)
    return Entry(fields["seq"], (gen, term), bytes.fromhex(fields["hash"]), encoded, flaw)


def _told_otherwise(fields: dict[str, Any], data: bytes) -> str:
    """Say which field for people contradicts what is hashed, "" if none does."""
    try:
        event = _plain(msgpack.unpackb(data, strict_map_key=False))
    except (ValueError, msgpack.exceptions.UnpackException) as wrong:
        return f"its data is no event: {wrong}"
    if event != fields["event"]:
        return "its `event` is not what its `data` holds"
    said = datetime.fromisoformat(fields["time"])
    if (
        abs(said - datetime.fromtimestamp((fields["hlc"] >> 16) / 1000, UTC)).total_seconds()
        > 0.001
    ):
        return "its `time` is not what its `hlc` says"
    return ""


def _plain(value: Any) -> Any:
    """Return what JSON makes of a value: bytes as base64, keys as text, no infinities."""
    match value:
        case dict():
            return {str(key): _plain(each) for key, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case bytes():
            return base64.b64encode(value).decode()
        case float() if not math.isfinite(value):
            return None
    return value


def read_mark(path: Path) -> Mark | None:
    """Return what this ack mark says, the newer of its two slots; None if neither is whole."""
    try:
        content = path.read_bytes()[: 2 * MARK_SLOT_BYTES]
    except OSError as failed:
        raise Unreadable(f"{path}: {failed.strerror}") from None
    newest: tuple[int, Mark] | None = None
    for slot in (content[:MARK_SLOT_BYTES], content[MARK_SLOT_BYTES:]):
        payload = slot[10 : 10 + int.from_bytes(slot[4:6], "big")]
        if slot[:4] == b"CMRK" and zlib.crc32(payload) == int.from_bytes(slot[6:10], "big"):
            counter, (seq, digest, *_) = msgpack.unpackb(payload)
            newest = max(newest or (counter, Mark(seq, digest)), (counter, Mark(seq, digest)))
    return newest[1] if newest else None


# --- the command line -----------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify what the arguments name and say what was found; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="verify_log.py",
        description="Verify a log of Cairn, with nothing of Cairn's.",
        epilog="Exit status: 0 sound, 1 not sound, 2 it cannot be read.",
    )
    parser.add_argument(
        "logfile", type=Path, help="a log.sqlite, its directory, or JSON Lines of gnt-log export"
    )
    parser.add_argument(
        "--key", action="append", default=[], help="a voter's public key that you trust; repeatable"
    )
    parser.add_argument("--ack-mark", type=Path, help="default: ack-mark beside a log.sqlite")
    options = parser.parse_args(arguments)
    try:
        pinned = frozenset(_given_key(text) for text in options.key)
        path = _file_in(options.logfile)
        source = open_source(path)
        mark, told = _find_mark(path, options.ack_mark)
    except (Unreadable, Bad) as wrong:
        print(f"verify_log.py: {wrong}", file=sys.stderr)
        return 2
    report = audit(source, pinned=pinned, mark=mark)
    _print(report, pinned, told)
    return 1 if report.findings else 0


def _file_in(path: Path) -> Path:
    """Return the log of a log's directory, or of the master's around it; else the path."""
    inside = (path / "log.sqlite", path / "log" / "log.sqlite")
    return next((each for each in inside if each.exists()), path)


def _given_key(text: str) -> bytes:
    """Return the Ed25519 key in base64, or in a C2SP verifier key (name+id+base64). Raises Bad."""
    name, plus, rest = text.partition("+")
    if plus and len(rest) > 9 and rest[8] == "+" and len(key := _unbase64(rest[9:])) == 33:
        if key[:1] != _ED25519 or _key_id(name, key[1:]).hex() != rest[:8].lower():
            raise Bad(f"--key {text}: its id is not that of an Ed25519 key of this name")
        return key[1:]
    if len(key := _unbase64(text)) != 32:
        raise Bad(f"--key {text}: not the 32 bytes of an Ed25519 key in base64")
    return key


def _find_mark(logfile: Path, given: Path | None) -> tuple[Mark | None, str]:
    path = given or logfile.with_name("ack-mark")
    if given is None and not path.exists():
        return None, "no ack mark here: records cut off behind the last one would not show"
    mark = read_mark(path)
    if mark is None:
        raise Unreadable(f"{path}: no part of the ack mark is whole; move it away to go without")
    return mark, f"record {mark.seq} was acknowledged"


def _print(report: Report, pinned: frozenset[bytes], told: str) -> None:
    by = "a key that was given" if pinned else "voters' keys that the log itself admits"
    print(f"cluster     {report.cluster_id}")
    print(f"records     {report.records} of {report.head}, to hash {report.head_hash.hex()}")
    print(f"signed      {report.checkpoints} sound checkpoints by {by};")
    print(f"            the last covers {report.covered} records")
    print(f"ack mark    {told}")
    for finding in report.findings:
        print(f"BAD         record {finding.seq}: {finding.what}")
    if report.findings:
        print(f"NOT SOUND   first bad seq {report.first_bad}")
    else:
        print("SOUND")


if __name__ == "__main__":
    sys.exit(main())
