"""Orders to a simulated node, by its control socket, as the lab gives them."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import msgspec


class LabControl:
    """Speaks to `<directory>/control.sock`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Give one order and return the answer. Raises AssertionError if it was refused."""
        answer = self.send(msgspec.json.encode({"do": do, **arguments}))
        assert answer["ok"], answer
        return answer

    def send(self, line: bytes) -> dict[str, Any]:
        """Send one line and return the answer, whatever it is."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            handle = os.open(self._directory, os.O_RDONLY)
            try:
                connection.connect(f"/proc/self/fd/{handle}/control.sock")
            finally:
                os.close(handle)
            connection.sendall(line + b"\n")
            with connection.makefile("rb") as file:
                answer: dict[str, Any] = msgspec.json.decode(file.readline())
        return answer
