"""The proxy with faults before the real S3 server: it changes nothing unless told to, and then just that."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
import s3fs

from infra.s3.faults import Fault, Proxy, faulty
from tests.conftest import S3

BODY = random.Random(0).randbytes(50_000)
MIDDLE = len(BODY) // 2


def connect(server: S3, proxy: Proxy | None = None, **options: object) -> s3fs.S3FileSystem:
    endpoint = {"endpoint_url": proxy.endpoint} if proxy else {}
    return s3fs.S3FileSystem(**{**server.options, **endpoint, **options}, skip_instance_cache=True)


class Asking:
    """One plain HTTP connection through the proxy, that asks for one object with a signed URL."""

    def __init__(self, proxy: Proxy, fs: s3fs.S3FileSystem, path: str) -> None:
        self.place = urlsplit(proxy.endpoint).netloc
        self.path = f"/{path}"
        self.targets = {verb: self._sign(fs, path, verb) for verb in ("get_object", "head_object")}
        self.connection = http.client.HTTPConnection(self.place, timeout=30)

    def _sign(self, fs: s3fs.S3FileSystem, path: str, verb: str) -> str:
        url = urlsplit(fs.sign(path, client_method=verb))
        assert url.netloc == self.place
        return f"{url.path}?{url.query}"

    def ask(self, first: int | None = None, last: int | None = None, method: str = "GET") -> http.client.HTTPResponse:
        wanted = {} if first is None else {"Range": f"bytes={first}-{last}"}
        self.connection.request(method, self.targets[f"{method.lower()}_object"], headers=wanted)
        return self.connection.getresponse()

    def get(self, first: int | None = None, last: int | None = None) -> tuple[int, bytes]:
        with self.ask(first, last) as answer:
            return answer.status, answer.read()


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with faulty(s3.endpoint) as running:
        yield running


@pytest.fixture(scope="module")
def stored(s3: S3) -> str:
    """The path of an object with BODY."""
    path = f"{s3.bucket().removeprefix('s3://')}/dir/object"
    connect(s3).pipe_file(path, BODY)
    return path


@pytest.fixture
def asking(s3: S3, proxy: Proxy, stored: str) -> Iterator[Asking]:
    made = Asking(proxy, connect(s3, proxy), stored)
    with contextlib.closing(made.connection):
        yield made


def test_s3fs_finds_no_difference(s3: S3, proxy: Proxy) -> None:
    direct, through = connect(s3), connect(s3, proxy)
    root = f"{s3.bucket().removeprefix('s3://')}/a dir"
    large = random.Random(1).randbytes(11 * 2**20)
    with through.open(f"{root}/parts", "wb", block_size=5 * 2**20) as file:
        file.write(large)
    through.pipe({f"{root}/é {i}": BODY[:i] for i in range(4)})
    assert direct.cat_file(f"{root}/parts") == through.cat_file(f"{root}/parts") == large
    assert through.cat_file(f"{root}/parts", start=5_000_000, end=6_000_000) == large[5_000_000:6_000_000]
    assert through.find(root) == direct.find(root)
    through.copy(f"{root}/é 3", f"{root}/copy")
    through.rm(f"{root}/parts")
    assert sorted(direct.ls(root, refresh=True)) == sorted([f"{root}/copy", *(f"{root}/é {i}" for i in range(4))])
    assert through.cat(f"{root}/é *") == {f"{root}/é {i}": BODY[:i] for i in range(4)}
    with pytest.raises(FileNotFoundError):
        through.cat_file(f"{root}/parts")
    with pytest.raises(OSError, match=r"(?i)signature|denied|forbidden"):
        connect(s3, proxy, secret="wrong").cat_file(f"{root}/copy")
    assert proxy.total("PUT", "/parts").received == len(large)
    assert proxy.total("PUT", "/a dir/é 3").received == 3


def test_requests_are_counted_and_the_connection_is_kept(proxy: Proxy, asking: Asking) -> None:
    assert asking.get() == (200, BODY)
    kept = asking.connection.sock
    assert kept is not None
    assert asking.get(10, 19) == (206, BODY[10:20])
    with asking.ask(method="HEAD") as answer:
        assert int(answer.headers["Content-Length"]) == len(BODY)
    assert asking.connection.sock is kept
    counted = proxy.requests[("GET", asking.path)]
    assert (counted.count, counted.received, counted.sent) == (2, 0, len(BODY) + 10)
    assert proxy.total("HEAD").count == 1
    assert proxy.total(path="dir/object").count == 3
    assert proxy.total(path="elsewhere").count == 0
    proxy.forget()
    assert proxy.total().count == 0


def test_a_rule_is_for_its_path_its_method_and_so_many_times(proxy: Proxy, asking: Asking) -> None:
    proxy.add(Fault("error", "elsewhere"), Fault("error", method="PUT"), Fault("error", "object", times=2))
    assert [asking.get()[0] for _ in range(3)] == [503, 503, 200]
    proxy.add(Fault("error", status=500), Fault("error", status=429, times=1))
    assert [asking.get()[0] for _ in range(3)] == [429, 500, 500]
    assert proxy.happened == {"error": 5}
    proxy.clear()
    assert asking.get() == (200, BODY)


def test_a_fault_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="latency, slow"):
        Fault("explode")  # type: ignore[arg-type]


def test_error_and_missing_are_answers_of_s3(s3: S3, proxy: Proxy, asking: Asking, stored: str) -> None:
    proxy.add(Fault("missing"), Fault("error", method="HEAD", status=403))
    status, error = asking.get()
    assert status == 404
    assert b"<Code>NoSuchKey</Code>" in error
    with asking.ask(method="HEAD") as answer:
        assert (answer.status, answer.read()) == (403, b"")
    proxy.clear()
    proxy.add(Fault("missing", method=None))
    with pytest.raises(FileNotFoundError):
        connect(s3, proxy).cat_file(stored)
    proxy.clear()
    proxy.add(Fault("error", times=2), Fault("error", method="PUT", times=1))
    assert connect(s3, proxy).cat_file(stored) == BODY, "s3fs tries again"
    connect(s3, proxy).pipe_file(stored, BODY)
    assert proxy.total("PUT", stored).count == 2


@pytest.mark.parametrize(("at", "sent"), [(None, MIDDLE), (100, 100), (0, 0)])
def test_cut_ends_the_connection_in_the_body(proxy: Proxy, asking: Asking, at: int | None, sent: int) -> None:
    proxy.add(Fault("cut", times=1, at=at))
    with pytest.raises(http.client.IncompleteRead) as caught:
        asking.get()
    assert caught.value.partial == BODY[:sent]
    assert proxy.total().sent == sent
    asking.connection.close()
    assert asking.get() == (200, BODY)


def test_reset_is_an_error_before_any_answer(proxy: Proxy, asking: Asking) -> None:
    assert asking.get() == (200, BODY)
    proxy.add(Fault("reset", times=1))
    with pytest.raises(ConnectionResetError):
        asking.get()
    asking.connection.close()
    assert asking.get() == (200, BODY)


def test_corrupted_is_one_other_byte(proxy: Proxy, asking: Asking) -> None:
    proxy.add(Fault("corrupted"))
    _, got = asking.get()
    assert [i for i in range(len(BODY)) if got[i] != BODY[i]] == [MIDDLE]
    proxy.clear()
    proxy.add(Fault("corrupted", at=1000, times=1))
    assert asking.get(1001, 2000) == (206, BODY[1001:2001]), "it does not have that byte"
    assert asking.get(0, 999) == (206, BODY[:1000])
    _, got = asking.get(900, 1000)
    assert got[:100] == BODY[900:1000]
    assert got[100] != BODY[1000]
    assert asking.get(900, 1000) == (206, BODY[900:1001]), "it happened once"


def test_truncated_answers_are_well_formed(proxy: Proxy, asking: Asking) -> None:
    proxy.add(Fault("truncated"))
    assert asking.get() == (200, BODY[:MIDDLE])
    kept = asking.connection.sock
    with asking.ask(100, 199) as answer:
        assert answer.headers["Content-Range"] == f"bytes 100-149/{len(BODY)}"
        assert answer.read() == BODY[100:150]
    assert asking.connection.sock is kept


def test_a_truncated_object_is_shorter_whatever_is_asked(proxy: Proxy, asking: Asking) -> None:
    proxy.add(Fault("truncated", at=1000, method=None))
    assert asking.get() == (200, BODY[:1000])
    assert asking.get(0, 99) == (206, BODY[:100])
    with asking.ask(900, 1099) as answer:
        assert answer.headers["Content-Range"] == "bytes 900-999/1000"
        assert answer.read() == BODY[900:1000]
    status, error = asking.get(1000, 1099)
    assert status == 416
    assert b"<Code>InvalidRange</Code>" in error
    with asking.ask(method="HEAD") as answer:
        assert answer.headers["Content-Length"] == "1000"


def test_slow_takes_its_time_and_changes_nothing(proxy: Proxy, asking: Asking) -> None:
    proxy.add(Fault("slow", rate=len(BODY) / 0.5))
    began = time.monotonic()
    assert asking.get() == (200, BODY)
    assert time.monotonic() - began > 0.4


def test_latency_is_of_each_request_not_of_all_in_a_row() -> None:
    with plain(Recording) as upstream, faulty(upstream, Fault("latency", method=None, seconds=0.2)) as proxy:
        place = urlsplit(proxy.endpoint).netloc

        def get(number: int) -> float:
            began = time.monotonic()
            assert ask(place, "GET", f"/{number}") == (200, b"")
            return time.monotonic() - began

        began = time.monotonic()
        with ThreadPoolExecutor(20) as pool:
            took = list(pool.map(get, range(20)))
        assert min(took) > 0.19
        assert time.monotonic() - began < 0.2 * 20 / 2
        assert proxy.total("GET").count == 20


def test_many_at_once_and_some_that_go_away(s3: S3, proxy: Proxy, stored: str) -> None:
    fs = connect(s3, proxy)

    def one(number: int) -> None:
        asking = Asking(proxy, fs, stored)
        with contextlib.closing(asking.connection):
            if number % 4 == 0:
                asking.ask(0, 40_000).close()
            elif number % 4 == 1:
                asking.connection.send(b"GET / HT")
            else:
                assert asking.get(number, 40_000) == (206, BODY[number:40_001])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(48)))
    assert fs.cat_file(stored) == BODY


def test_what_is_not_http_ends_the_connection_alone(proxy: Proxy, asking: Asking) -> None:
    for noise in (b"\r\n\r\n", b"hello\r\n\r\n", b"\x00" * 200_000):
        address = ("127.0.0.1", urlsplit(proxy.endpoint).port or 0)
        with socket.create_connection(address, 10) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(noise)
            assert connection.recv(100) == b""
    assert asking.get() == (200, BODY)


class Recording(http.server.BaseHTTPRequestHandler):
    """Answers with the body it was sent, and keeps what it saw."""

    protocol_version = "HTTP/1.1"
    heads: ClassVar[list[str]] = []
    clients: ClassVar[set[object]] = set()

    def parse_request(self) -> bool:
        type(self).clients.add(self.client_address)
        fine = super().parse_request()
        if fine:
            type(self).heads.append(f"{self.requestline}\n{self.headers}")
        return fine

    def do_GET(self) -> None:
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def do_PUT(self) -> None:
        self.do_GET()

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def plain(handler: type[Recording]) -> Iterator[str]:
    """A small server that does as ``handler`` says."""
    handler.heads, handler.clients = [], set()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def ask(place: str, method: str, path: str, body: bytes | Iterator[bytes] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(place, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"X-One": "1"}, encode_chunked=not isinstance(body, bytes))
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_heads_arrive_as_they_were_sent_over_one_connection() -> None:
    with plain(Recording) as upstream, faulty(upstream) as proxy:
        connection = http.client.HTTPConnection(urlsplit(proxy.endpoint).netloc, timeout=30)
        with contextlib.closing(connection):
            for number in range(3):
                connection.putrequest("GET", f"/a%20b?c={number}", skip_host=True, skip_accept_encoding=True)
                connection.putheader("Host", "signed.example:1234")
                connection.putheader("x-odd-CASE", "kept ")
                connection.endheaders()
                assert connection.getresponse().read() == b""
        wanted = "GET /a%20b?c={} HTTP/1.1\nHost: signed.example:1234\nx-odd-CASE: kept \n\n"
        assert Recording.heads == [wanted.format(number) for number in range(3)]
        assert len(Recording.clients) == 1
        assert proxy.total("GET", "/a b").count == 3


def test_a_server_that_closes_idle_connections_is_no_fault() -> None:
    class Impatient(Recording):
        timeout = 0.1

    with plain(Impatient) as upstream, faulty(upstream) as proxy:
        connection = http.client.HTTPConnection(urlsplit(proxy.endpoint).netloc, timeout=30)
        with contextlib.closing(connection):
            connection.connect()
            kept = connection.sock
            for body in (b"one", None, b"two"):
                connection.request("PUT" if body else "GET", "/", body)
                assert connection.getresponse().read() == (body or b"")
                assert connection.sock is kept
                time.sleep(0.3)
        assert len(Impatient.clients) == 3


def test_chunks_pass_both_ways_and_early_refusals_too() -> None:
    class Chunked(Recording):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while size := int(self.rfile.readline(), 16):
                self.wfile.write(b"%x;note\r\n%s" % (size, self.rfile.read(size + 2)))
            self.rfile.readline()
            self.wfile.write(b"0\r\nX-Trailer: 1\r\n\r\n")

        def do_PUT(self) -> None:
            self.close_connection = True
            self.send_error(413)

    with plain(Chunked) as upstream, faulty(upstream) as proxy:
        place = urlsplit(proxy.endpoint).netloc
        assert ask(place, "POST", "/", iter([BODY, b"x", BODY])) == (200, BODY + b"x" + BODY)
        connection = http.client.HTTPConnection(place, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest("PUT", "/")
            connection.putheader("Content-Length", "1000")
            connection.endheaders()
            assert connection.getresponse().status == 413, "before the body was sent"


def test_a_server_that_is_asked_whether_to_send_is_heard() -> None:
    with plain(Recording) as upstream, faulty(upstream) as proxy:
        connection = http.client.HTTPConnection(urlsplit(proxy.endpoint).netloc, timeout=30)
        with contextlib.closing(connection):
            for body in (b"", b"one", b"", b""):
                connection.request("PUT", "/", body, {"Expect": "100-continue", "Content-Length": str(len(body))})
                assert connection.getresponse().read() == body
            connection.request("GET", "/")
            assert connection.getresponse().read() == b""


def test_a_server_that_is_not_there_is_a_bad_gateway() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with faulty(endpoint) as proxy:
        assert ask(urlsplit(proxy.endpoint).netloc, "GET", "/")[0] == 502


def test_nothing_stays_behind(s3: S3) -> None:
    before = threading.active_count()
    with faulty(s3.endpoint, Fault("latency", method=None, seconds=60)) as proxy:
        port = urlsplit(proxy.endpoint).port or 0
        waiting = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        waiting.request("GET", "/")
        while proxy.total().count == 0:
            time.sleep(0.01)
    with contextlib.closing(waiting), pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        waiting.getresponse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)
    assert threading.active_count() == before


def run(repository: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "infra.s3.faults", *arguments]
    return subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_program_says_where_it_is_and_what_it_counted(s3: S3, stored: str, repository: Path) -> None:
    program = run(repository, s3.endpoint, "--latency-ms", "100", "--fault", '{"kind": "error", "times": 1}')
    assert program.stdout is not None
    try:
        through = S3(json.loads(program.stdout.readline())["endpoint"], s3.key, s3.secret)
        began = time.monotonic()
        assert connect(through).cat_file(stored) == BODY
        assert time.monotonic() - began > 0.19
    finally:
        program.send_signal(signal.SIGTERM)
        said, complaint = program.communicate(timeout=30)
    assert (program.returncode, complaint) == (0, "")
    assert json.loads(said)["GET"] == {"count": 2, "received": 0, "sent": len(BODY)}


@pytest.mark.parametrize("arguments", [["ftp://x"], ["http://127.0.0.1:1", "--fault", '{"kind": "explode"}']])
def test_a_mistake_is_one_line(arguments: list[str], repository: Path) -> None:
    program = run(repository, *arguments)
    _, complaint = program.communicate(timeout=30)
    assert program.returncode == 1
    assert len(complaint.splitlines()) == 1
