"""What is withdrawn after publication: ``revoked.parquet``, and the decisions of reviewers under ``review/``.

Both are outside the fingerprint and the index. A reader leaves such designs out and shifts nothing (DESIGN section 8).
"""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa

REVOKED_PARQUET = "revoked.parquet"
"""The one table of revoked designs, beside ``dataset.json``; no such file, no revocations."""

REVIEW = "review"
"""The directory of tables of decisions, ``review/*.parquet``, one a reviewer or a sitting."""


class Decision(StrEnum):
    """What a reviewer decided of a design; of several decisions the latest stands."""

    ACCEPT = "accept"
    REJECT = "reject"


REVOKED_SCHEMA = pa.schema(
    [
        pa.field("design_id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("revoked", pa.string(), nullable=False),
    ]
)
"""One row a design. ``revoked``: an ISO date, ``2026-05-31``."""

REVIEW_SCHEMA = pa.schema(
    [
        pa.field("design_id", pa.string(), nullable=False),
        pa.field("decision", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("decided", pa.string(), nullable=False),
    ]
)
"""One row a decision, without who made it. ``decided``: an ISO timestamp in UTC, ``2026-05-31T10:00:00Z``."""
