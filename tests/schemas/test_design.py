"""The record of a design: what is accepted, what is refused, and that it travels unchanged."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from schemas.design import Caption, Captions, Design, Grouping, RestylePair, Text, TextRun, canonical_json
from schemas.errors import RecordError
from schemas.export import DESIGN_SCHEMA, design_schema
from tests.builders import disc, layer, make_sample, solid


def rich() -> Design:
    """A record that uses every part."""
    runs = (TextRun(text="Été ", font="DejaVuSans", size=31.5, colour="#ff0080"), TextRun(text="漢字", weight=700))
    return make_sample(
        [
            layer(solid(64, 48, "navy")),
            layer(disc(20, "red"), at=(50, 10), effects=("drop_shadow",), lowering="baked", reusable=False),
            layer(solid(10, 6, "white", 128), at=(3, 3), kind="text", text=Text(runs=runs, language="fr")),
        ],
        visible=(0, 0, 60, 48),
        captions=Captions(short={"en": Caption(text="A <b>disc</b>", source="template")}),
        groupings=(Grouping(seed=3, parts=((0,), (1, 2))),),
        restyles=(RestylePair(layer=1, method="palette", donor="0" * 32, donor_layer=4, scores={"colour": 0.25}),),
    ).design


def edited(**changes: Any) -> str:
    """The rich record as JSON with ``a.b.0=value`` changes; None removes the field."""
    tree = json.loads(rich().to_json())
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("__")]
        node = tree
        for part in parents:
            node = node[part]
        if value is None:
            del node[last]
        else:
            node[last] = value
    return json.dumps(tree)


def test_a_record_travels_through_json_unchanged() -> None:
    design = rich()
    data = design.to_json()
    assert Design.from_json(data) == design
    assert Design.from_json(data).to_json() == data
    assert design.layers[2].text is not None
    assert design.layers[2].text.content == "Été 漢字"


def test_the_spine_of_the_record_is_as_published() -> None:
    tree = json.loads(rich().to_json())
    assert tree["schema"] == 1
    assert tree["canvas"] == {"width": 70, "height": 48}
    assert tree["visible"] == [0, 0, 60, 48]
    assert [entry["index"] for entry in tree["layers"]] == [0, 1, 2]
    assert tree["layers"][1]["box"] == [50, 10, 70, 30]
    assert tree["layers"][1]["reusable"] is False
    assert "schema_version" not in tree


def test_json_is_canonical() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"é"],"b":1}'.encode()
    shuffled = json.dumps(dict(reversed(json.loads(rich().to_json()).items())), indent=3)
    assert Design.from_json(shuffled).to_json() == rich().to_json()


def test_canonical_json_refuses_numbers_that_json_has_not() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schema": 2}, "schema"),
        ({"design_id": "xyz"}, "design_id"),
        ({"design_id": "A" * 32}, "design_id"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"layers__1__opacitee": 1}, "layers.1.opacitee"),
        ({"layers__1__opacity": 1.5}, "layers.1.opacity"),
        ({"layers__1__kind": "smart object"}, "layers.1.kind"),
        ({"layers__1__box": [-4, 0, 6, 6]}, "layers.1.box"),
        ({"layers__1__box": [60, 10, 80, 30]}, "not on the canvas"),
        ({"layers__1__index": 2}, "layer 1 has index 2"),
        ({"layers": []}, "at least one layer"),
        ({"layers__2__text__runs__0__colour": "red"}, "layers.2.text.runs.0.colour"),
        ({"layers__2__text__runs__0__size": 0}, "layers.2.text.runs.0.size"),
        ({"visible": [0, 0, 90, 48]}, "visible box"),
        ({"canvas__width": 0}, "canvas.width"),
        ({"groupings__0__parts": [[0], [1]]}, "no partition"),
        ({"groupings__0__parts": [[0, 1], [1, 2]]}, "no partition"),
        ({"restyles__0__layer": 3}, "restyle pair"),
        ({"licence": None}, "licence"),
        ({"provenance__sha256": "0" * 63}, "provenance.sha256"),
        ({"recomposition__mae": -1}, "recomposition.mae"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_in_one_line(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(RecordError) as caught:
        Design.from_json(edited(**changes))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": 1}', b'{"layers": NaN}'])
def test_damaged_json_is_a_record_error(damaged: bytes) -> None:
    with pytest.raises(RecordError):
        Design.from_json(damaged)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        rich().layers = ()


def test_the_exported_schema_is_current() -> None:
    assert DESIGN_SCHEMA.read_text(encoding="utf-8") == design_schema(), "run python -m schemas.export"


def test_the_exported_schema_accepts_records_and_refuses_others() -> None:
    schema = json.loads(design_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(json.loads(rich().to_json()))
    for wrong in ({"schema": 2}, {"layers__1__kind": "smart object"}, {"licence": None}, {"extra": 1}):
        assert not validator.is_valid(json.loads(edited(**wrong))), wrong
