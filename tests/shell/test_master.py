from __future__ import annotations

from pathlib import Path

from eventstore.errors import Unreachable
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


def test_scripts_of_old_may_fail_over() -> None:
    """Ganeti's other name and its option that says whom to count are taken."""
    typed = "gnt-cluster masterfailover --ignore-offline-nodes=true"
    assert run(typed, Master()).out == "node2 leads now\n"


def test_a_failover_that_nobody_confirms_says_who_leads() -> None:
    """The leader is asked once more: it is the one that was wanted, another, or nobody."""
    silence = Unreachable("no answer to hand-over in time")
    assert run("gnt-cluster master-failover node1", Master(faults=[silence])).out == (
        "node1 leads now\n"
    )
    stayed = run("gnt-cluster master-failover node3", Master(faults=[silence]))
    assert (stayed.status, stayed.out) == (1, "")
    assert stayed.err.startswith("node3 did not take over in time; node1 leads.\nhint: ")
    nobody = run("gnt-cluster master-failover node3", Master(faults=[silence, silence]))
    assert nobody.status == 11
    assert nobody.err.startswith("No master answers: no answer to hand-over in time\nhint: ")


def test_the_master_is_the_one_that_a_majority_confirms() -> None:
    """Not the one that the last record names: its successor may lead, or nobody."""
    assert run("gnt-cluster getmaster", Master()).out == "node1\n"
    told = run("gnt-cluster getmaster --format json", Master())
    assert '"master_node": "node1"' in told.out
    nobody = run("gnt-cluster getmaster", Master(faults=[Unreachable("no answer")]))
    assert (nobody.status, nobody.out) == (11, "")
    assert nobody.err.startswith("No master answers: no answer\nhint: gnt-log status")


def test_the_master_of_an_earlier_moment_is_read_from_the_log() -> None:
    """With --at nobody need lead now."""
    master = Master(faults=[Unreachable("no answer")])
    assert run("gnt-cluster getmaster --at 7", master).status == 0
    assert master.queries[0].fields == ("master_node",)


def test_a_takeover_needs_a_voter_on_this_machine(tmp_path: Path) -> None:
    """Without a voter's directory nothing is done, and it is said what is missing."""
    ran = run("gnt-cluster master-failover --no-voting --reason x", Master())
    assert (ran.status, "--dir" in ran.err) == (2, True)
    ran = run(f"gnt-cluster master-failover --no-voting --dir {tmp_path} --reason x", Master())
    assert ran.status == 1
    assert "there is no log" in ran.err
