"""The local S3 server as a program: it says where it is, keeps what it is given, and leaves nothing running."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import s3fs

pytest.importorskip("swift")


def start(root: Path, repository: Path) -> tuple[subprocess.Popen[str], dict[str, str]]:
    command = [sys.executable, "-m", "infra.s3.serve", str(root)]
    server = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, json.loads(server.stdout.readline())


def stop(server: subprocess.Popen[str]) -> int:
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=30)
    return server.returncode


def connect(said: dict[str, str], secret: str | None = None) -> s3fs.S3FileSystem:
    return s3fs.S3FileSystem(
        endpoint_url=said["endpoint"], key=said["key"], secret=secret or said["secret"], skip_instance_cache=True
    )


def test_what_is_stored_survives_a_restart_and_nothing_keeps_running(tmp_path: Path, repository: Path) -> None:
    server, said = start(tmp_path, repository)
    try:
        fs = connect(said)
        fs.mkdir("bucket")
        fs.pipe_file("bucket/dir/name", b"kept")
        with pytest.raises(OSError, match=r"(?i)signature|denied|forbidden"):
            connect(said, secret="wrong").cat_file("bucket/dir/name")
    finally:
        assert stop(server) == 0
    place = urlsplit(said["endpoint"])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(place.hostname), int(place.port or 0)), 2)

    again, said = start(tmp_path, repository)
    try:
        assert connect(said).cat_file("bucket/dir/name") == b"kept"
        assert connect(said).find("bucket") == ["bucket/dir/name"]
    finally:
        assert stop(again) == 0


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "infra.s3.serve", str(tmp_path), "--port", port]
        done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert port in done.stderr
    assert "Traceback" not in done.stderr
