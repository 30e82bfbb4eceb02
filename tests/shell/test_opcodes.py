"""Opcodes from what was typed: what cannot be one is answered with what could."""

from __future__ import annotations

import pytest

from commands.errors import Refused
from shell import opcodes
from shell.failure import BadUsage, Failure

CREATE = "OP_INSTANCE_CREATE"
SHUTDOWN = "OP_INSTANCE_SHUTDOWN"


@pytest.mark.parametrize(
    ("opcode", "values", "says"),
    [
        (SHUTDOWN, {"timeout": -3}, "--timeout: it must be at least 0"),
        (SHUTDOWN, {"timeout": "soon"}, "--timeout: it must be a whole number, not text"),
        (SHUTDOWN, {"force": "maybe"}, "force: it must be yes or no, not text"),
        (CREATE, {"disks": 3}, "disks: it must be a list, not a whole number"),
        (CREATE, {"beparams": [1]}, "beparams: it must be names with values, not a list"),
        (CREATE, {"tags": [{}]}, "tags: it must be text, not names with values"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_in_words(
    opcode: str, values: dict[str, object], says: str
) -> None:
    """By the option that gave it, where it was one."""
    given = {"instance_name": "web1", **values}
    with pytest.raises(BadUsage) as refused:
        opcodes.build(opcode, given, {"timeout": "--timeout"})
    assert refused.value.message == says


def test_a_field_that_there_is_not_is_answered_with_the_nearest() -> None:
    """As in a file of batch-create."""
    with pytest.raises(BadUsage, match="there is no field 'instnace_name'") as refused:
        opcodes.build(CREATE, {"instnace_name": "web1"}, {})
    assert refused.value.hint.startswith("did you mean instance_name")
    with pytest.raises(BadUsage) as refused:
        opcodes.build(SHUTDOWN, {"zzz": 1}, {})
    assert refused.value.hint.startswith("there are admin_state_source, force, ")


def test_an_option_that_this_opcode_does_not_have_is_named() -> None:
    """It is Ganeti's, so nobody has mistyped it."""
    with pytest.raises(Failure) as refused:
        opcodes.build(SHUTDOWN, {"x": 1}, {"x": "--extra"})
    assert refused.value.hint == "leave --extra out"


def test_what_cannot_be_honoured_is_refused_by_the_options_name() -> None:
    """Before anything is asked of the master."""
    values = {"instance_name": "web1", "osparams_private": {"a": "b"}}
    with pytest.raises(Refused) as refused:
        opcodes.build(CREATE, values, {"osparams_private": "--os-parameters-private"})
    assert refused.value.message.startswith("--os-parameters-private is not supported yet: ")
    assert refused.value.hint == "leave --os-parameters-private out"
