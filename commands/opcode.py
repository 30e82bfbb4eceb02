"""Opcodes: orders, as typed structs whose metadata feeds every interface (pure).

One struct per order: the `gnt-*` options, the shell's completion, the REST schema, validation and
the manual come from its fields and from nothing else. Names of opcodes and fields are Ganeti's
(`OP_INSTANCE_CREATE`, `instance_name`, ...), because Ganeti's clients and the remote API speak
them. A field's metadata is `typing.Annotated[type, msgspec.Meta(description=..., ge=..., ...)]`;
`extra` may hold `unit` ("MiB", "s"), `names` (the table whose names complete it) and `choices`.

Defaults are Ganeti's. An opcode is stored in `job.submitted` as (name, version, bytes).
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from eventstore.packed import Packed


class Opcode(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Base of all opcodes."""

    NAME: ClassVar[str]  # "OP_INSTANCE_CREATE"
    VERSION: ClassVar[int] = 1
    ROLES: ClassVar[tuple[str, ...]] = ("operator", "gateway")  # who may submit it
    SUMMARY: ClassVar[str] = ""  # the field that Ganeti shows in brackets in a job's summary

    def summary(self) -> str:
        """Return what a job list shows: `INSTANCE_CREATE(web1.example.net)`."""
        name = self.NAME.removeprefix("OP_")
        subject = getattr(self, self.SUMMARY) if self.SUMMARY else None
        return name if subject is None else f"{name}({subject})"


def pack(op: Opcode) -> Packed:
    """Return `op` as it stands in a record and on the wire."""
    return Packed(op.NAME, op.VERSION, msgspec.Raw(msgspec.msgpack.encode(op)))
