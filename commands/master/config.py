"""Where a master daemon lives and how it is reached: a directory with one settings file (edge).

<directory>/master.json    `MasterConfig`
<directory>/voter.key      CURVE key of this voter
<directory>/sign.key       Ed25519 key with which it signs checkpoints
<directory>/log/           the log (eventstore/storage/layout.py)
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from commands.errors import CommandError
from eventstore.durable_file import replace
from nodeagent.calls import Voter

FILE = "master.json"


class BadConfig(CommandError):
    """The settings file is missing or malformed; the message says where and what."""


class MasterConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one master daemon. Times are seconds."""

    voter: str  # the name of this voter: the name of its node
    cluster_id: str = ""  # whose log it holds; "": that of whatever log is there
    requests: str  # endpoint of the ROUTER, tcp://address:port
    publications: str  # endpoint of the XPUB
    replication: str = ""  # endpoint for other voters; "": any port where `requests` is
    segments: str = ""  # endpoint for what other voters send in bulk; "": the same
    seeds: tuple[Voter, ...] = ()  # where others are, until the log here says so
    timing: str = "default"  # of elections: default, or lan (eventstore/raft/state.py)
    max_voters: int = 5  # candidates beyond follow the log and do not vote; 1: nobody else at all
    status_every_s: float = 5.0  # how often agents are expected to report
    lost_after_s: float = 30.0  # a node that is silent for so long is lost
    max_running_jobs: int = 20
    ballast_mib: int = 64
    # For reproducible runs (the lab, tests): chance is drawn from this and the place of use.
    draw_seed: str = ""
    sync_delay_s: float = 0.0  # each sync takes at least so long: an emulated slow disk


def load(directory: Path) -> MasterConfig:
    """Read the settings. Raises BadConfig."""
    path = directory / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=MasterConfig)
    except FileNotFoundError:
        raise BadConfig(f"{path} does not exist: gnt-cluster init makes it") from None
    except msgspec.MsgspecError as malformed:
        raise BadConfig(f"{path}: {malformed}") from None


def save(directory: Path, config: MasterConfig) -> None:
    """Write the settings durably, whole or not at all; the directory is made, for its owner alone.

    Raises OSError, after which what was there is there.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"
    replace(directory / FILE, text)


def replication_endpoint(config: MasterConfig) -> str:
    """Return where this voter hears others of its kind."""
    return config.replication or _any_port(config)


def segments_endpoint(config: MasterConfig) -> str:
    """Return where this voter gets what others send it in bulk."""
    return config.segments or _any_port(config)


def _any_port(config: MasterConfig) -> str:
    return f"{config.requests.rpartition(':')[0]}:*"


def as_voter(config: MasterConfig, curve_key: str) -> Voter:
    """Return what clients and agents must know of this voter."""
    return Voter(
        name=config.voter,
        requests=config.requests,
        publications=config.publications,
        curve_key=curve_key,
        replication=config.replication,
    )
