"""Decoders that several threads ask for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import msgspec

from eventstore.decoders import decoder_of

THREADS = 8


class Inner(msgspec.Struct):
    number: int


class Outer(msgspec.Struct):
    inner: Inner
    more: tuple[Inner, ...] = ()


def test_all_threads_get_the_same_decoder() -> None:
    """Those that ask for it at the same moment, too; and it decodes."""
    together = Barrier(THREADS)

    def ask(_: int) -> msgspec.msgpack.Decoder[Outer]:
        together.wait()
        return decoder_of(Outer)

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(ask, range(THREADS)))
    assert len(set(map(id, found))) == 1
    outer = Outer(Inner(1), (Inner(2),))
    assert found[0].decode(msgspec.msgpack.encode(outer)) == outer
