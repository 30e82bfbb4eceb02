"""What SQLite reports about the log's file, as this package's errors (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from eventstore.errors import CorruptLog, DiskFull, NotOurLog, StorageFailed

VERIFY_HINT = (
    "gnt-log verify names what is damaged; gnt-log accept-loss goes on with what is left, "
    "if no other copy can be had"
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise DiskFull, CorruptLog, NotOurLog or StorageFailed in place of APSW's exceptions."""
    try:
        yield
    except apsw.FullError as error:
        raise DiskFull(f"no room for {path}: {error}", hint="free some space") from error
    # Our statements are fixed: one that SQLite does not understand lacks a table that was there.
    except (apsw.CorruptError, apsw.SQLError) as error:
        raise CorruptLog(f"{path} is damaged: {error}", hint=VERIFY_HINT) from error
    except apsw.NotADBError as error:
        hint = "put the log back in its place, with its WAL, or from a copy"
        raise NotOurLog(f"{path} is not a log: {error}", hint=hint) from error
    except apsw.Error as error:
        raise StorageFailed(f"{path}: {error}", hint="see the kernel's log for the disk") from error
