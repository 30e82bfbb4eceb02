"""Versions of the tools and modules under the real drivers (edge).

LVM tells its version only when asked, which takes a second on a slow machine; so it is asked once,
aside, and is told from then on. A module may be loaded at any time, so it is looked at each time.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping

from nodeagent import host
from nodeagent.errors import NodeAgentError
from nodeagent.storage.system import System
from nodeagent.task_scope import TaskScope

_log = logging.getLogger(__name__)


class HostVersions:
    """Implements `Drivers.versions` for a real machine."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._lvm = ""
        self.asking = threading.Thread(target=self._ask, name="versions", daemon=True)
        self.asking.start()

    def __call__(self) -> Mapping[str, str]:
        """Return what is known now, by name: lvm, drbd. What is not there is left out."""
        found = {"lvm": self._lvm, "drbd": host.drbd_version()}
        return {name: version for name, version in found.items() if version}

    def _ask(self) -> None:
        if not self._system.has_tool("lvm"):
            return
        try:
            said = self._system.run(["lvm", "version"], scope=TaskScope())
        except NodeAgentError as failed:
            _log.warning("the version of LVM cannot be told: %s", failed)
            return
        version = re.search(r"LVM version:\s*(\S+)", said)
        self._lvm = version[1] if version else ""
