"""The command, run from a copy of the checkout, with every connection beyond loopback refused."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from copies import copy_package, copy_project_files

# Every Python process of the command imports this first. It sees what Python's own sockets do.
_GUARD = r"""
import os, sys

def is_local(host):
    return host in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", b"localhost")

def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not is_local(host):
        with open(os.environ["CONNECTIONS"], "a") as log:
            log.write(f"{event} {host}\n")
        raise ConnectionRefusedError(host)

sys.addaudithook(refuse)
"""


class Checkout:
    """A copy of the package; `connections` tells what it has tried to reach."""

    def __init__(self, folder: Path, proxy: str) -> None:
        self.folder = folder / "checkout"
        self._guard = folder / "guard"
        self._connections = folder / "connections"
        self._proxy = proxy
        copy_package(self.folder)
        self._guard.mkdir()
        (self._guard / "sitecustomize.py").write_text(_GUARD)
        self._connections.touch()

    def add_files_of_the_project(self) -> None:
        """Makes a checkout of it: with what the package is built from."""
        copy_project_files(self.folder)

    def run(
        self, *arguments: str, command: tuple[str, ...] = ("-m", "pipeline")
    ) -> subprocess.CompletedProcess[str]:
        """Runs Python with a command, by default that of the package, and its arguments."""
        process = self.start(*arguments, command=command)
        try:
            # What waits for a service waits for minutes.
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def start(
        self, *arguments: str, command: tuple[str, ...] = ("-m", "pipeline")
    ) -> subprocess.Popen[str]:
        """Starts the same, and does not wait for its end."""
        return subprocess.Popen(
            [sys.executable, *command, *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(self._guard), str(self.folder)]),
                "CONNECTIONS": str(self._connections),
                "PIP_NO_INDEX": "1",
                # Sockets of gRPC's own, which Python does not see, ask the proxy.
                **dict.fromkeys(("grpc_proxy", "https_proxy", "http_proxy"), self._proxy),
                "no_proxy": "localhost,127.0.0.1,::1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def connections(self) -> str:
        """What was refused, a line for each attempt."""
        return self._connections.read_text()

    def note(self, connection: str) -> None:
        """Notes an attempt that the proxy has refused."""
        with self._connections.open("a") as log:
            log.write(f"{connection}\n")


@contextmanager
def refusing(folder: Path) -> Iterator[Checkout]:
    """Makes a copy of the package in a folder, with a proxy that refuses everything."""

    class _Proxy(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            if self.raw_requestline and self.parse_request():
                checkout.note(self.requestline)
                self.send_error(403)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        checkout = Checkout(folder, f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield checkout
        server.shutdown()
