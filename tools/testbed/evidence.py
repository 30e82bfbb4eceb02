"""What a person wants to see when something went wrong in the test bed (edge).

It is gathered while the nodes still run, and from those that do; a node that does not answer tells
what its console says.
"""

from __future__ import annotations

import shlex

from tools.testbed.bed import Bed
from tools.testbed.cluster import AGENTS, MASTER
from tools.testbed.layout import BedError
from tools.testbed.machine import Machine

_WITHIN_S = 30.0
_CONSOLE_BYTES = 2000
_LOOK = (  # what is looked at in each node: title, command
    ("mirrors", "cat /proc/drbd"),
    ("volumes", "lvs -o lv_name,lv_size,lv_attr,lv_tags xenvg"),
    ("guests", "pgrep -a qemu | cut -c -200"),
    ("kernel", "dmesg | tail -n 15"),
    ("agent", f"tail -n 150 {AGENTS}/*/agent.log | cut -c -400; cat /var/log/agent.out"),
    ("master", f"[ ! -d {MASTER} ] || tail -n 60 {MASTER}/master.out"),
)


def evidence(bed: Bed) -> list[tuple[str, str]]:
    """Return (title, text) of what is to be seen in each node. Raises nothing."""
    found = []
    for name, machine in bed.nodes.items():
        if machine.pid is None:
            found.append((f"{name}: no power; its console", machine.console(_CONSOLE_BYTES)))
            continue
        found += [(f"{name}: {title}", _look(machine, script)) for title, script in _LOOK]
    return found


def _look(machine: Machine, script: str) -> str:
    try:
        ended = machine.run(["sh", "-c", f"{script} 2>&1"], timeout_s=_WITHIN_S)
    except (OSError, ValueError, BedError) as failed:
        return f"{shlex.quote(script)}: {failed}\n{machine.console(_CONSOLE_BYTES)}"
    return ended.text
