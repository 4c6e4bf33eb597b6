"""No password of a URL is written or said."""

from __future__ import annotations

from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from training.errors import TrainingError, UsageError
from training.masking import first_line, masked, shown
from training.outputs import Output
from training.streaming.source import Source

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://bucket/run", "s3://bucket/run"),
        ("a/b?c@d", "a/b?c@d"),
        ("http://me:s3cret@host/data", "http://***@host/data"),
        ("https://host/data?sig=s3cret&x=1", "https://host/data?***"),
        ("simplecache::https://me:s3@cret@host/data?sig=s3cret", "simplecache::https://***@host/data?***"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
    ],
)
def test_what_may_be_a_password_in_a_url_is_masked(text: str, said: str) -> None:
    assert shown(text) == said and masked({"data": [text]}) == {"data": [said]}


def test_what_opens_a_store_is_masked_wherever_it_is() -> None:
    assert masked({"stages": [{"storage_options": SECRET}]}) == {"stages": [{"storage_options": "***"}]}


def test_an_error_is_one_line_without_passwords() -> None:
    error = OSError("404, url='https://me:s3cret@host/x?sig=s3cret', again\nand more")
    assert first_line(error) == "404, url='https://***@host/x?*** again"
    assert first_line(OSError()) == "OSError"


class Refusing(MemoryFileSystem):
    """A store that names the URL in what it raises, as HTTP clients do."""

    protocol = "refusing"
    store: dict[str, Any] = {}  # noqa: RUF012 - as its base has it

    def _refuse(self, path: str, *_: Any, **__: Any) -> Any:
        raise PermissionError(f"403 for refusing://me:{SECRET}@host{path}")

    cat_file = pipe_file = ls = info = find = _refuse


@pytest.fixture
def url() -> str:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    return f"refusing://me:{SECRET}@host/run"


def test_no_error_of_a_store_has_its_password(url: str) -> None:
    source, output = Source(url), Output(url)
    calls = [
        lambda: source.read("name"),
        lambda: source.read("../name"),
        lambda: source.names("folder"),
        lambda: output.write("name", b""),
        lambda: output.sizes("folder"),
    ]
    for call in calls:
        with pytest.raises(TrainingError, match=r"refusing://\*\*\*@host") as error:
            call()
        assert SECRET not in str(error.value)
    assert SECRET not in repr(source)


def test_a_url_that_cannot_be_used_keeps_its_password() -> None:
    with pytest.raises(UsageError, match=r"cannot use 'nowhere://\*\*\*@host/run'") as error:
        Output(f"nowhere://me:{SECRET}@host/run")
    assert SECRET not in str(error.value)
