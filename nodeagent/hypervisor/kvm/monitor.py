"""Monitors of QEMU, over QMP, for callers on any thread (edge).

The library speaks asyncio, drivers block a worker's thread, and a QEMU says things unasked (a guest
shut down, a migration went on). So one thread runs an asyncio loop for all guests of the node: it
holds a connection to each monitor for as long as the QEMU lives, hears its events at once, and
watches the processes (pidfd). A worker hands it a command and waits for the answer.

A monitor socket serves one client at a time; whoever comes second waits. Hence one connection is
kept, rather than one made for each question.

What can go wrong: QEMU ends or hangs. A lost connection raises MonitorLost in whoever waits; that
the process has ended is learned from its pidfd, never guessed from the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from qemu.qmp import ExecInterruptedError, ExecuteError, QMPClient, QMPError, Runstate

from nodeagent.hypervisor.kvm.errors import MonitorFailed, MonitorLost

Arguments = Mapping[str, object]
T = TypeVar("T")
ANSWER_S = 30.0  # of a command; QEMU answers in milliseconds unless its storage hangs
_CLOSE_S = 10.0
_log = logging.getLogger(__name__)


class Event(NamedTuple):
    """What a QEMU said unasked."""

    name: str
    data: Mapping[str, object]


class Watch:
    """The thread that hears all monitors and sees processes end. Started when first needed."""

    def __init__(self, connect_s: float) -> None:
        self.connect_s = connect_s
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Its loop, running. Raises MonitorLost once it is closed."""
        with self._lock:
            if self._closed:
                raise MonitorLost("the agent ends, and hears no guests any more")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="qemu-watch", daemon=True
                )
                self._thread.start()
            return self._loop

    @property
    def closed(self) -> bool:
        """Whether it hears nothing any more."""
        return self._closed

    def run(self, work: Coroutine[object, object, T], *, timeout_s: float) -> T:
        """Run `work` on the thread and return what it returns. Raises TimeoutError, MonitorLost."""
        try:
            loop = self.loop
        except MonitorLost:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_s), loop)
        # The thread keeps the time; should it end meanwhile, nobody waits for ever.
        return future.result(timeout_s + _CLOSE_S)

    def on_end(self, pidfd: int, callback: Callable[[], None]) -> None:
        """Call `callback` on the thread once the process has ended; `pidfd` is closed then."""

        def ended() -> None:
            self.loop.remove_reader(pidfd)
            os.close(pidfd)
            callback()

        self.loop.call_soon_threadsafe(self.loop.add_reader, pidfd, ended)

    def close(self) -> None:
        """Stop hearing, once all connections are closed. The QEMUs go on."""
        with self._lock:
            loop, self._loop, self._closed = self._loop, None, True
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_end_all(), loop).result(_CLOSE_S)
            loop.call_soon_threadsafe(loop.stop)
            assert self._thread is not None
            self._thread.join()
            loop.close()


class Monitor:
    """The connection to one QEMU. `on_event` is called on the watching thread, in order."""

    def __init__(self, watch: Watch, name: str, on_event: Callable[[Event], None]) -> None:
        self._watch, self._name, self._on_event = watch, name, on_event
        self._client: QMPClient | None = None
        self._listener: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether QEMU can be spoken to."""
        return self._client is not None and self._client.runstate == Runstate.RUNNING

    def connect(self, socket: Path) -> None:
        """Connect and negotiate. Raises MonitorLost."""
        try:
            self._watch.run(self._connect(str(socket)), timeout_s=self._watch.connect_s)
        except (QMPError, OSError, TimeoutError) as failed:
            raise MonitorLost(
                f"the monitor of {self._name} does not answer: {failed}",
                hint=f"QEMU hangs, or something else has connected to {socket}",
            ) from None

    def execute(
        self, command: str, arguments: Arguments | None = None, *, timeout_s: float = ANSWER_S
    ) -> object:
        """Make QEMU carry out a command and return its answer.

        Raises MonitorFailed if it refuses, MonitorLost if it ends or does not answer in time.
        """
        return self._ask(self._execute(command, arguments), command, timeout_s)

    def send_handle(self, handle: int, command: str, arguments: Arguments) -> object:
        """Give QEMU an open file with a command that takes one: `getfd` or `add-fd`."""
        return self._ask(self._send_handle(handle, command, arguments), command, ANSWER_S)

    def post(self, command: str) -> None:
        """Send a command and do not wait for the answer. For the watching thread, too."""
        loop = self._watch.loop
        loop.call_soon_threadsafe(lambda: loop.create_task(self._post(command)))

    def close(self) -> None:
        """Disconnect; QEMU does not mind. May be called on any thread, and twice."""
        client, self._client = self._client, None
        if client is not None and not self._watch.closed:
            loop = self._watch.loop
            loop.call_soon_threadsafe(lambda: loop.create_task(self._disconnect(client)))

    def _ask(self, work: Coroutine[object, object, T], command: str, timeout_s: float) -> T:
        try:
            return self._watch.run(work, timeout_s=timeout_s)
        except ExecuteError as refused:
            raise MonitorFailed(command, refused.error.error.desc) from None
        except (ExecInterruptedError, QMPError, OSError) as lost:
            raise MonitorLost(f"{self._name}: QEMU ended during {command}: {lost}") from None
        except TimeoutError:
            raise MonitorLost(
                f"{self._name}: QEMU did not answer {command} within {timeout_s:.0f} s",
                hint="it probably hangs on its storage",
            ) from None

    async def _connect(self, socket: str) -> None:
        client = QMPClient(self._name)
        await client.connect(socket)
        self._client = client
        self._listener = asyncio.ensure_future(self._listen(client))

    async def _listen(self, client: QMPClient) -> None:
        """Hand on events until the connection ends."""
        async for message in client.events:
            data = message.get("data", {})
            assert isinstance(data, dict), message
            self._on_event(Event(str(message["event"]), data))

    async def _execute(self, command: str, arguments: Arguments | None) -> object:
        return await self._connected().execute(
            command, dict(arguments) if arguments is not None else None
        )

    async def _post(self, command: str) -> None:
        try:
            await self._execute(command, None)
        except (QMPError, OSError) as lost:
            _log.info("%s: %s: %s", self._name, command, lost)

    async def _send_handle(self, handle: int, command: str, arguments: Arguments) -> object:
        client = self._connected()
        client.send_fd_scm(handle)
        return await client.execute(command, dict(arguments))

    def _connected(self) -> QMPClient:
        if self._client is None:
            raise OSError("not connected")
        return self._client

    async def _disconnect(self, client: QMPClient) -> None:
        if self._listener is not None:
            self._listener.cancel()
        with contextlib.suppress(QMPError, OSError, EOFError):
            await client.disconnect()


async def _end_all() -> None:
    """Wait for what is being closed, and end what would go on for ever (reading)."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=1.0)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
