"""The kernel's table of sockets says who listens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nodeagent.storage.listeners import TABLES, is_listened_on


@pytest.mark.acceptance
def test_a_listener_is_seen_while_it_listens() -> None:
    """A real one; not one that has only bound its port, and not what is connected to it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert not is_listened_on(Path(TABLES[0]).read_text(), port)
        listener.listen()
        assert is_listened_on(Path(TABLES[0]).read_text(), port)
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert not is_listened_on(Path(TABLES[0]).read_text(), client.getsockname()[1])
    assert not is_listened_on("", port)
