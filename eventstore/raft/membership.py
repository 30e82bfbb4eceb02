"""Who votes, and how that changes (R10, pure). Ongaro's thesis, section 4.1.

The configuration is in the log and acts as soon as it is appended, committed or not; if it is
truncated, the one before acts again. One voter is added or removed at a time, so that a majority of
the old and one of the new always share a voter. That alone is not enough:

- A change is accepted only once a record of the leader's own term is committed. Otherwise two
  leaders, each with a change that the other never saw, can have majorities that do not meet
  (Ongaro's correction of 2015 to the thesis).
- Not while another change is uncommitted, for then the two differ by more than one voter.
- A new voter was a learner before, and is nearly level, or it would hold up every commit.

A removed leader leads on until the change is committed, not counting itself, and then steps down.
Until then it may also stand for election: it can be the only one whose log is long enough to win
(thesis, 4.2.2). For the same reason a voter believes a candidate that it does not know, if that
one's log is strictly ahead of its own: the record that makes it a voter may stand there.

Learners follow and count nowhere, so any number of them may come and go with one change. A voter is
a name *and* a storage: the same name with a new disk is removed, then a learner, then a voter.

A witness is a voter that is not electable. It may win an election all the same, when its log is the
longest, but only in order to copy that log to an electable voter and hand over (`leading.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eventstore.codec import decode_event
from eventstore.errors import CorruptLog, DecodeError
from eventstore.events import STREAM, EpochStarted, TakeoverForced, VotersChanged
from eventstore.raft.entry import Entry
from eventstore.raft.messages import INC_BYTES
from eventstore.raft.state import Identity
from eventstore.record import Record
from eventstore.replica import Refused


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration. `seq` is the record that made it, 0 if there is none yet."""

    seq: int
    voters: Mapping[str, bytes]  # name to the id of its storage
    learners: Mapping[str, bytes]
    witnesses: frozenset[str]

    def storage_of(self, name: str) -> bytes | None:
        """Return the id of the storage that this member has, None if it is no member."""
        return self.voters.get(name) or self.learners.get(name)

    def alone(self, name: str) -> bool:
        """Say whether this voter is the only member."""
        return {*self.voters, *self.learners} == {name}

    def votes(self, who: Identity) -> bool:
        """Say whether this very storage is a voter's."""
        return self.voters.get(who.name) == who.inc

    def stands_back(self, name: str) -> bool:
        """Say whether this one, if it leads, only hands over."""
        return name in self.witnesses

    def electable(self, name: str) -> bool:
        """Say whether this voter may lead for longer than to hand over."""
        return name in self.voters and name not in self.witnesses


NO_CONFIG = Config(0, {}, {}, frozenset())


class Members:
    """The configurations of a log, of which the last appended acts."""

    def __init__(self, configs: list[Config]) -> None:
        """`configs` in order of seq, as far back as the log may be truncated, and one further."""
        self._configs = [NO_CONFIG, *configs]

    @property
    def config(self) -> Config:
        """The one that acts."""
        return self._configs[-1]

    @property
    def all(self) -> Sequence[Config]:
        """Every one that is known, in order."""
        return self._configs

    @property
    def previous(self) -> Config:
        """The one before: it acts again if the last is truncated."""
        return self._configs[-2] if len(self._configs) > 1 else NO_CONFIG

    def on_append(self, entry: Entry) -> bool:
        """Note the configuration in an entry; say whether there is one."""
        found = config_in(entry)
        if found:
            self._configs.append(found)
        return found is not None

    def on_truncate(self, first: int) -> bool:
        """Forget what stood from record `first` on; say whether another configuration acts."""
        before = self.config
        while self._configs[-1].seq >= first:
            self._configs.pop()
        return self.config is not before

    def on_install(self, configs: list[Config]) -> None:
        """Note what stood in a segment."""
        self._configs += [config for config in configs if config.seq > self.config.seq]


def config_in(entry: Entry) -> Config | None:
    """Return the last configuration that the records of a batch make, if any."""
    found = None
    for stored in entry.records if entry.own else ():
        if stored.record.stream == STREAM:
            found = config_of(stored.record) or found
    return found


def config_of(record: Record) -> Config | None:
    """Return the configuration that a record makes, None if it makes none.

    The first batch of a log makes one of the voter that created it. Raises CorruptLog if it is not
    sound: only a leader appends it, after `flaw_of_change`.
    """
    try:
        match record.kind:
            case VotersChanged.KIND:
                event = decode_event(VotersChanged, record.data)
                voters, learners = _storages(event.voters), _storages(event.learners)
                return Config(record.seq, voters, learners, frozenset(event.witnesses))
            case TakeoverForced.KIND:
                taken = decode_event(TakeoverForced, record.data)
                return Config(record.seq, _storages({taken.voter: taken.inc}), {}, frozenset())
            case EpochStarted.KIND if record.seq - record.index == 1:
                begun = decode_event(EpochStarted, record.data)
                return Config(record.seq, _storages({begun.voter: begun.inc}), {}, frozenset())
    except (DecodeError, ValueError) as error:
        raise CorruptLog(f"record {record.seq}: {error}", seq=record.seq) from error
    return None


def _storages(names: Mapping[str, str]) -> dict[str, bytes]:
    storages = {name: bytes.fromhex(inc) for name, inc in names.items()}
    if any(len(inc) != INC_BYTES for inc in storages.values()):
        raise ValueError("the id of a storage has 16 bytes")
    return storages


def event_of(config: Config) -> VotersChanged:
    """Return the event that makes this configuration."""
    return VotersChanged(
        voters={name: inc.hex() for name, inc in sorted(config.voters.items())},
        learners={name: inc.hex() for name, inc in sorted(config.learners.items())},
        witnesses=tuple(sorted(config.witnesses)),
    )


def flaw_of_change(
    old: Config,
    new: Config,
    *,
    committed: int,
    epoch_committed: bool,
    level: Callable[[str], bool],
) -> Refused | None:
    """Say why a leader must not append `new` now, None if it may.

    `epoch_committed`: the no-op of this term is committed. `level`: this learner is so near, and
    answers so promptly, that it would not hold up commits.
    """
    if not epoch_committed:
        return _refused("the leader is not ready yet", "ask again in a second")
    if old.seq > committed:
        return _refused("another change of voters is not committed yet", "ask again in a second")
    if flaw := _flaw_of_set(new):
        return _refused(*flaw)
    return _flaw_of_step(old, new, level)


def _flaw_of_set(new: Config) -> tuple[str, str] | None:
    """Say what is wrong with a configuration in itself, and what would be right."""
    if both := new.voters.keys() & new.learners.keys():
        return f"{', '.join(sorted(both))}: voter and learner at once", "name it once"
    if strangers := new.witnesses - new.voters.keys():
        return f"{', '.join(sorted(strangers))}: a witness is a voter", "make it a voter"
    if not new.voters.keys() - new.witnesses:
        return "nobody would be left that may lead", "keep a voter that is no witness"
    return None


def _flaw_of_step(old: Config, new: Config, level: Callable[[str], bool]) -> Refused | None:
    was, will = set(old.voters.items()), set(new.voters.items())
    if len(was ^ will) > 1:
        return _refused("more than one voter would change", "change one at a time")
    for name, inc in will - was:
        if old.learners.get(name) != inc:
            return _refused(f"{name} does not follow the log yet", "make it a learner first")
        if not level(name):
            return _refused(f"{name} is too far behind to vote", "ask again when it has caught up")
    return None


def _refused(message: str, hint: str) -> Refused:
    return Refused("wrong-state", message, hint=hint)
