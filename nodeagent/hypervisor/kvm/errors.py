"""What can go wrong between the driver and a QEMU (pure)."""

from __future__ import annotations

from nodeagent.errors import NodeAgentError


class MonitorFailed(NodeAgentError):
    """QEMU refused a command. `description` is QEMU's own sentence."""

    def __init__(self, command: str, description: str, *, hint: str = "") -> None:
        super().__init__(f"QEMU refused {command}: {description}", hint=hint)
        self.command = command
        self.description = description


class MonitorLost(NodeAgentError):
    """There is no connection to QEMU's monitor, or it was lost before an answer came."""
