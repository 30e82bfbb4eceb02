"""Which handler an opcode has, and how its bytes become a struct again.

The table is explicit: an opcode's name and the module that has its `HANDLER` (and `OLDER`, handlers
of versions of which opcodes may still be open). A module is imported when its opcode is first
asked for, so that a command line that submits one opcode does not load the others.
"""

from __future__ import annotations

import difflib
import importlib
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from commands.errors import ACCESS_DENIED, WRONG_INPUT, Refused
from commands.handler import Handler
from commands.opcode import Opcode
from eventstore.packed import Packed

# Any: a table of handlers of all opcodes
AnyHandler = Handler[Any]

MODULES: Mapping[str, str] = {
    "OP_CLUSTER_ACTIVATE_MASTER_IP": "commands.cluster_ops.activate_master_ip",
    "OP_CLUSTER_ADD_WITNESS": "commands.cluster_ops.add_witness",
    "OP_CLUSTER_DEACTIVATE_MASTER_IP": "commands.cluster_ops.deactivate_master_ip",
    "OP_CLUSTER_DESTROY": "commands.cluster_ops.destroy",
    "OP_CLUSTER_REMOVE_WITNESS": "commands.cluster_ops.remove_witness",
    "OP_CLUSTER_SET_PARAMS": "commands.cluster_ops.set_params",
    "OP_CLUSTER_VERIFY": "commands.cluster_ops.verify",
    "OP_GROUP_ADD": "commands.group_ops.add",
    "OP_GROUP_EVACUATE": "commands.group_ops.evacuate",
    "OP_GROUP_REMOVE": "commands.group_ops.remove",
    "OP_GROUP_RENAME": "commands.group_ops.rename",
    "OP_GROUP_SET_PARAMS": "commands.group_ops.set_params",
    "OP_INSTANCE_ACTIVATE_DISKS": "commands.instance_ops.activate_disks",
    "OP_INSTANCE_CHANGE_GROUP": "commands.instance_ops.change_group",
    "OP_INSTANCE_CONSOLE": "commands.instance_ops.console",
    "OP_INSTANCE_CREATE": "commands.instance_ops.create",
    "OP_INSTANCE_DEACTIVATE_DISKS": "commands.instance_ops.deactivate_disks",
    "OP_INSTANCE_FAILOVER": "commands.instance_ops.failover",
    "OP_INSTANCE_GROW_DISK": "commands.instance_ops.grow_disk",
    "OP_INSTANCE_MIGRATE": "commands.instance_ops.migrate",
    "OP_INSTANCE_MULTI_ALLOC": "commands.instance_ops.multi_alloc",
    "OP_INSTANCE_REBOOT": "commands.instance_ops.reboot",
    "OP_INSTANCE_RECREATE_DISKS": "commands.instance_ops.recreate_disks",
    "OP_INSTANCE_REMOVE": "commands.instance_ops.remove",
    "OP_INSTANCE_RENAME": "commands.instance_ops.rename",
    "OP_INSTANCE_REPLACE_DISKS": "commands.instance_ops.replace_disks",
    "OP_INSTANCE_SET_PARAMS": "commands.instance_ops.set_params",
    "OP_INSTANCE_SHUTDOWN": "commands.instance_ops.shutdown",
    "OP_INSTANCE_STARTUP": "commands.instance_ops.startup",
    "OP_NODE_ADD": "commands.node_ops.add",
    "OP_NODE_EVACUATE": "commands.node_ops.evacuate",
    "OP_NODE_ENSURE_VOTER": "commands.node_ops.ensure_voter",
    "OP_NODE_REMOVE": "commands.node_ops.remove",
    "OP_NODE_REMOVE_VOTER": "commands.node_ops.remove_voter",
    "OP_NODE_SET_PARAMS": "commands.node_ops.set_params",
    "OP_TAGS_DEL": "commands.tag_ops.delete_tags",
    "OP_TAGS_SET": "commands.tag_ops.set_tags",
    "OP_TEST_DELAY": "commands.debug_ops.delay",
}


class Registry:
    """A table of handlers."""

    def __init__(
        self, modules: Mapping[str, str] = MODULES, *, handlers: Iterable[AnyHandler] = ()
    ) -> None:
        """Take the table, and `handlers` that are at hand already."""
        self._modules = modules
        self._loaded: dict[str, tuple[AnyHandler, ...]] = {}
        for handler in handlers:
            name = handler.opcode.NAME
            self._loaded[name] = (*self._loaded.get(name, ()), handler)
        self._decoders: dict[type[Opcode], msgspec.msgpack.Decoder[Opcode]] = {}

    def names(self) -> tuple[str, ...]:
        """Return the names of all opcodes, sorted."""
        return tuple(sorted({*self._modules, *self._loaded}))

    def handler(self, name: str, version: int | None = None) -> AnyHandler:
        """Return the newest handler of an opcode, or that of one version.

        Raises Refused (wrong_input, with the nearest names) for an unknown opcode.
        """
        handlers = self._of(name)
        if version is None:
            return handlers[0]
        for handler in handlers:
            if handler.version == version:
                return handler
        raise Refused(
            WRONG_INPUT,
            f"this version of the program has no handler {version} of {name}",
            hint="run the version that started the opcode until it has ended",
        )

    def decode(self, packed: Packed) -> Opcode:
        """Return the opcode. Raises Refused (wrong_input) with the accepted fields as the hint."""
        opcode = self._opcode(packed)
        decoder = self._decoders.get(opcode)
        if decoder is None:
            decoder = self._decoders[opcode] = msgspec.msgpack.Decoder(opcode)
        try:
            return decoder.decode(packed.data)
        except msgspec.DecodeError as error:
            raise Refused(
                WRONG_INPUT, f"{packed.name}: {error}", hint=f"it accepts {accepted(opcode)}"
            ) from None

    def admit(self, packed: Packed, role: str) -> Opcode:
        """Return an opcode that somebody in `role` submits. Raises Refused."""
        opcode = self._opcode(packed)
        if role not in opcode.ROLES:
            raise Refused(
                ACCESS_DENIED,
                f"{role} may not submit {packed.name}",
                hint=f"it takes the role {' or '.join(opcode.ROLES)}",
            )
        return self.decode(packed)

    def _opcode(self, packed: Packed) -> type[Opcode]:
        known: dict[int, type[Opcode]] = {
            handler.opcode.VERSION: handler.opcode for handler in self._of(packed.name)
        }
        opcode = known.get(packed.version)
        if opcode is None:
            raise Refused(
                WRONG_INPUT,
                f"{packed.name} version {packed.version} is not known",
                hint=f"known versions: {', '.join(map(str, sorted(known)))}",
            )
        return opcode

    def _of(self, name: str) -> tuple[AnyHandler, ...]:
        loaded = self._loaded.get(name)
        if loaded is None:
            module_name = self._modules.get(name)
            if module_name is None:
                near = difflib.get_close_matches(name, self.names(), n=3)
                hint = f"nearest: {', '.join(near)}" if near else "see the list of opcodes"
                raise Refused(WRONG_INPUT, f"there is no opcode {name}", hint=hint)
            module = importlib.import_module(module_name)
            loaded = (module.HANDLER, *getattr(module, "OLDER", ()))
            self._loaded[name] = loaded
        return loaded


def accepted(opcode: type[Opcode]) -> str:
    """Return the fields of an opcode for a hint: `name (str), size (int, optional)`."""
    fields = msgspec.structs.fields(opcode)
    if not fields:
        return "no fields"
    return ", ".join(_described(field) for field in fields)


def _described(field: msgspec.structs.FieldInfo) -> str:
    plain = field.type
    while (origin := typing.get_origin(plain)) is typing.Annotated:
        plain = typing.get_args(plain)[0]
    kind = plain.__name__ if origin is None and isinstance(plain, type) else str(plain)
    return f"{field.name} ({kind}{'' if field.required else ', optional'})"
