"""The suite: which expectations there are. Each is a class of Great Expectations over one scalar column."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.licence import LicencePolicy

_KEY = r"^[0-9a-f]{32}$"
_SHARD = r"^shards/[^/]+-[0-9]{6,}-[0-9a-f]{8}\.tar$"
_MATCH = "ExpectColumnValuesToMatchRegex"
_PRESENT = "ExpectColumnValuesToNotBeNull"
_UNIQUE = "ExpectColumnValuesToBeUnique"
_BETWEEN = "ExpectColumnValuesToBeBetween"
_IN_SET = "ExpectColumnValuesToBeInSet"
_MEAN = "ExpectColumnMeanToBeBetween"


class ExpectationsConfig(BaseModel):
    """The thresholds. ``max_mae`` and ``max_p99`` are critical, in 1/255; the layer limits and the shares only warn.

    ``splits``: the splits there may be (None: any). ``min_overflow_share``: of the designs, how many should have a
    layer that reaches out of the visible box. ``min_reusable_share``: of a design's layers, on average.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_mae: Annotated[float, Field(ge=0)] = 1.0
    max_p99: Annotated[float, Field(ge=0)] = 25.0
    min_layers: Annotated[int, Field(ge=1)] = 2
    max_layers: Annotated[int, Field(ge=1)] = 50
    splits: tuple[str, ...] | None = None
    min_overflow_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    min_reusable_share: Annotated[float, Field(ge=0, le=1)] = 0.5


@dataclass(frozen=True)
class Rule:
    """One expectation: the class of Great Expectations, its column and arguments; ``limits``: its settings."""

    name: str
    description: str
    kind: str
    column: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    critical: bool = True
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def aggregate(self) -> bool:
        """Whether it looks at the dataset as a whole rather than at each sample."""
        return self.kind == _MEAN


def suite(config: ExpectationsConfig, policy: LicencePolicy | None, today: datetime.date | None) -> list[Rule]:
    """The expectations in the order they are reported."""
    rules = [*_identity(), *_rights(policy, today), *_geometry(config), *_places(config)]
    return [*rules, *(replace(rule, critical=False) for rule in _warnings(config))]


def _identity() -> list[Rule]:
    return [
        Rule("key_present", "every sample has a key", _PRESENT, "key"),
        Rule("key_unique", "no two samples share a key", _UNIQUE, "key"),
        Rule("key_format", "a key is 32 hex digits", _MATCH, "key", {"regex": _KEY}),
        Rule("uri_present", "every sample says where it came from", _PRESENT, "uri_filled"),
        Rule("member_sizes", "no member is empty", _BETWEEN, "smallest_member", {"min_value": 1}),
    ]


def _rights(policy: LicencePolicy | None, today: datetime.date | None) -> list[Rule]:
    rules = [
        Rule("licence_present", "every sample has a licence", _PRESENT, "licence_filled"),
        Rule("licensor_present", "every sample names who licensed it", _PRESENT, "licensor_filled"),
    ]
    if policy is not None:
        rules.append(_none("licence_allowed", "the policy allows every licence", "licence_refused"))
    if today is not None:
        rules.append(_none("licence_current", "no licence has ended", "licence_ended"))
    return rules


def _geometry(config: ExpectationsConfig) -> list[Rule]:
    mae, p99 = {"max_mae": config.max_mae}, {"max_p99": config.max_p99}
    return [
        Rule(
            "recomposition_mean",
            "the mean recomposition error is within the limit",
            _BETWEEN,
            "recompose_mae",
            {"min_value": 0, "max_value": config.max_mae},
            limits=mae,
        ),
        Rule(
            "recomposition_p99",
            "no visible region is off",
            _BETWEEN,
            "recompose_p99",
            {"min_value": 0, "max_value": config.max_p99},
            limits=p99,
        ),
        _none("layer_lists", "the lists of a sample's layers have one entry a layer", "lists_disagree"),
        _none("boxes_on_canvas", "every layer's box lies on the canvas", "boxes_outside"),
        _none("visible_on_canvas", "the visible box lies on the canvas", "visible_outside"),
        Rule("overflow_range", "an overflow share is a share", _BETWEEN, "overflow_share", _range(0, 1)),
    ]


def _places(config: ExpectationsConfig) -> list[Rule]:
    rules = [
        _none("family_in_one_split", "no family lies in two splits", "family_straddles"),
        Rule("shard_name", "a shard is named split-unit-hash.tar", _MATCH, "shard", {"regex": _SHARD}),
        _none("shard_placement", "a shard's name agrees with split and unit", "misplaced"),
    ]
    if config.splits is not None:
        splits = list(config.splits)
        limits = {"splits": splits}
        rules.append(
            Rule(
                "split_known",
                "every sample lies in a known split",
                _IN_SET,
                "split",
                {"value_set": splits},
                limits=limits,
            )
        )
    return rules


def _warnings(config: ExpectationsConfig) -> list[Rule]:
    layers = {"min_layers": config.min_layers, "max_layers": config.max_layers}
    overflow, reusable = config.min_overflow_share, config.min_reusable_share
    return [
        Rule(
            "layer_count",
            "the number of layers is within the limits",
            _BETWEEN,
            "layers",
            _range(config.min_layers, config.max_layers),
            limits=layers,
        ),
        Rule("caption_present", "every sample has a caption", _PRESENT, "caption_filled"),
        Rule("look_unique", "no two samples look the same to the perceptual hash", _UNIQUE, "phash"),
        Rule(
            "overflow_designs",
            "enough designs have layers that overflow",
            _MEAN,
            "overflows",
            {"min_value": overflow},
            limits={"min_overflow_share": overflow},
        ),
        Rule(
            "reusable_layers",
            "most layers carry no backdrop colour",
            _MEAN,
            "reusable_share",
            {"min_value": reusable},
            limits={"min_reusable_share": reusable},
        ),
    ]


def _none(name: str, description: str, column: str) -> Rule:
    return Rule(name, description, _IN_SET, column, {"value_set": [0]})


def _range(low: float, high: float) -> dict[str, Any]:
    return {"min_value": low, "max_value": high}
