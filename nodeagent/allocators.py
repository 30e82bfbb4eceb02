"""Instance allocators: programs that decide which nodes an instance gets (edge).

Source: Ganeti's allocator protocol, version 2, and iallocator scripts as they are: called with the
name of a file that holds the request, and options; the answer is one JSON object on standard
output, with `success` and `info`; an exit status other than 0 is a failure. A program has the time
that the call gives it; then it is ended with all its children. It sees the whole cluster, so the
file is its owner's alone, and gone when it has ended.
"""

from __future__ import annotations

import os
import re
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from nodeagent.calls import AllocatorAnswer, RunAllocator
from nodeagent.errors import BadCall, CommandFailed, Missing
from nodeagent.runner import Runner
from nodeagent.task_scope import TaskScope

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
LARGEST_REQUEST = 64 << 20  # bytes; 10,000 instances take some 5 MB


class Answer(msgspec.Struct, frozen=True):
    """What every answer must have; the leader knows what was asked and checks the rest."""

    success: bool
    info: str


_ANSWER = msgspec.json.Decoder(Answer)  # made at the start: docs/decisions/0206


class Allocators:
    """The allocators of this node: executable files in some directories, first found wins."""

    def __init__(self, search_path: Sequence[Path], run: Runner) -> None:
        self._search_path = tuple(search_path)
        self._run = run

    def ask(self, call: RunAllocator, scope: TaskScope) -> AllocatorAnswer:
        """Run one and return its answer. May be repeated.

        Raises BadCall for a name that cannot be one, Missing if there is none of that name,
        CommandFailed if it fails, is late or answers what is no answer.
        """
        program = self._find(call.allocator)
        with tempfile.NamedTemporaryFile(prefix="allocator-", suffix=".json") as file:
            file.write(_request(call))
            file.flush()
            argv = [str(program), file.name, *call.options]
            text = self._run(argv, scope=scope, timeout_s=call.time_s)
        try:
            _ANSWER.decode(text)
        except msgspec.MsgspecError as wrong:
            raise CommandFailed(
                argv, exit_status=0, output=text,
                hint=f"its answer is not one: {wrong}; it must print an object with success, info "
                "and result",
            ) from None  # fmt: skip
        return AllocatorAnswer(answer=zlib.compress(text.encode()))

    def names(self) -> tuple[str, ...]:
        """Return the names of the allocators there are, sorted; none of what cannot be read."""
        found = set()
        for directory in self._search_path:
            with suppress(OSError):
                found |= {each.name for each in directory.iterdir() if _is_program(each)}
        return tuple(sorted(found))

    def _find(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BadCall(f"{name!r} cannot be the name of an allocator", hint="a plain file name")
        for directory in self._search_path:
            if _is_program(directory / name):
                return directory / name
        known = ", ".join(self.names())
        places = ", ".join(map(str, self._search_path)) or "nowhere"
        raise Missing(
            f"there is no allocator {name}",
            hint=f"there are: hail (built in){', ' if known else ''}{known}; looked in {places}",
        )


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _request(call: RunAllocator) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        request = unpacking.decompress(call.request, LARGEST_REQUEST)
    except zlib.error as wrong:
        raise BadCall(f"the request cannot be unpacked: {wrong}") from None
    if unpacking.unconsumed_tail:
        raise BadCall(f"the request has more than {LARGEST_REQUEST} bytes")
    return request
