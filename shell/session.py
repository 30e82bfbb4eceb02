"""What a command works with: where to write, who it is, the cluster it speaks to (edge)."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import msgspec

from shell import config
from shell.failure import Failure, Status

if TYPE_CHECKING:
    from eventstore.clients.client import Answer, Client, Voter
    from nodeagent.calls import Voter as PlacedVoter

T = TypeVar("T")

TIMEOUT_S = 10.0  # for what is answered from memory; after it the master counts as away

_LEARN_S = 2.0


@dataclass
class Session:
    """One run of a command. The connection is made when it is first needed."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    find_config: Callable[[], config.Found] = config.load
    at: str = ""  # a moment that every read of this session is asked as of
    default_format: str = "table"

    def say(self, text: str = "") -> None:
        """Write a line that was asked for."""
        self.out.write(text + "\n")

    def note(self, text: str) -> None:
        """Write a line for the person only."""
        self.out.flush()
        self.err.write(text + "\n")
        self.err.flush()

    @cached_property
    def config(self) -> config.Found:
        """The client's settings. Raises Failure (exit status 5) if there are none."""
        return self.find_config()

    @property
    def operator(self) -> str:
        """This user's name in the log."""
        try:
            named = self.config.config.operator
        except Failure:
            named = ""  # work on a log's own files needs no cluster
        return named or f"{getpass.getuser()}@{socket.gethostname()}"

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at stderr, where progress is shown."""
        return self.err.isatty() and os.environ.get("TERM", "") != "dumb"

    @cached_property
    def client(self) -> Client:
        """The connection to the cluster's voters."""
        from eventstore.access.keys import load_curve_keys
        from eventstore.clients.client import Client

        voters, found = self.voters, self.config
        client = Client(voters, load_curve_keys(found.resolve(found.config.key_file)))
        client.ask_beside("voters", self._take_voters)
        return client

    def learn_voters(self) -> None:
        """Ask where the voters are and wait for it: for a command that is to show all of them.

        Others speak to those that are known and learn beside (`client`), for the next command.
        """
        from eventstore.errors import EventStoreError

        with suppress(EventStoreError):  # then those that are known must do
            self._take_voters(self.client.call("voters", timeout_s=_LEARN_S))

    def _take_voters(self, answer: Answer) -> None:
        """Some voter says where all of them are: speak to them, now and in later commands.

        A client that was told of one voter finds the others so, and follows when they move. A
        settings file that may not be written is left as it is.
        """
        from commands.api import VotersReply

        told = answer.decode(VotersReply).voters
        if told and told != self.config.config.voters:
            wanted = msgspec.structs.replace(self.config.config, voters=told)
            with suppress(OSError):
                self.config = config.save(self.config, wanted)
            self.client.set_voters(addresses(told))

    @property
    def voters(self) -> list[Voter]:
        """The voters of the cluster. Raises Failure (exit status 5) if none is known."""
        found = self.config
        if not found.config.voters:
            raise Failure(
                f"No cluster is known here: {found.path} names no voters.",
                hint="gnt-cluster init NAME makes a cluster",
                status=Status.NOT_CLUSTER,
            )
        return addresses(found.config.voters)

    def ask(
        self,
        kind: str,
        body: Any,  # a struct of commands/api.py
        reply: type[T],
        *,
        timeout_s: float = TIMEOUT_S,
        key: str | None = None,
    ) -> T:
        """Ask the cluster. Raises what it answered with, or Unreachable."""
        return self.client.call(kind, body, timeout_s=timeout_s, key=key).decode(reply)

    def close(self) -> None:
        """Disconnect, if there is a connection."""
        if "client" in self.__dict__:
            self.client.close()


def addresses(voters: Iterable[PlacedVoter]) -> list[Voter]:
    """Return voters as clients want them."""
    from eventstore.clients.client import Voter

    return [
        Voter(
            name=voter.name,
            requests_endpoint=voter.requests,
            publish_endpoint=voter.publications,
            curve_key=voter.curve_key,
        )
        for voter in voters
    ]
