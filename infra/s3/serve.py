"""Serve S3 from a directory: ``python -m infra.s3.serve ROOT [--port N]``.

Prints one JSON line with ``endpoint``, ``key`` and ``secret`` when it answers, then runs until SIGTERM or SIGINT.
Listens on loopback alone. The directory needs a file system with user extended attributes (ext4, xfs, tmpfs of a recent
kernel); its content is kept between runs. Needs the package ``swift``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from infra.s3 import config

READY_SECONDS = 60.0
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    """Where a running server is and how to sign in."""

    endpoint: str
    key: str = config.KEY
    secret: str = config.SECRET


class ServerError(Exception):
    """A server did not start or ended by itself; the message has the end of its log."""


@contextlib.contextmanager
def serving(root: Path, port: int = 0) -> Iterator[tuple[Server, list[subprocess.Popen[bytes]]]]:
    """Run the servers for the length of the block; ``port`` 0 takes a free one.

    Raises:
        ServerError: one of them did not start.
    """
    root = root.resolve()
    ports = _ports(port)
    config.write(root, ports)
    _rings(root, ports)
    children: list[subprocess.Popen[bytes]] = []
    try:
        for name in config.SERVERS:
            with (root / "log" / name).open("ab") as log:
                command = [_tool(f"swift-{name}-server"), str(root / "etc" / f"{name}.conf")]
                children.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        server = Server(f"http://127.0.0.1:{ports['proxy']}")
        _wait_ready(server, ports, children, root)
        yield server, children
    finally:
        _stop(children)


def _ports(proxy: int) -> dict[str, int]:
    """A free port for each server, all different. ``memcache`` names a port on which nothing listens."""
    with contextlib.ExitStack() as held:
        ports = {}
        for name in (*config.SERVERS, "memcache"):
            listener = held.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            wanted = proxy if name == "proxy" else 0
            try:
                listener.bind(("127.0.0.1", wanted))
            except OSError as error:
                raise ServerError(f"port {wanted} cannot be used: {error.strerror}") from None
            ports[name] = int(listener.getsockname()[1])
        return ports


def _tool(name: str) -> str:
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise ServerError(f"{name} is not beside {sys.executable}: pip install swift")
    return str(path)


def _rings(root: Path, ports: dict[str, int]) -> None:
    """Write the partition maps, anew at each start because the ports are."""
    pairs = [f"{name}={ports[name]}" for name in config.SERVERS if name != "proxy"]
    command = [sys.executable, "-m", "infra.s3.rings", str(root / "etc"), *pairs]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerError(f"no partition maps: {done.stderr.strip().splitlines()[-1]}")


def _wait_ready(server: Server, ports: dict[str, int], children: list[subprocess.Popen[bytes]], root: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        for name, child in zip(config.SERVERS, children, strict=True):
            if child.poll() is not None:
                log = (root / "log" / name).read_text(errors="replace")[-2000:]
                raise ServerError(f"swift-{name}-server ended with {child.returncode}: {log}")
        if all(_listening(ports[name]) for name in config.SERVERS) and _healthy(server):
            return
        time.sleep(0.1)
    raise ServerError(f"no answer from {server.endpoint} in {READY_SECONDS:.0f} s; logs are in {root / 'log'}")


def _listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _healthy(server: Server) -> bool:
    try:
        with urllib.request.urlopen(f"{server.endpoint}/healthcheck", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def asked_to_stop() -> threading.Event:
    """Set by SIGTERM or SIGINT from now on."""
    asked = threading.Event()

    def stop(signum: int, frame: FrameType | None) -> None:
        asked.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return asked


def say(what: object) -> None:
    """Print one line of JSON at once, for the process that started this one."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.s3.serve", description="Serve S3 on loopback from a directory."
    )
    parser.add_argument("root", type=Path, help="the directory that holds the objects")
    parser.add_argument("--port", type=int, default=0, help="port of the S3 endpoint; 0 takes a free one")
    arguments = parser.parse_args()
    asked = asked_to_stop()
    try:
        with serving(arguments.root, arguments.port) as (server, children):
            say(asdict(server))
            while not asked.wait(0.5):
                if any(child.poll() is not None for child in children):
                    raise ServerError(f"a server ended by itself; logs are in {arguments.root / 'log'}")
    except ServerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
