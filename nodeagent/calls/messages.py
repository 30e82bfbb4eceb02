"""What agent and leader say to each other: the bodies of their requests (pure)."""

from __future__ import annotations

import msgspec

from nodeagent.calls.results import Failure
from nodeagent.calls.status import Observation


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the bodies below: MessagePack maps; unknown fields are ignored."""


class Join(Message, frozen=True):
    """An invited agent shows the key that it will use. It connects with its ticket's key."""

    name: str
    curve_key: str
    address: str = ""  # by which it reaches the voters


class Voter(Message, frozen=True):
    """Where a voter is reached, and by which key it is known."""

    name: str
    requests: str  # endpoint
    publications: str  # endpoint
    curve_key: str  # Z85
    replication: str = ""  # endpoint, for other voters


class Ticket(Message, frozen=True):
    """What lets an unjoined agent in, once; carried to the node as a file, in JSON."""

    cluster_id: str
    node: str  # uuid
    name: str
    secret_key: str  # CURVE secret key, Z85; its public half is admitted for `join` only
    public_key: str
    voters: tuple[Voter, ...]


class Joined(Message, frozen=True):
    """It is in."""

    node: str  # uuid
    cluster_id: str
    voters: tuple[Voter, ...]


class Promised(Message, frozen=True):
    """The agent refuses from here on what comes from an epoch below (gen, term)."""

    node: str
    gen: int
    term: int
    unfinished: tuple[str, ...] = ()  # task ids accepted and not ended
    finished: tuple[str, ...] = ()  # ended, and not yet seen committed


class PromiseReply(Message, frozen=True):
    """The leader has heard it, and at which version the node's stream stands."""

    version: int
    voters: tuple[Voter, ...] = ()


class StatusReply(Message, frozen=True):
    """The status was heard. Only the leader says the rest: where the voters are now, and which
    volume group the cluster keeps its disks in (empty: none; None: not said)."""

    voters: tuple[Voter, ...] = ()
    volume_group: str | None = None


class TaskResult(Message, frozen=True):
    """What came of a task: it failed, was withdrawn before it ran, still runs (the answer to a
    withdrawal that comes too late to stop it; the end follows), or else is done, with a result.
    May be repeated."""

    task: str
    done: msgspec.Raw = msgspec.Raw(b"\xc0")  # not `| None`: msgspec would only take nil
    failed: Failure | None = None
    withdrawn: bool = False
    running: bool = False
    duration_ms: int = 0


class Feedback(Message, frozen=True):
    """A line for the person who waits for a task; at most one a second, 4 KiB."""

    task: str
    text: str
    percent: float | None = None
    eta_s: float | None = None


class Observed(Message, frozen=True):
    """Changes that a node saw. May be repeated: serials tell."""

    observations: tuple[Observation, ...]
