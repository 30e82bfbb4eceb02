"""What can go wrong with the log. Each class is caught by somebody and carries data."""

from __future__ import annotations


class EventStoreError(Exception):
    """Base of all errors of this package. `hint` says what the reader can do about it."""

    def __init__(self, message: str, *, hint: str = "", seq: int | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.seq = seq


class Clash(EventStoreError):
    """A stream is not at the version that the proposer expected; nothing was appended."""

    def __init__(self, stream: str, *, expected: int, actual: int) -> None:
        super().__init__(f"{stream}: expected version {expected}, it is at {actual}")
        self.stream = stream
        self.expected = expected
        self.actual = actual


class CorruptLog(EventStoreError):
    """The log contradicts its own hashes, or lacks what the ack mark says was acknowledged."""


class LogInUse(EventStoreError):
    """Another process has this log open for writing."""


class NotOurLog(EventStoreError):
    """The file is no Cairn log, or belongs to another cluster or a newer format."""


class DiskFull(EventStoreError):
    """No room for the append; nothing of it was acknowledged, reading goes on."""


class StorageFailed(EventStoreError):
    """The disk returned an error. After a failed sync nothing more may be written (fsyncgate)."""


class DecodeError(EventStoreError):
    """Bytes from outside are not what the format allows. The only error that decoding raises."""


class TooLarge(EventStoreError):
    """A frame or batch exceeds the limit that is named in the message."""


class AccessDenied(EventStoreError):
    """This key's role may not make this kind of request."""


class Unreachable(EventStoreError):
    """No voter answered in time. For a proposal the outcome is unknown: retry with the same key."""


class NotLeader(EventStoreError):
    """This voter does not lead; `leader` is where to go, if known."""

    def __init__(self, message: str, *, leader: str = "") -> None:
        super().__init__(message, hint=f"the leader is {leader}" if leader else "")
        self.leader = leader
