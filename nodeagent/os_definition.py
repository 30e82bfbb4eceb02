"""OS definitions: finding them and saying what is wrong with them (edge).

Source: Ganeti's OS interface, versions 10, 15 and 20 (docs/os-interface.md). One directory for each
OS on a search path; the first directory of a name counts. A user names an OS `debian` or, with a
variant, `debian+minimal`.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nodeagent.calls import OsStatus
from nodeagent.errors import BadCall, Missing, NoSuchThing

API_VERSIONS = (20, 15, 10)
CREATE = ("create", "create_untrusted")
SCRIPTS = ("import", "export", "rename")
_MAX_TEXT = 1 << 20


class OsDefinition(NamedTuple):
    """A valid OS definition on this node."""

    name: str
    directory: Path
    api_version: int  # the highest that it and we know
    api_versions: tuple[int, ...]
    variants: tuple[str, ...]
    parameters: tuple[str, ...]
    untrusted: bool  # has only `create_untrusted`, which needs a helper VM


class _Invalid(Exception):
    """Why a directory is no OS definition."""


def find_os(search_path: Sequence[Path], name: str) -> OsDefinition:
    """Return the definition for `name` or `name+variant`.

    Raises NoSuchThing if there is none (with those there are), Missing if it is invalid, BadCall if
    it has no such variant, or has variants and none is named where the version demands one.
    """
    plain, plus, variant = name.partition("+")
    for base in search_path:
        directory = base / plain
        if plain and "/" not in plain and directory.is_dir():
            try:
                found = _read(directory)
            except _Invalid as invalid:
                raise Missing(f"OS {plain} in {directory}: {invalid}", hint="repair it") from None
            _check_variant(found, variant if plus else None)
            return found
    known = ", ".join(status.name for status in list_os(search_path)) or "none"
    where = ", ".join(map(str, search_path))
    raise NoSuchThing(f"there is no OS {plain!r} in {where}", hint=f"there are: {known}")


def list_os(search_path: Sequence[Path]) -> tuple[OsStatus, ...]:
    """Every definition on the node, valid or with its problem, by name."""
    found: dict[str, OsStatus] = {}
    for base in search_path:
        for directory in sorted(base.iterdir()) if base.is_dir() else ():
            if directory.is_dir() and directory.name not in found:
                found[directory.name] = _status(directory)
    return tuple(found[name] for name in sorted(found))


def chosen_variant(definition: OsDefinition, name: str) -> str:
    """The variant that `name` asks for: the first listed if none is named, empty if none exist."""
    _, plus, variant = name.partition("+")
    if plus:
        return variant
    return definition.variants[0] if definition.variants else ""


def _status(directory: Path) -> OsStatus:
    try:
        found = _read(directory)
    except _Invalid as invalid:
        return OsStatus(name=directory.name, problem=str(invalid))
    return OsStatus(
        name=found.name,
        variants=found.variants,
        api_versions=found.api_versions,
        parameters=found.parameters,
    )


def _read(directory: Path) -> OsDefinition:
    versions = _api_versions(directory)
    usable = [version for version in API_VERSIONS if version in versions]
    if not usable:
        raise _Invalid(f"API version {versions} is none of {API_VERSIONS}")
    version = usable[0]
    create = [name for name in CREATE if (directory / name).exists()]
    if not create:
        raise _Invalid("there is neither create nor create_untrusted")
    for script in (*create, *SCRIPTS, *(("verify",) if version >= 20 else ())):
        _check_script(directory / script)
    if version >= 20:
        _check_file(directory / "parameters.list")
    return OsDefinition(
        name=directory.name,
        directory=directory,
        api_version=version,
        api_versions=tuple(usable),
        variants=_lines(directory / "variants.list") if version >= 15 else (),
        parameters=_first_words(directory / "parameters.list") if version >= 20 else (),
        untrusted="create" not in create,
    )


def _api_versions(directory: Path) -> tuple[int, ...]:
    _check_file(directory / "ganeti_api_version")
    try:
        return tuple(int(line) for line in _lines(directory / "ganeti_api_version"))
    except ValueError:
        raise _Invalid("ganeti_api_version holds something else than integers") from None


def _check_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as failed:
        raise _Invalid(f"{path.name}: {failed.strerror}") from None
    if not stat.S_ISREG(mode):
        raise _Invalid(f"{path.name} is not a regular file")


def _check_script(path: Path) -> None:
    _check_file(path)
    if not path.stat().st_mode & stat.S_IXUSR:
        raise _Invalid(f"{path.name} is not executable")


def _lines(path: Path) -> tuple[str, ...]:
    if not path.exists():
        return ()
    with path.open(errors="replace") as file:
        lines = (line.strip() for line in file.read(_MAX_TEXT).splitlines())
        return tuple(line for line in lines if line and not line.startswith("#"))


def _first_words(path: Path) -> tuple[str, ...]:
    return tuple(line.split()[0] for line in _lines(path))


def _check_variant(definition: OsDefinition, variant: str | None) -> None:
    known = ", ".join(definition.variants) or "none"
    if variant is not None and variant not in definition.variants:
        raise BadCall(
            f"OS {definition.name} has no variant {variant!r}", hint=f"its variants: {known}"
        )
