"""What can go wrong in training.

TrainingError
├── UsageError      the user's mistake (a setting, a dataset that is not one, a state of other data); exit 2
├── NonFiniteError  a loss or a gradient is not finite: names the designs; the weights were not touched
├── RemoteError     another rank failed: names it and its message; or it is gone
│   └── RemoteUsageError    with the user's mistake, so it is a UsageError too
└── StreamError     the data cannot be delivered
    ├── ReadError       the store refused, or an object is gone or shorter than the index says: names its URL
    ├── DamageError     bytes that are not those the index or the record promises: names URL and expected hash
    └── WorkerError     a worker process ended by itself: names the micro-batch it had
"""


class TrainingError(Exception):
    """Base of every error of this package; the message is one line that a user can act on."""


class UsageError(TrainingError):
    """A setting, a dataset or a state cannot be used; the message names the remedy."""


class NonFiniteError(TrainingError):
    """A loss or a gradient is not finite; the weights are as they were before the step."""


class RemoteError(TrainingError):
    """Another rank of this run failed, the message is ``rank 3: ...`` with its own; or it is gone without a word."""


class RemoteUsageError(RemoteError, UsageError):
    """Another rank of this run found the user's mistake."""


class StreamError(TrainingError):
    """The data cannot be delivered."""


class ReadError(StreamError):
    """A store refused a read, or an object is missing or too short."""


class DamageError(StreamError):
    """Bytes differ from what the index or the record promises. ``key`` is the sample's, where it is known."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class WorkerError(StreamError):
    """A worker process ended by itself."""
