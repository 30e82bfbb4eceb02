"""Calls about the node itself (pure)."""

from __future__ import annotations

from typing import ClassVar

from nodeagent.calls.call import Call, Value


class Probe(Call, frozen=True, kw_only=True):
    """Nothing changes. Returns `NodeCheck`: the status seen now, and what the drivers lack.

    `inventory`: also what the node holds, and its OS definitions. `buckets`: list these in full.
    `links` and `addresses`: say which of these the node does not have. `directories`: by kind of
    volume, say in which its agent would make none. `programs`: say which cannot be run.
    """

    NAME: ClassVar[str] = "probe"

    inventory: bool = False
    buckets: tuple[int, ...] = ()
    links: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    directories: dict[str, str] = {}
    programs: tuple[str, ...] = ()


class RunAllocator(Call, frozen=True, kw_only=True):
    """An instance allocator of this node was asked and has answered. Returns `AllocatorAnswer`.

    Source: Ganeti's allocator protocol, version 2. The program gets the request as a file and may
    be asked twice: it must decide, not act.
    """

    NAME: ClassVar[str] = "run-allocator"

    allocator: str  # the name of a program on the agent's `allocator_path`
    request: bytes  # JSON, compressed with zlib
    options: tuple[str, ...] = ()  # further arguments, each with its dashes
    time_s: float = 300.0  # how long it may think


class LeaveCluster(Call, frozen=True, kw_only=True):
    """The node forgets the cluster: its agent keeps its key, drops its journal and waits."""

    NAME: ClassVar[str] = "leave-cluster"


class EnsureVoter(Call, frozen=True, kw_only=True):
    """A master daemon of this cluster runs on this node, with a storage and keys of its own.

    Returns `VoterMade`. One that is there already is kept, with its storage; it is started if it
    does not run. Where the other voters are the agent knows itself.
    """

    NAME: ClassVar[str] = "ensure-voter"

    cluster_id: str
    name: str  # of the voter: that of its node
    address: str  # where it listens and is reached, unless the node is set up otherwise
    settings: dict[str, Value] = {}  # of the daemon; those that it does not know are refused by it


class RemoveVoter(Call, frozen=True, kw_only=True):
    """No master daemon of this cluster is on this node, and none of its files."""

    NAME: ClassVar[str] = "remove-voter"

    cluster_id: str
