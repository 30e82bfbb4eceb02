"""Runs commands for whoever drives the test bed: the only way into a node (in the image).

TCP, one command for each connection. The order is one line of JSON: `argv`, and optionally `stdin`
(base64), `timeout_s`, `environment`, `directory`. The answer is one line: `status`, `stdout` and
`stderr` (base64). If the connection is closed before the answer, the command's process group gets
SIGKILL.

It listens on the interface that only the test bed's own QEMU reaches. Standard library only.
"""

import base64
import contextlib
import json
import os
import select
import signal
import socketserver
import subprocess
import threading

PORT = 2000


class Order(socketserver.StreamRequestHandler):
    """One command."""

    def handle(self) -> None:
        order = json.loads(self.rfile.readline())
        stdin = base64.b64decode(order.get("stdin", ""))
        environment = {**os.environ, **order.get("environment", {})}
        try:
            process = subprocess.Popen(
                order["argv"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=environment,
                cwd=order.get("directory", "/"),
            )
        except OSError as failed:
            self.answer(127, b"", f"{order['argv'][0]}: {failed.strerror}\n".encode())
            return
        over, tell = os.pipe()
        watch = threading.Thread(target=self.kill_if_left, args=(process.pid, over), daemon=True)
        watch.start()
        try:
            out, err = process.communicate(stdin, timeout=order.get("timeout_s", 600))
            status = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            status, err = 124, err + b"\nkilled: its time was over\n"
        # Before the answer: what it left running must not be hit when the connection is closed.
        os.close(tell)
        watch.join()
        os.close(over)
        self.answer(status, out, err)

    def answer(self, status: int, out: bytes, err: bytes) -> None:
        """Say how it ended."""
        said = {"status": status, "stdout": encoded(out), "stderr": encoded(err)}
        try:
            self.wfile.write(json.dumps(said).encode() + b"\n")
        except OSError:
            return  # nobody listens any more

    def kill_if_left(self, group: int, over: int) -> None:
        """End the command if whoever gave the order goes away before it is over."""
        readable, _, _ = select.select([self.connection, over], [], [])
        if over not in readable:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


class Commander(socketserver.ThreadingTCPServer):
    """Takes any number of connections."""

    allow_reuse_address = True
    daemon_threads = True


def encoded(data: bytes) -> str:
    """Bytes as they stand in JSON."""
    return base64.b64encode(data).decode()


if __name__ == "__main__":
    os.environ.update(
        PATH="/opt/cairn/bin:/sbin:/bin:/usr/sbin:/usr/bin", HOME="/root", LC_ALL="C.UTF-8"
    )
    Commander(("10.0.2.15", PORT), Order).serve_forever()
