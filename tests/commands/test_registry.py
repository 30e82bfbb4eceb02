"""The table of handlers is whole, and wrong input gets a hint."""

from __future__ import annotations

import importlib
from pathlib import Path

import msgspec
import pytest

import commands
from commands.debug_ops.delay import TestDelay
from commands.errors import ACCESS_DENIED, WRONG_INPUT, Refused
from commands.opcode import pack
from commands.registry import MODULES, Registry
from eventstore.packed import Packed

ROOT = Path(commands.__file__).parent


def packed(name: str, body: object, version: int = 1) -> Packed:
    return Packed(name, version, msgspec.Raw(msgspec.msgpack.encode(body)))


def test_every_handler_in_the_tree_is_in_the_table() -> None:
    """A module of commands/*_ops that has a HANDLER is in the table, under its opcode's name."""
    found = {}
    for path in sorted(ROOT.glob("*_ops/*.py")):
        module = importlib.import_module(f"commands.{path.parent.name}.{path.stem}")
        handler = vars(module).get("HANDLER")
        if handler is not None:
            found[handler.opcode.NAME] = module.__name__
    assert dict(MODULES) == found


def test_every_opcode_has_a_handler_of_its_own_name() -> None:
    """What the table gives for a name is a handler of that opcode, the newest first."""
    registry = Registry()
    for name in registry.names():
        handler = registry.handler(name)
        assert name == handler.opcode.NAME
        assert registry.handler(name, handler.version) is handler


def test_an_opcode_comes_back_as_it_was() -> None:
    """Decode after pack is identity."""
    op = TestDelay(duration=1.5)
    assert Registry().decode(pack(op)) == op


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        (packed("OP_TEST_DELAI", {}), "no opcode OP_TEST_DELAI", "OP_TEST_DELAY"),
        (packed("OP_TEST_DELAY", {}, version=9), "version 9", "known versions: 1"),
        (packed("OP_TEST_DELAY", {"duration": -1}), "$.duration", "duration (float)"),
        (packed("OP_TEST_DELAY", {"duration": 1, "x": 2}), "unknown field", "duration (float)"),
        (packed("OP_TEST_DELAY", {}), "missing required field", "duration (float)"),
        (packed("OP_TEST_DELAY", [1]), "Expected", "duration (float)"),
        (Packed("OP_TEST_DELAY", 1, msgspec.Raw(b"\xc1")), "OP_TEST_DELAY", "duration (float)"),
    ],
)
def test_wrong_input_is_refused_with_what_would_be_accepted(
    wrong: Packed, message: str, hint: str
) -> None:
    """The message says what is wrong and where, the hint names the fields or opcodes there are."""
    with pytest.raises(Refused) as refused:
        Registry().decode(wrong)
    assert refused.value.code == WRONG_INPUT
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_a_role_that_may_not_submit_is_refused() -> None:
    """An auditor submits nothing."""
    with pytest.raises(Refused) as refused:
        Registry().admit(pack(TestDelay(duration=0)), "auditor")
    assert refused.value.code == ACCESS_DENIED
    assert "operator" in refused.value.hint
