"""What can go wrong in a pipeline.

PipelineError
├── UsageError      the user's mistake: the message names the remedy; exit 2
├── StoreError      a store refused a read or a write (full disk, refused put); exit 1, and the next run goes on
│   └── TruncatedError  an object is shorter than what was written
├── PublishError    the dataset cannot be published (a critical expectation failed, another build was faster); exit 1
└── Rejected        one input cannot become a sample: carries its ledger code; costs that input alone
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.ledger import Code  # the command line prints its help without the tables that come with it


class PipelineError(Exception):
    """Base of every error of this package; the message is one line that a user can act on."""


class UsageError(PipelineError):
    """A manifest, a configuration, an argument or an output directory is not usable; names the remedy."""


class StoreError(PipelineError):
    """A store refused to read or write; what was committed stays and the next run goes on."""


class TruncatedError(StoreError):
    """An object ends before the bytes that were written to it."""


class PublishError(PipelineError):
    """The dataset was made but must not or could not be published."""


class Rejected(PipelineError):  # noqa: N818 - an outcome with a ledger code, not a fault
    """One input cannot become a sample. Filtered or failed as its code says."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
