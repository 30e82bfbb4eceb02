"""The agent of QEMU inside a guest (qemu-ga), where `use_guest_agent` gives it a channel (edge).

Its protocol is QMP's without greeting and events, over a serial channel: what an earlier client
asked and did not read may still come. Hence it is asked for a number first, and what comes before
that number is skipped. Source: QEMU Guest Agent Protocol Reference, guest-sync-delimited.

A guest without the agent never answers: nothing is waited for longer than a moment.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import socket
from pathlib import Path

_ANSWER_S = 1.0
_DELIMITER = b"\xff"
_numbers = itertools.count(os.getpid())
_log = logging.getLogger(__name__)


def ask_to_shut_down(channel: Path) -> bool:
    """Have the guest's agent shut its system down. Returns whether there is one that listens."""
    if not channel.exists():
        return False
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(_ANSWER_S)
            agent.connect(str(channel))
            if not _in_step(agent):
                return False
            # Answered by success with nothing, or not at all: its system goes down.
            agent.sendall(_order("guest-shutdown", mode="powerdown"))
    except OSError as silent:
        _log.info("no agent in the guest answers at %s: %s", channel, silent)
        return False
    return True


def _in_step(agent: socket.socket) -> bool:
    """Whether the agent answers what is asked now."""
    number = next(_numbers)
    agent.sendall(_DELIMITER + _order("guest-sync-delimited", id=number))
    heard = b""
    while piece := agent.recv(4096):
        heard += piece
        for line in heard.rpartition(_DELIMITER)[2].split(b"\n")[:-1]:
            if json.loads(line).get("return") == number:
                return True
    return False


def _order(command: str, **arguments: object) -> bytes:
    return json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
