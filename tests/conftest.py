"""What several tests share: the corpus of real files, and a real S3 server.

Both are skipped where they are missing, but never on CI: there a missing one is a failure.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# A loaded machine makes no test fail, and CI tries the same examples each time.
settings.register_profile("acetate", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("acetate")


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI is set")
    pytest.skip(what)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The directory of real PSD, PSB and ORA files with a ``manifest.csv``; ``ACETATE_CORPUS`` names another place."""
    path = Path(os.environ.get("ACETATE_CORPUS") or ROOT.parent / "shared" / "corpus")
    if not (path / "manifest.csv").is_file():
        _missing(f"no corpus at {path}")
    return path


@dataclass(frozen=True)
class S3:
    """A running S3 server. ``options`` are what fsspec needs to reach it."""

    endpoint: str
    key: str
    secret: str

    @property
    def options(self) -> dict[str, Any]:
        return {"endpoint_url": self.endpoint, "key": self.key, "secret": self.secret}

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a child process reaches the server without options."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def bucket(self) -> str:
        """Make a new bucket and give its URL, ``s3://…``."""
        import s3fs

        name = f"t{uuid.uuid4().hex[:12]}"
        s3fs.S3FileSystem(**self.options).mkdir(name)
        return f"s3://{name}"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server on loopback for the whole session, every test with buckets of its own."""
    pytest.importorskip("s3fs")
    from infra.s3.serve import ServerError, serving

    try:
        with serving(tmp_path_factory.mktemp("s3")) as (server, _):
            yield S3(server.endpoint, server.key, server.secret)
    except ServerError as error:
        _missing(f"the S3 server did not start: {error}")


@pytest.fixture
def s3_environment(s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The S3 server, reached by plain ``s3://`` URLs in this test and its child processes."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture(params=["file", "memory", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """The URL of an empty directory and its fsspec options, on each kind of store in turn."""
    make: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
        "file": lambda: (str(tmp_path / "store"), {}),
        "memory": lambda: (f"memory://{uuid.uuid4().hex}", {}),
        "s3": lambda: _on_s3(request.getfixturevalue("s3")),
    }
    return make[request.param]()


def _on_s3(server: S3) -> tuple[str, dict[str, Any]]:
    return f"{server.bucket()}/store", server.options
