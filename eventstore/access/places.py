"""Where voters are: a fold of the log's place events (pure).

    log.voter-placed  {name, inc, curve_key, endpoints}   this voter is here, known by this key
    log.key-revoked   {curve_key}                         whoever had this key is no voter any more

Voters fold this from what is *appended*, committed or not, as they do with the configuration: a
voter that was made one by a record which is not known to be committed here must be able to ask for
this voter's vote, or nobody could commit that record any more. What it opens is the port for votes
and appends alone; clients are admitted by what is committed (keyring.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventstore.codec import decode_event
from eventstore.errors import CorruptLog, DecodeError
from eventstore.events import STREAM, KeyRevoked, VoterPlaced
from eventstore.record import Record, Stored

KINDS = (VoterPlaced.KIND, KeyRevoked.KIND)


class Places:
    """The voters' places as of the last record that was taken up."""

    def __init__(self, seeds: Iterable[VoterPlaced] = ()) -> None:
        """`seeds` are known from elsewhere, until the log says more: a new voter's log is empty."""
        self._places = {place.name: place for place in seeds}

    @property
    def all(self) -> Mapping[str, VoterPlaced]:
        """Every known place, by the voter's name."""
        return self._places

    def get(self, name: str) -> VoterPlaced | None:
        """Return where a voter is, None if that is not known."""
        return self._places.get(name)

    def holder_of(self, curve_key: str) -> str | None:
        """Return the name of the voter that has this key, None if none has."""
        return next((p.name for p in self._places.values() if p.curve_key == curve_key), None)

    def apply(self, batch: Iterable[Stored]) -> None:
        """Take up records. Raises CorruptLog for a place that cannot be read."""
        for stored in batch:
            if stored.record.stream == STREAM and stored.record.kind in KINDS:
                self._take(stored.record)

    def _take(self, record: Record) -> None:
        try:
            if record.kind == VoterPlaced.KIND:
                place = decode_event(VoterPlaced, record.data)
                self._places[place.name] = place
            else:
                gone = decode_event(KeyRevoked, record.data).curve_key
                self._places = {n: p for n, p in self._places.items() if p.curve_key != gone}
        except DecodeError as error:
            raise CorruptLog(f"record {record.seq}: {error}", seq=record.seq) from error
