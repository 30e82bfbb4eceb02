from __future__ import annotations

import pytest

from eventstore.errors import DiskFull
from eventstore.faults import Fault, parse


def test_a_fault_is_named_by_what_when_and_seq() -> None:
    """The variable's grammar is what the module says."""
    assert parse("kill:before:12") == Fault("kill", "before", 12)
    assert parse("") is None


@pytest.mark.parametrize("value", ["kill", "kill:now:1", "full:before:1", "kill:after:x", "::"])
def test_a_fault_that_is_not_known_is_refused(value: str) -> None:
    """A typing error in a test does not silently test nothing."""
    with pytest.raises(ValueError, match="expected one of"):
        parse(value)


def test_the_disk_is_full_from_the_next_transaction_on() -> None:
    """full:after:SEQ lets the record SEQ in, and nothing after it."""
    fault = Fault("full", "after", 5)
    fault.before_commit(4, 5)
    with pytest.raises(DiskFull):
        fault.before_commit(6, 6)
