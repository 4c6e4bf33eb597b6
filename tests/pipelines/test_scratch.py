"""Working directories: removed at the end, and swept when their process was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, signal, sys
from pipelines.scratch import working_directory
with working_directory() as folder:
    (folder / "x").write_bytes(b"x")
    print(folder, flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def run(how: str, temporary: Path) -> Path:
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, env=environment, check=False
    )
    return Path(done.stdout.strip())


def test_a_killed_process_leaves_its_directory_to_the_next_one(tmp_path: Path) -> None:
    left = run("killed", tmp_path)
    assert (left / "x").is_file()
    assert left.is_relative_to(tmp_path)
    ended = run("ended", tmp_path)
    assert not ended.exists()
    assert not left.exists()
