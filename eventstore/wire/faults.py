"""Errors across the wire: the client raises the class that the server raised (pure).

A code that the client does not know (`wrong_input` of a later room, or of a later version) becomes
a RemoteError that bears it; message, hint and data always survive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from eventstore import errors
from eventstore.errors import EventStoreError
from eventstore.wire import frames
from eventstore.wire.messages import Fault


class RemoteError(EventStoreError):
    """The server refused or failed with `code`; `data` holds what the code's owner put there.

    A handler raises it too, to answer with a code of its own.
    """

    def __init__(
        self, code: str, message: str, *, hint: str = "", data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.data = dict(data or {})


_CODES: dict[str, type[EventStoreError]] = {
    "clash": errors.Clash,
    "corrupt-log": errors.CorruptLog,
    "log-in-use": errors.LogInUse,
    "not-our-log": errors.NotOurLog,
    "disk-full": errors.DiskFull,
    "storage-failed": errors.StorageFailed,
    "decode-error": errors.DecodeError,
    "too-large": errors.TooLarge,
    "access-denied": errors.AccessDenied,
    "unreachable": errors.Unreachable,
    "not-leader": errors.NotLeader,
}
_CODE_OF = {kind: code for code, kind in _CODES.items()}


def to_fault(error: EventStoreError) -> Fault:
    """Return what travels for `error`."""
    code, data = _CODE_OF.get(type(error), "failed"), {}
    match error:
        case RemoteError():
            code, data = error.code, error.data
        case errors.Clash():
            data = {"stream": error.stream, "expected": error.expected, "actual": error.actual}
        case errors.NotLeader():
            data = {"leader": error.leader}
    if error.seq is not None:
        data = {**data, "seq": error.seq}
    packed = {name: msgspec.Raw(frames.encode(value)) for name, value in data.items()}
    return Fault(code, str(error), error.hint, packed)


def to_error(fault: Fault) -> EventStoreError:
    """Return the error to raise for `fault`. Raises DecodeError if its data are malformed."""
    data = {name: frames.decode(raw, object) for name, raw in fault.data.items()}
    error = _REBUILD.get(fault.code, _plain)(fault, data)
    error.hint = fault.hint
    return error


def _plain(fault: Fault, data: dict[str, Any]) -> EventStoreError:
    kind = _CODES.get(fault.code)
    if kind is None:
        return RemoteError(fault.code, fault.message, data=data)
    seq = data.get("seq")
    return kind(fault.message, seq=seq if isinstance(seq, int) else None)


def _clash(fault: Fault, data: dict[str, Any]) -> EventStoreError:
    match data:
        case {"stream": str(stream), "expected": int(expected), "actual": int(actual)}:
            return errors.Clash(stream, expected=expected, actual=actual)
    return RemoteError(fault.code, fault.message, data=data)


def _not_leader(fault: Fault, data: dict[str, Any]) -> EventStoreError:
    return errors.NotLeader(fault.message, leader=str(data.get("leader", "")))


_REBUILD: dict[str, Callable[[Fault, dict[str, Any]], EventStoreError]] = {
    "clash": _clash,
    "not-leader": _not_leader,
}
