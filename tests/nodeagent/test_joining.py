"""How an agent becomes a member when things do not come in their order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from eventstore.access.keys import new_curve_keys
from eventstore.events import STREAM, KeyAdmitted
from nodeagent import calls
from tests.nodeagent.fake_leader import AgentProcess, FakeLeader

pytestmark = pytest.mark.acceptance


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[FakeLeader]:
    found = FakeLeader(tmp_path)
    yield found
    found.close()


def test_a_ticket_that_comes_before_its_invitation_is_tried_again(leader: FakeLeader) -> None:
    """Refused at first, since the log does not have its key yet, the agent joins once it has."""
    agent = AgentProcess(leader.directory, "node1", "uuid-node1", {})
    leader.agents["node1"] = agent
    keys = new_curve_keys()
    ticket = calls.Ticket(
        cluster_id=leader.replica.cluster_id, node=agent.uuid, name=agent.name,
        secret_key=keys.secret, public_key=keys.public, voters=(leader.address(),),
    )  # fmt: skip
    agent.directory.mkdir(parents=True)
    (agent.directory / "ticket.json").write_bytes(msgspec.json.encode(ticket))
    agent.start()
    log = agent.directory / "agent.log"
    leader.until(lambda: log.exists() and "not admitted yet" in log.read_text())
    assert not leader.promises
    admitted = KeyAdmitted(name=f"node:{agent.uuid}", role="ticket", curve_key=keys.public)
    leader.replica.append_event(STREAM, admitted)
    leader.until_promised(agent)
    assert not (agent.directory / "ticket.json").exists()
