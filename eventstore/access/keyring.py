"""Who may connect, and as what: a fold of the log's key events (pure).

    log.key-admitted  {name, role, curve_key, sign_key}   the key is known from here on
    log.key-revoked   {curve_key}                         it is not

An unknown key is refused by the ZAP handler before it can send a byte. A key that is revoked while
its connection is open is refused at its next request, because each request is looked up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from eventstore.errors import CorruptLog
from eventstore.events import ROLES, STREAM, KeyAdmitted, KeyRevoked
from eventstore.record import Record, Stored

_ADMITTED = msgspec.msgpack.Decoder(KeyAdmitted)
_REVOKED = msgspec.msgpack.Decoder(KeyRevoked)


@dataclass(frozen=True, slots=True)
class Identity:
    """The holder of an admitted key."""

    name: str  # becomes `actor` of what it does
    role: str  # one of eventstore.events.ROLES
    sign_key: str = ""  # base64 of its Ed25519 public key, if it signs


READERS = tuple(role for role in ROLES if role != "ticket")  # roles that may read the log
Keys = Mapping[str, Identity]  # by CURVE public key, Z85
NO_KEYS: Keys = MappingProxyType({})


def fold(keys: Keys, record: Record) -> Keys:
    """Return the keys that are admitted after `record`; every other record changes nothing.

    Admitting a known key again replaces its name and role; revoking an unknown one is harmless.
    Raises CorruptLog on a key event that cannot be read: guessing who may connect is no option.
    """
    if record.stream != STREAM:
        return keys
    try:
        if record.kind == KeyAdmitted.KIND:
            admitted = _ADMITTED.decode(record.data)
            if admitted.role not in ROLES:
                raise CorruptLog(f"unknown role {admitted.role!r}", seq=record.seq)
            identity = Identity(admitted.name, admitted.role, admitted.sign_key)
            return MappingProxyType({**keys, admitted.curve_key: identity})
        if record.kind == KeyRevoked.KIND:
            revoked = _REVOKED.decode(record.data).curve_key
            return MappingProxyType({key: who for key, who in keys.items() if key != revoked})
    except msgspec.MsgspecError as unreadable:
        raise CorruptLog(f"a key event is unreadable: {unreadable}", seq=record.seq) from None
    return keys


class Keyring:
    """The keys as of the last record that was folded, for all who check them on one reactor."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._keys = NO_KEYS
        self._on_revoked: list[Callable[[Keys], None]] = []
        for record in records:
            self._keys = fold(self._keys, record)

    @property
    def keys(self) -> Keys:
        """All that are admitted now."""
        return self._keys

    def get(self, curve_key: str) -> Identity | None:
        """Return who holds this key, None if it is not admitted (any more)."""
        return self._keys.get(curve_key)

    def on_revoked(self, callback: Callable[[Keys], None]) -> None:
        """Call with the keys that a batch took away, and whose they were, once they are gone."""
        self._on_revoked.append(callback)

    def apply(self, batch: Iterable[Stored]) -> None:
        """Fold a committed batch: the callback for `Replica.on_committed`."""
        before = self._keys
        for stored in batch:
            self._keys = fold(self._keys, stored.record)
        if self._keys is not before:
            gone = {key: who for key, who in before.items() if key not in self._keys}
            if gone:
                for callback in self._on_revoked:
                    callback(gone)
