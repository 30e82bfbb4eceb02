"""A master daemon on this node, for a node that is a master candidate (edge).

    <dir>/master.json   its settings (commands/master/config.py reads them)
    <dir>/voter.key     its CURVE key, drawn here; the secret half never leaves the node
    <dir>/sign.key      its Ed25519 key
    <dir>/log/          its storage: made empty, with an id of its own (eventstore/voter/storage.py)
    <dir>/master.pid    while it runs
    <dir>/master.out    what it prints

The daemon is a process of its own that outlives this agent, and its files are its user's
(voter_process.py). Made in this order, settings last, so
that after a crash in the middle what is there is either kept or completed. The storage is never
emptied and used again under its old id: a voter that lost its log is a new voter.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from eventstore.access.keys import (
    CurveKeys,
    SignKeys,
    load_curve_keys,
    load_sign_keys,
    new_curve_keys,
    new_sign_keys,
    save_curve_keys,
    save_sign_keys,
)
from eventstore.durable_file import replace
from eventstore.errors import EventStoreError
from eventstore.storage.layout import Layout
from eventstore.storage.log_file import Meta
from eventstore.storage.log_reader import LogReader
from nodeagent.calls import EnsureVoter, Value, Voter, VoterMade
from nodeagent.errors import NodeAgentError, StateMismatch
from nodeagent.task_scope import TaskScope
from nodeagent.voter_process import Launcher, make_private, rights_of

_START_S = 30.0
_LOOK_S = 0.05


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is read back of `master.json`."""

    requests: str
    publications: str
    replication: str
    segments: str = ""


_SETTINGS = msgspec.json.Decoder(_Settings)  # made at the start: docs/decisions/0206


class VoterHost:
    """The master daemon of this node. `voters` are the others, as the agent knows them."""

    def __init__(
        self,
        directory: Path,
        launcher: Launcher,
        *,
        address: str,
        ports: tuple[int, int, int, int],
        user: str = "",
    ) -> None:
        self.voters: tuple[Voter, ...] = ()
        self._directory, self._launcher, self._user = directory, launcher, user
        self._address, self._ports = address, ports

    def ensure(self, call: EnsureVoter, scope: TaskScope) -> VoterMade:
        """Make what is missing, start it if it does not run, and say how it is reached."""
        make_private(self._directory, self._user)
        try:
            with rights_of(self._user):
                meta = self._storage(call.cluster_id)
                curve, sign = self._keys()
                placed = self._settings(call)
        except EventStoreError as failed:
            raise NodeAgentError(str(failed), hint=failed.hint) from failed
        except OSError as failed:
            raise NodeAgentError(
                f"{failed.filename}: {failed.strerror}",
                hint=f"{self._directory} must be {self._user or 'the agent'}'s alone",
            ) from failed
        if self._running() is None:
            self._start(scope)
        return VoterMade(
            inc=meta.inc.hex(),
            curve_key=curve.public,
            sign_key=sign.public_text,
            requests=placed.requests,
            publications=placed.publications,
            replication=placed.replication,
            segments=placed.segments,
        )

    def remove(self, cluster_id: str = "") -> None:
        """End the daemon and remove its files; of another cluster, leave them alone."""
        log = Layout(self._directory / "log").log
        with rights_of(self._user if log.exists() else ""):
            if cluster_id and log.exists() and _meta(log).cluster_id != cluster_id:
                return
        if (pid := self._running()) is not None:
            self._launcher.end(pid)
        if self._directory.exists():
            shutil.rmtree(self._directory)  # follows no link, so it may be done as root

    def _storage(self, cluster_id: str) -> Meta:
        directory = self._directory / "log"
        log = Layout(directory).log
        if not log.exists():
            from eventstore.voter.storage import create_voter  # signatures: 6 MiB

            create_voter(directory, cluster_id=cluster_id)
        meta = _meta(log)
        if meta.cluster_id != cluster_id:
            raise StateMismatch(
                f"{directory} holds the log of cluster {meta.cluster_id}",
                hint=f"move {self._directory} away",
            )
        return meta

    def _keys(self) -> tuple[CurveKeys, SignKeys]:
        curve, sign = self._directory / "voter.key", self._directory / "sign.key"
        if not curve.exists():
            save_curve_keys(curve, new_curve_keys())
        if not sign.exists():
            save_sign_keys(sign, new_sign_keys())
        return load_curve_keys(curve), load_sign_keys(sign)

    def _settings(self, call: EnsureVoter) -> _Settings:
        """Write the settings anew, but for the ports, which stay what they were."""
        path = self._directory / "master.json"
        if path.exists():
            placed = _SETTINGS.decode(path.read_bytes())
        else:
            address = self._address or call.address or call.name
            chosen = _free_ports(address, self._ports)
            placed = _Settings(
                **dict(
                    zip(
                        ("requests", "publications", "replication", "segments"),
                        (f"tcp://{address}:{port}" for port in chosen),
                        strict=True,
                    )
                )
            )
        settings: dict[str, Value | tuple[Voter, ...]] = {
            **call.settings,
            "voter": call.name,
            "cluster_id": call.cluster_id,
            "requests": placed.requests,
            "publications": placed.publications,
            "replication": placed.replication,
            "segments": placed.segments,
            "seeds": tuple(voter for voter in self.voters if voter.name != call.name),
        }
        replace(path, msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n")
        return placed

    def _start(self, scope: TaskScope) -> None:
        """Start the daemon and wait until it serves."""
        process = self._launcher.start(self._directory)
        left_s = _START_S
        while (pid := self._running()) is None or (process is not None and pid != process.pid):
            if left_s <= 0 or (process is not None and process.poll() is not None):
                raise NodeAgentError(f"the master daemon did not start: {self._last_words()}")
            scope.wait(_LOOK_S)
            left_s -= _LOOK_S

    def _last_words(self) -> str:
        with rights_of(self._user):
            output = self._directory / "master.out"
            if not output.exists():
                return "it said nothing here; if it is a unit, journalctl knows more"
            return " / ".join(output.read_text(errors="replace").splitlines()[-3:])

    def _running(self) -> int | None:
        """Return the pid of the daemon if it lives and was started for this directory."""
        try:
            pid = int((self._directory / "master.pid").read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self._directory) in arguments and state != "Z" else None


def _meta(log: Path) -> Meta:
    reader = LogReader(log)
    try:
        return reader.meta
    finally:
        reader.close()


def _free_ports(address: str, ports: Sequence[int]) -> list[int]:
    """Return the ports, each 0 replaced by one that is free now."""
    held = [socket.create_server((address, 0)) for port in ports if port == 0]
    free = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return [port or free.pop() for port in ports]
