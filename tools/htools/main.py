"""The entry points of the programs: parse the command line, run, and turn errors into statuses.

Statuses: 0 done, 1 an error (for hcheck also: a rebalance is needed), 2 a command line that cannot
be read. An error is one line on stderr; a reader that goes away (a closed pipe) is no error.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from tools.htools.errors import HtoolsError
from tools.htools.options import Stop, parse

#: Options of glibc's mallopt(3), and a size beyond any array of ours.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _LARGE = -1, -3, 1 << 28


def _prepare() -> None:
    """Make numpy use one core, and keep memory between its operations.

    By default glibc gives an array of 128 KiB back to the system at once and asks for it anew;
    touching the pages again took half of the time of a balancing step. Threads gain nothing on
    matrices of this size.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with contextlib.suppress(AttributeError, OSError):  # not glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGE)


def run(program: str, argv: Sequence[str]) -> int:
    """Run one of the programs; return its exit status."""
    try:
        choices = parse(program, argv)
    except Stop as stop:
        sys.stdout.write(stop.out)
        sys.stderr.write(stop.error)
        return stop.status
    _prepare()
    try:
        module = importlib.import_module(f"tools.htools.{program}")
        status = int(module.main(choices))
        sys.stdout.flush()
        return status
    except HtoolsError as problem:
        sys.stdout.flush()
        print(f"Error: {problem.message}", file=sys.stderr)
        return problem.status
    except BrokenPipeError:
        # Nobody reads any more; keep the interpreter from failing on the same pipe at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as problem:
        print(f"Error: {problem.filename or ''}: {problem.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _exit(program: str) -> NoReturn:
    sys.exit(run(program, sys.argv[1:]))


def hail() -> NoReturn:
    """Instance allocator."""
    _exit("hail")


def hbal() -> NoReturn:
    """Balancer."""
    _exit("hbal")


def hcheck() -> NoReturn:
    """Health check."""
    _exit("hcheck")


def hinfo() -> NoReturn:
    """Information about a cluster."""
    _exit("hinfo")


def hroller() -> NoReturn:
    """Order of reboots."""
    _exit("hroller")


def hscan() -> NoReturn:
    """Scanner of remote clusters."""
    _exit("hscan")


def hspace() -> NoReturn:
    """Capacity estimator."""
    _exit("hspace")


def hsqueeze() -> NoReturn:
    """Power management."""
    _exit("hsqueeze")


if __name__ == "__main__":
    # `python -m tools.htools.main PROGRAM ...` where no scripts are installed.
    sys.exit(run(sys.argv[1], sys.argv[2:]))
