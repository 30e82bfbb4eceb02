from __future__ import annotations

from pathlib import Path

from tests.shell.stand_in import Master, run


def test_a_planned_failover_says_who_leads_then() -> None:
    """The order names the voter that was asked for, or leaves the choice to the leader."""
    assert run("gnt-cluster master-failover node3", Master()).out == "node3 leads now\n"
    assert run("gnt-cluster master-failover", Master()).out == "node2 leads now\n"


def test_a_ping_says_who_leads_as_of_when() -> None:
    """It succeeds only where a majority confirmed it."""
    ran = run("gnt-cluster master-ping", Master())
    assert (ran.status, ran.out) == (
        0,
        "node1 leads, confirmed by a majority as of record 7\n",
    )


def test_a_takeover_needs_a_voter_on_this_machine(tmp_path: Path) -> None:
    """Without a voter's directory nothing is done, and it is said what is missing."""
    ran = run("gnt-cluster master-failover --no-voting --reason x", Master())
    assert (ran.status, "--dir" in ran.err) == (2, True)
    ran = run(f"gnt-cluster master-failover --no-voting --dir {tmp_path} --reason x", Master())
    assert ran.status == 1
    assert "there is no log" in ran.err
