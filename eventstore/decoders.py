"""MessagePack decoders, made once for each type that is asked for.

One thread at a time makes them: msgspec keeps what it knows of a type before it is whole, and
another thread that meets it then ends the process (docs/decisions/0206).
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec

_made: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
_making = threading.Lock()


def decoder_of(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return the decoder of a type, the same for everybody. From any thread."""
    decoder = _made.get(kind)
    if decoder is None:
        with _making:
            decoder = _made.get(kind)
            if decoder is None:
                decoder = _made[kind] = msgspec.msgpack.Decoder(kind)
    return decoder
