"""The data contract: designs, samples, index and ledger rows, datasets, and what a layer stack means.

Imports nothing of the other packages, no ray and no torch: a reader needs this package alone.
"""

from typing import Literal

SCHEMA_VERSION: Literal[1] = 1
