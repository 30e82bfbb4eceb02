"""What a decision may not find in the log: the time, chance, what was seen of the nodes (pure).

It is drawn once, by the leader, before the decision, and recorded with the plan. One seed is drawn;
every value is derived from it and a label, so a replay draws nothing, and two labels never collide.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Container, Mapping

import msgspec

from nodeagent.calls import NodeStatus


class Given(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The given values of one decision."""

    now_ms: int  # since 1970 UTC
    seed: bytes  # 16 bytes
    # of the nodes that the handler asked for (`Handler.looks_at`) and that were heard
    seen: Mapping[str, NodeStatus] = {}

    def uuid(self, label: str) -> str:
        """Return a version 4 uuid (RFC 9562) for `label`."""
        return str(uuid.UUID(bytes=self._draw(label)[:16], version=4))

    def mac(self, label: str, prefix: str, taken: Container[str]) -> str:
        """Return a MAC address under `prefix` ("aa:00:00") that is not in `taken`."""
        for attempt in range(1 << 16):
            tail = self._draw(f"{label}/{attempt}")[:3]
            mac = f"{prefix}:{tail[0]:02x}:{tail[1]:02x}:{tail[2]:02x}"
            if mac not in taken:
                return mac
        raise AssertionError(f"no MAC address is left under {prefix}")

    def _draw(self, label: str) -> bytes:
        return hashlib.sha256(self.seed + label.encode()).digest()
