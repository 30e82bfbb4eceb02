"""How a cluster begins: keys, the first records, the ticket of the first node (edge).

`gnt-cluster init` calls this on the machine that is to be the master, before any daemon runs. The
first records are durable before any socket opens, so there is no moment at which a stranger could
say who may connect. The first node joins like every other one: its agent gets a ticket.

After a crash in the middle it may be called again: the log is the last thing that is made, and
until it is there nothing that was written counts.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zmq

from commands.cluster_ops.first_facts import first_facts
from commands.given import Given
from commands.master import config as master_config
from commands.master.config import MasterConfig
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
from eventstore.events import STREAM as LOG_STREAM
from eventstore.events import KeyAdmitted
from eventstore.record import Draft
from eventstore.voter.creation import check_none, create_log
from nodeagent.calls import Ticket, Voter
from projections.objects import ClusterInfo

LOG_DIRECTORY = "log"
VOTER_KEY = "voter.key"
SIGN_KEY = "sign.key"


@dataclass(frozen=True, slots=True)
class Founded:
    """What the founder needs in order to go on."""

    cluster_id: str
    voter: Voter
    ticket: Ticket  # of the first node


def init_cluster(
    directory: Path,
    *,
    config: MasterConfig,
    info: ClusterInfo,
    operator: str,
    operator_key: Path,
    node_ip: str,
    secondary_ip: str = "",
) -> Founded:
    """Make the log of a new cluster in `directory`, and the operator's key where it is missing.

    `info` holds the settings that were asked for; its uuid is drawn here. `config.voter` names the
    first node. Raises NotOurLog if there is a cluster already, BadKeyFile, DiskFull.
    """
    now_ms = time.time_ns() // 1_000_000
    cluster_id = str(uuid.uuid4())
    check_none(directory / LOG_DIRECTORY)  # before the settings of the cluster that is here change
    master_config.save(directory, msgspec.structs.replace(config, cluster_id=cluster_id))
    voter_keys = curve_keys_at(directory / VOTER_KEY)
    sign_keys = sign_keys_at(directory / SIGN_KEY)
    operator_keys = curve_keys_at(operator_key)
    ticket_public, ticket_secret = (key.decode() for key in zmq.curve_keypair())
    actor = f"operator:{operator}"
    facts = first_facts(
        info=msgspec.structs.replace(info, uuid=cluster_id),
        node_name=config.voter,
        node_ip=node_ip,
        secondary_ip=secondary_ip,
        ticket_key=ticket_public,
        given=Given(now_ms=now_ms, seed=os.urandom(16)),
        actor=actor,
    )
    keys = (
        KeyAdmitted(
            name=f"voter:{config.voter}",
            role="voter",
            curve_key=voter_keys.public,
            sign_key=sign_keys.public_text,
        ),
        KeyAdmitted(name=actor, role="operator", curve_key=operator_keys.public),
    )
    create_log(
        directory / LOG_DIRECTORY,
        cluster_id=cluster_id,
        origin=f"cairn/{info.name}",
        voter=config.voter,
        now_ms=now_ms,
        first=(*(Draft(stream=LOG_STREAM, event=key, actor=actor) for key in keys), *facts),
        actor=actor,
        ballast_bytes=config.ballast_mib << 20,
    )
    voter = master_config.as_voter(config, voter_keys.public)
    ticket = Ticket(
        cluster_id=cluster_id,
        node="",
        name=config.voter,
        secret_key=ticket_secret,
        public_key=ticket_public,
        voters=(voter,),
    )
    return Founded(cluster_id=cluster_id, voter=voter, ticket=ticket)


def curve_keys_at(path: Path) -> CurveKeys:
    """Return the key pair in this file; draw and save one where there is no file."""
    if not path.exists():
        save_curve_keys(path, new_curve_keys())
    return load_curve_keys(path)


def sign_keys_at(path: Path) -> SignKeys:
    """Return the signing key in this file; draw and save one where there is no file."""
    if not path.exists():
        save_sign_keys(path, new_sign_keys())
    return load_sign_keys(path)
