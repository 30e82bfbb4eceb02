"""Signed checkpoints of the log, appended by its leader when they are due (pure but for the key).

A checkpoint covers what is indexed, which is committed and was read back from the disk. One is
under way at a time; if its record does not become committed, the next turn tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventstore.events import STREAM, CheckpointSigned
from eventstore.proofs.checkpoint import Checkpoint, sign
from eventstore.proofs.checkpoint_policy import CheckpointPolicy
from eventstore.record import Batch, Draft, Stored
from eventstore.replica import Committed, Outcome


class Checkpointer:
    """Appends checkpoints. `root` gives how many records are indexed and the Merkle root over them;
    `origin` the log's name; `propose` appends."""

    def __init__(
        self,
        *,
        voter: str,
        seed: bytes | None,
        committed: int,
        root: Callable[[], tuple[int, bytes]],
        origin: Callable[[], str],
        propose: Callable[[Batch, Callable[[Outcome], None]], None],
    ) -> None:
        """`seed` of the Ed25519 key that signs; without it there are no checkpoints."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed) if seed else None
        self._actor, self._root, self._origin, self._propose = (
            f"voter:{voter}",
            root,
            origin,
            propose,
        )
        self._policy = CheckpointPolicy(covered=committed, news=committed)
        self._signing = False  # one is appended and not yet committed

    def on_committed(self, records: Sequence[Stored]) -> None:
        """Note a committed batch: it may be news to cover."""
        self._policy.on_committed(records)

    def tick(self, now_s: float) -> None:
        """Append a checkpoint if one is due. Only while this voter leads; `now_s` is monotonic."""
        if self._key is None or self._signing:
            return
        size, root = self._root()
        if size <= self._policy.covered or not self._policy.due(now_s):
            return
        note = sign(Checkpoint(self._origin(), size, root), self._key)
        event = CheckpointSigned(size=size, note=note)
        draft = Draft(stream=STREAM, event=event, actor=self._actor)
        self._signing = True
        self._propose(Batch(drafts=(draft,)), lambda outcome: self._signed(size, outcome))

    def _signed(self, size: int, outcome: Outcome) -> None:
        self._signing = False
        if isinstance(outcome, Committed):
            self._policy.made(size)
