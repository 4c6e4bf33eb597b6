"""Real files: most recompose already, nothing but a Rejected ever comes out, and a mismatch is explained."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from pipelines import formats
from pipelines.errors import Rejected
from pipelines.flatten import FlattenConfig, flatten
from schemas.compositing import composite
from schemas.design import Lowering
from schemas.ledger import Code


@pytest.mark.slow
def test_the_corpus_flattens_or_says_why_not(corpus):
    config = FlattenConfig(min_layers=1, min_side=1)
    codes: Counter[Code] = Counter()
    lowerings: Counter[Lowering] = Counter()
    with (corpus / "manifest.csv").open(encoding="utf-8") as table:
        paths = [corpus / row["path"] for row in csv.DictReader(table)]
    for path in paths:
        try:
            document = formats.read(path, formats.detect(str(path)) or "", formats.ReadLimits())
            stack = flatten(document, config)
        except Rejected as rejected:
            codes[rejected.code] += 1
            assert rejected.message
            continue
        codes[Code.OK] += 1
        lowerings.update(layer.lowering for layer in stack.layers)
        assert stack.canvas.contains(stack.visible)
        assert all(stack.canvas.contains(layer.box) for layer in stack.layers)
        assert (stack.composite == composite([layer.placed for layer in stack.layers], stack.canvas)).all()
    assert sum(codes.values()) == len(paths)
    assert set(codes) <= {Code.OK, Code.RECOMPOSE_MISMATCH, Code.TOO_FEW_LAYERS, Code.UNREADABLE, Code.UNSUPPORTED}
    assert codes[Code.OK] >= 105
    assert lowerings[Lowering.EXACT] > 0.8 * lowerings.total()
