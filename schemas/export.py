"""The JSON Schema of the design record, for readers in other languages: ``python -m schemas.export`` writes it.

The file ``schemas/design.schema.json`` is part of the package and versioned with ``SCHEMA_VERSION``.
"""

from __future__ import annotations

import json
from pathlib import Path

from schemas import SCHEMA_VERSION
from schemas.design import Design

DESIGN_SCHEMA = Path(__file__).with_name("design.schema.json")


def design_schema() -> str:
    """JSON Schema (draft 2020-12) of the stored form of ``Design``, with a newline at the end."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:acetate:design:{SCHEMA_VERSION}",
        **Design.model_json_schema(by_alias=True, mode="validation"),
    }
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DESIGN_SCHEMA.write_text(design_schema(), encoding="utf-8")
