"""The page about the wire protocol names every kind of request, and who may make it."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import pytest

from commands import api
from commands.master.agents import AgentDesk
from commands.master.jobs_desk import JobsDesk
from commands.master.reads_desk import ReadsDesk
from commands.master.voters_desk import VotersDesk
from eventstore.serving.log_service import LogService
from eventstore.serving.server import RequestServer
from nodeagent import calls

PAGE = Path(__file__).parents[3] / "docs" / "wire-protocol.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| ([a-z, ]+) \| (.+) \| (.+) \|$", re.MULTILINE)
KINDS = PAGE.read_text().split("## 5. Kinds of requests")[1]


class Asked:
    """Keeps what a desk says that it serves."""

    waiting = False

    def __init__(self) -> None:
        self.kinds: dict[str, set[str]] = {}

    def register(self, kind: str, roles: Collection[str], _handler: object) -> None:
        self.kinds[kind] = set(roles)


def test_every_kind_stands_there_with_its_roles() -> None:
    """No more and no fewer than the desks of a master daemon serve."""
    asked = Asked()
    desks: tuple[type[Any], ...] = (LogService, VotersDesk, ReadsDesk, JobsDesk, AgentDesk)
    for desk in desks:  # what a desk serves needs nothing that it is made with
        desk.__new__(desk).register(cast(RequestServer, asked))
    assert {kind: set(roles.split(", ")) for kind, roles, *_ in ROW.findall(KINDS)} == asked.kinds


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z]\w*[a-z]\w*)`", KINDS))))
def test_the_bodies_are_there(name: str) -> None:
    """Each named body is a struct of the clients' or of the agents' contract."""
    assert hasattr(api, name) or hasattr(calls, name)
