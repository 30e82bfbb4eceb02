"""No field of an opcode is accepted and ignored: it is read, refused, or said to be without effect.

What a handler reads is found in its source: `op.name`, in its module and in those of `commands`
that it uses (other opcodes left out, which have an `op` of their own). Where a module reads fields
by names in a table, `getattr(op, name)`, the names that stand in that module count as read.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

import msgspec
import pytest

from commands.registry import MODULES

ROOT = Path(__file__).resolve().parents[2]


def source_of(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


@cache
def parsed(module: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(source_of(module).read_text())))


def reads(module: str) -> set[str]:
    """Return the names that a module reads of an `op`, one by one."""
    found = set()
    for node in parsed(module):
        match node:
            case ast.Attribute(value=ast.Name(id="op"), attr=name):
                found.add(name)
    return found


def reads_by_name(module: str) -> set[str]:
    """Return the names that it may read of an `op` by tables of names."""
    for node in parsed(module):
        match node:
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id="op"), ast.Name(), *_]):
                break
    else:
        return set()
    return {str(node.value) for node in parsed(module) if isinstance(node, ast.Constant)}


def uses(module: str) -> set[str]:
    """Return the modules of `commands` that a module imports, but for other opcodes' ones."""
    found: set[str] = set()
    for node in parsed(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("commands"):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {each for each in found if source_of(each).exists()} - set(MODULES.values())


def closure(module: str) -> set[str]:
    """Return a module and all that it uses."""
    found: set[str] = set()
    todo = {module}
    while todo:
        found |= todo
        todo = {each for one in todo for each in uses(one)} - found
    return found - {"commands.unsupported"}  # reads what is in NOT_YET, by name


def told(module: str, table: str) -> dict[str, str]:
    return dict(getattr(importlib.import_module(module), table, {}))


def fields(module: str) -> dict[str, msgspec.structs.FieldInfo]:
    opcode = importlib.import_module(module).HANDLER.opcode
    return {field.name: field for field in msgspec.structs.fields(opcode)}


@pytest.mark.parametrize("module", sorted(MODULES.values()))
def test_every_field_is_read_refused_or_said_to_be_without_effect(module: str) -> None:
    """One of the three, and the tables name fields that there are."""
    refused, idle = told(module, "NOT_YET"), told(module, "WITHOUT_EFFECT")
    read = {name for each in closure(module) for name in reads(each) | reads_by_name(each)}
    assert not fields(module).keys() - read - refused.keys() - idle.keys()
    assert (refused.keys() | idle.keys()) <= fields(module).keys()
    assert not refused.keys() & idle.keys()
    assert not idle.keys() & reads(module), "it has an effect"


@pytest.mark.parametrize("module", sorted(MODULES.values()))
def test_every_field_with_an_effect_says_what_it_is(module: str) -> None:
    """Help, completion and the manual have nothing else; a `_uuid` is told by its name."""
    apart = told(module, "NOT_YET").keys() | told(module, "WITHOUT_EFFECT").keys()
    mute = [
        name
        for name, field in fields(module).items()
        if name not in apart
        and not name.endswith(("_uuid", "_uuids"))
        and not any(meta.description for meta in getattr(field.type, "__metadata__", ()))
    ]
    assert not mute


def test_what_is_refused_is_refused() -> None:
    """Where there is a table of refusals, the handler asks it."""
    for module in MODULES.values():
        if told(module, "NOT_YET"):
            assert "refuse_unsupported(op, NOT_YET)" in source_of(module).read_text(), module


def test_a_field_that_nobody_reads_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an `op`, and of nothing else."""
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "thing.py").write_text(
        "def decide(op, cluster):\n    return op.wanted, cluster.ignored\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert reads("commands.thing") == {"wanted"}
