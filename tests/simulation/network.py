"""A network that loses, repeats, reorders and delays, and whose links can be cut one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eventstore.raft.messages import Message, decode, encode
from tests.simulation.kernel import Kernel


@dataclass(slots=True)
class Weather:
    """How bad the network is. Shares of messages, 0 to 1; delays in ms."""

    loss: float = 0.0
    repeat: float = 0.0
    late: float = 0.0  # share that takes up to `late_ms`: this reorders
    late_ms: int = 400


class Network:
    """Carries messages between voters."""

    def __init__(self, kernel: Kernel, deliver: Callable[[str, Message], None]) -> None:
        self.weather = Weather()
        self._kernel = kernel
        self._deliver = deliver
        self._cut: set[tuple[str, str]] = set()
        self._sent = 0

    def send(self, sender: str, to: str, message: Message) -> None:
        """Carry a message, if fortune has it so."""
        self._sent += 1
        if self._sent % 64 == 0:  # what is said must survive being written down
            message = decode(encode(message))
        weather, rng = self.weather, self._kernel.rng
        if (sender, to) in self._cut or rng.random() < weather.loss:
            return
        self._carry(sender, to, message)
        if rng.random() < weather.repeat:
            self._carry(sender, to, message)

    def cut(self, sender: str, to: str) -> None:
        """Let nothing pass from `sender` to `to`."""
        self._cut.add((sender, to))

    def heal(self) -> None:
        """Mend every link."""
        self._cut.clear()

    def _carry(self, sender: str, to: str, message: Message) -> None:
        rng = self._kernel.rng
        delay = 1 + int(rng.random() * 5)
        if rng.random() < self.weather.late:
            delay += int(rng.random() * self.weather.late_ms)
        self._kernel.after(delay, self._arrive, sender, to, message)

    def _arrive(self, sender: str, to: str, message: Message) -> None:
        if (sender, to) not in self._cut:
            self._deliver(to, message)
