"""What the report shows, mounted as ``report.*`` in a build's YAML."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class ReportConfig(BaseModel):
    """How much the report holds; nothing here changes the dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gallery: Annotated[int, Field(ge=0, le=2000, description="designs shown layer by layer")] = 60
    image_side: Annotated[int, Field(ge=64, le=4096, description="long side of a canvas in the gallery, px")] = 640
    ledger_rows: Annotated[int, Field(ge=0, le=100_000, description="inputs listed a ledger code")] = 200
    failing_ids: Annotated[int, Field(ge=0, le=100_000, description="failing ids listed an expectation")] = 50
