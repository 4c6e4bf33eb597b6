"""Real processes for tests: the ranks of a run without a launcher."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def environment(**more: str) -> dict[str, str]:
    """That of a child: it finds the sources and belongs to no run."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        port: int = server.getsockname()[1]
        return port


def start_ranks(size: int, words: Sequence[str]) -> list[subprocess.Popen[str]]:
    """``python -W error WORDS`` as each rank of a world."""
    world = {"WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            [sys.executable, "-W", "error", *words],
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **world), stderr=subprocess.PIPE, text=True,
        )
        for rank in range(size)
    ]  # fmt: skip
