"""Calls about the address by which the master is reached, and what they return (pure)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from nodeagent.calls.call import Call


class EnsureMasterAddress(Call, frozen=True, kw_only=True):
    """The master's address is on this node; neighbours were told. Returns `AddressTaken`."""

    NAME: ClassVar[str] = "ensure-master-address"

    address: str
    prefix: int  # bits of its network
    device: str


class RemoveMasterAddress(Call, frozen=True, kw_only=True):
    """The address is not on this node."""

    NAME: ClassVar[str] = "remove-master-address"

    address: str
    device: str


class AddressTaken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who else answered for the address just before: link addresses. None, as a rule."""

    also_at: tuple[str, ...] = ()
