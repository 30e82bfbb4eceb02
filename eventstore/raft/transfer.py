"""Handing over (R8, R14, pure). Ongaro's thesis, section 3.10.

The leader takes no more proposals (they are refused, so nobody is left in doubt), brings one peer
level with its own log, and tells it to stand for election at once. What is appended goes on being
committed meanwhile, here or under the next leader. If the peer has not taken over within the least
election timeout, the leader goes on as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from eventstore.raft.membership import Config
from eventstore.raft.progress import Pace, Progress
from eventstore.raft.state import DiskState


@dataclass(slots=True)
class Transfer:
    """A hand-over that is under way."""

    target: str
    until_ms: int
    told: bool = False  # TimeoutNow was sent


def best_target(peers: Iterable[Progress], config: Config, *, heard_since_ms: int) -> str | None:
    """Return the voter that should lead next: it answers, its disk does well, its log is far.

    None if there is none that may.
    """
    able = [
        peer
        for peer in peers
        if config.electable(peer.name)
        and peer.heard_ms >= heard_since_ms
        and peer.disk is DiskState.OK
        and peer.pace is not Pace.SEGMENT
    ]
    best = max(able, key=lambda peer: (peer.match, -peer.fsync_ms, peer.name), default=None)
    return best.name if best else None
