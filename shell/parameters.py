"""-H and -B: hypervisor and backend parameters as people mix them up (edge: it notes).

Memory and virtual CPUs are backend parameters. Many type them after -H; they are taken as -B, with
a note, since they can mean nothing else.
"""

from __future__ import annotations

from shell.failure import BadUsage
from shell.session import Session
from shell.values import Ident, KeyValues, key_values

BACKEND = frozenset({"memory", "minmem", "maxmem", "vcpus"})


def split_hypervisor(
    session: Session, typed: Ident | None, beparams: KeyValues
) -> dict[str, object]:
    """Return the fields hypervisor, hvparams and beparams of what -H and -B say.

    `-H kvm:acpi=no` names the hypervisor; `-H memory=1G` names none.
    """
    fields: dict[str, object] = {}
    hvparams: KeyValues = {}
    if typed is not None:
        ident, values = typed
        if "=" in ident:
            hvparams = key_values(ident, "-H")
        elif isinstance(values, dict):
            fields["hypervisor"] = ident
            hvparams = values
        else:
            raise BadUsage(f"-H: {ident!r} cannot be taken away", hint="-H NAME:key=value,...")
    own, backend = move_backend(session, hvparams, beparams)
    if own:
        fields["hvparams"] = own
    if backend:
        fields["beparams"] = backend
    return fields


def move_backend(
    session: Session, hvparams: KeyValues, beparams: KeyValues
) -> tuple[KeyValues, KeyValues]:
    """Return both with backend parameters where they belong."""
    moved = {name: value for name, value in hvparams.items() if name in BACKEND}
    for name, value in moved.items():
        if name in beparams:
            raise BadUsage(f"{name} stands after -H and after -B", hint="give it once, after -B")
        session.note(f"note: {name} is a backend parameter; taken as -B {name}={value}")
    rest = {name: value for name, value in hvparams.items() if name not in BACKEND}
    return rest, {**beparams, **moved}
