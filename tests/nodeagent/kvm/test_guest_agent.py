"""The agent inside a guest: asked in step, or not at all."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from nodeagent.hypervisor.kvm.guest_agent import ask_to_shut_down


class Channel:
    """A channel with an agent behind it, which first says what an earlier client left unread."""

    def __init__(self, path: Path, *, stale: bytes, answers: bool) -> None:
        self.asked: list[dict[str, object]] = []
        self._stale, self._answers = stale, answers
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Wait until the client has gone."""
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        client, _ = self._socket.accept()
        with client, client.makefile("rwb", buffering=0) as stream:
            stream.write(self._stale)
            while line := stream.readline():
                order = json.loads(line.lstrip(b"\xff"))
                self.asked.append(order)
                if self._answers and order["execute"] == "guest-sync-delimited":
                    number = order["arguments"]["id"]
                    stream.write(b"\xff" + json.dumps({"return": number}).encode() + b"\n")


@pytest.mark.parametrize("stale", [b"", b'{"return": {}}\n\xff{"return": 7}\n', b'{"ret'])
def test_an_agent_is_asked_once_it_is_in_step(tmp_path: Path, stale: bytes) -> None:
    """Whatever was left in the channel."""
    channel = Channel(tmp_path / "agent", stale=stale, answers=True)
    assert ask_to_shut_down(tmp_path / "agent")
    channel.close()
    assert channel.asked[-1] == {"execute": "guest-shutdown", "arguments": {"mode": "powerdown"}}


def test_a_guest_without_an_agent_is_not_waited_for(tmp_path: Path) -> None:
    """Its power button is pressed instead: nobody answers, or there is no channel."""
    channel = Channel(tmp_path / "agent", stale=b"", answers=False)
    assert not ask_to_shut_down(tmp_path / "agent")
    channel.close()
    assert [order["execute"] for order in channel.asked] == ["guest-sync-delimited"]
    assert not ask_to_shut_down(tmp_path / "none")
