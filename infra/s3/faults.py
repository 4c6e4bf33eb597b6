"""Faults in front of an S3 server: ``python -m infra.s3.faults ENDPOINT [--port N] [--latency-ms 20]``.

An HTTP/1.1 proxy on loopback. It passes requests and answers on byte for byte (the Host header too, which is signed),
counts them, and spoils those that a rule names. As a program it prints one JSON line with its ``endpoint``, runs until
SIGTERM or SIGINT, and then prints another with what it counted. Inside a program::

    with faulty(endpoint) as proxy:
        proxy.add(Fault("cut", "shards/", times=1))
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from urllib.parse import urlsplit

from infra.s3.relay import Session
from infra.s3.rules import Fault, Rules, Tally
from infra.s3.serve import asked_to_stop, say
from infra.s3.wire import Channel

__all__ = ["Fault", "Proxy", "Tally", "faulty"]

Ready = Future[Callable[[], object]]


class Proxy(Rules):
    """A running proxy: where it is, the faults to come and the requests so far."""

    def __init__(self, endpoint: str, *faults: Fault) -> None:
        super().__init__(*faults)
        self.endpoint = endpoint


@contextlib.contextmanager
def faulty(endpoint: str, *faults: Fault, port: int = 0) -> Iterator[Proxy]:
    """Run a proxy in front of ``endpoint``, ``http://HOST:PORT``, in a thread for the length of the block.

    Raises:
        ValueError: the endpoint is not such a URL.
        OSError: its host is unknown, or ``port`` is taken (0: a free one).
    """
    place = urlsplit(endpoint)
    if place.scheme != "http" or not place.hostname:
        raise ValueError(f"the endpoint must be http://HOST:PORT, not {endpoint!r}")
    upstream = (socket.gethostbyname(place.hostname), place.port or 80)
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        listener.setblocking(False)
        proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}", *faults)
        ready: Ready = Future()
        thread = threading.Thread(target=_run, args=(proxy, listener, upstream, ready), name="s3-faults", daemon=True)
        thread.start()
        stop = ready.result()
        try:
            yield proxy
        finally:
            stop()
            thread.join()


def _run(rules: Rules, listener: socket.socket, upstream: tuple[str, int], ready: Ready) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_accept(rules, listener, upstream, ready))


async def _accept(rules: Rules, listener: socket.socket, upstream: tuple[str, int], ready: Ready) -> None:
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    ready.set_result(partial(loop.call_soon_threadsafe, this.cancel))
    sessions: set[asyncio.Task[None]] = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        session = asyncio.create_task(Session(rules, Channel(connection), upstream).run())
        sessions.add(session)
        session.add_done_callback(sessions.discard)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.s3.faults", description="Run a proxy with faults in front of an S3 server."
    )
    parser.add_argument("endpoint", help="the server, http://HOST:PORT")
    parser.add_argument("--port", type=int, default=0, help="where to listen on loopback; 0 takes a free port")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="before every request")
    parser.add_argument("--bytes-per-second", type=float, default=0.0, help="of each answer; 0 is no limit")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="JSON",
        help='a rule, such as {"kind": "cut", "path": "shards/", "times": 1}',
    )  # fmt: skip
    arguments = parser.parse_args()
    asked = asked_to_stop()
    try:
        faults = [Fault(**json.loads(text)) for text in arguments.fault]
        if arguments.latency_ms:
            faults.append(Fault("latency", method=None, seconds=arguments.latency_ms / 1000))
        if arguments.bytes_per_second:
            faults.append(Fault("slow", rate=arguments.bytes_per_second))
        with faulty(arguments.endpoint, *faults, port=arguments.port) as proxy:
            say({"endpoint": proxy.endpoint})
            asked.wait()
            say({verb: asdict(proxy.total(verb)) for verb in sorted({verb for verb, _ in proxy.requests})})
    except (ValueError, TypeError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
