"""The kernel says by which address a voter is reached."""

from __future__ import annotations

from nodeagent.own_address import own_address


def test_the_address_towards_a_voter_is_found_without_a_word_to_it() -> None:
    """Loopback is reached from loopback; nobody need listen there."""
    assert own_address(["tcp://127.0.0.1:9"]) == "127.0.0.1"


def test_an_endpoint_without_an_address_is_passed_over() -> None:
    """A voter that this node cannot name is no reason not to join."""
    assert own_address(["tcp://no.such.host.invalid:9", "tcp://127.0.0.1:9"]) == "127.0.0.1"
    assert own_address(["tcp://no.such.host.invalid:9"]) == ""
