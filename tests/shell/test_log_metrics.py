"""The numbers of voters as Prometheus reads them."""

from __future__ import annotations

from commands.api import Family, Sample
from shell.log_metrics import exposition

TERM = Family(name="cairn_voter_term", help="Rises", samples=(Sample(value=3),))


def test_each_family_stands_once_with_every_voter() -> None:
    """Its help and type before its samples, each with the voter's name; who is silent is down."""
    told = exposition({"node1": (TERM,), "node2": (TERM,), "node3": None})
    assert told.splitlines() == [
        "# HELP cairn_voter_up 1 if it answered",
        "# TYPE cairn_voter_up gauge",
        'cairn_voter_up{voter="node1"} 1',
        'cairn_voter_up{voter="node2"} 1',
        'cairn_voter_up{voter="node3"} 0',
        "# HELP cairn_voter_term Rises",
        "# TYPE cairn_voter_term gauge",
        'cairn_voter_term{voter="node1"} 3',
        'cairn_voter_term{voter="node2"} 3',
    ]


def test_labels_are_quoted() -> None:
    """Quotes, backslashes and ends of lines cannot break a line."""
    odd = Family(name="x", help="y", samples=(Sample(value=1, labels={"peer": 'a"\\\n'}),))
    assert 'peer="a\\"\\\\\\n"} 1\n' in exposition({"v": (odd,)})
