"""Decoding of samples: what a micro-batch holds is what its records and pictures say, task by task."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model.placement import to_pixels
from model.tasks import LAYOUTS, RESTYLE_PROMPT
from schemas import images
from schemas.compositing import Rgba, composite_fast
from schemas.design import Grouping, LayerKind, RestylePair, Size
from schemas.geometry import Box
from schemas.grouping import merge_parts
from schemas.images import Codec
from schemas.sample import RECORD, Sample
from tests.pipelines.dataset_builder import make_sample, with_design, with_member
from training.errors import DamageError, UsageError
from training.streaming import draws, layout
from training.streaming.config import PlanConfig, Task
from training.streaming.decode import make_decoder
from training.streaming.jobs import Arrays, Decoded, Item, Job, Loaded
from training.streaming.pixels import DONOR_WITHDRAWN, PixelDecoder

SEED, EPOCH = 5, 2
DONOR = "ab" * 16


def config(resolution: int = 64, token_px: int = 16, **settings: Any) -> PlanConfig:
    return PlanConfig(resolution=resolution, token_px=token_px, **settings)


def filled(value: int) -> Any:
    def allocate(wanted: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> Arrays:
        made = {name: np.empty(shape, dtype) for name, (shape, dtype) in wanted.items()}
        for array in made.values():
            array.view(np.uint8).fill(value)
        return made

    return allocate


def loaded(sample: Sample, task: Task, settings: PlanConfig, partition: int = -1) -> Loaded:
    """The sample as it is read for ``task``: the members that the decoder asks for, the tokens that were planned."""
    design = sample.design
    subset = draws.draw_subset(design, task, SEED, EPOCH)
    _, regions = layout.regions(design, task, partition, subset, settings)
    tokens = sum(region.tokens for region in regions)
    names = [RECORD, *sample.members]
    wanted = PixelDecoder(settings, SEED, frozenset()).members(names, task)
    members = {name: memoryview(sample.members.get(name) or design.to_json()) for name in wanted}
    return Loaded(Item(design.design_id, task, partition, tokens, "a.tar", ()), members)


def decoded(
    read: Iterable[Loaded], settings: PlanConfig, *, fill: int = 0xAA, threads: int = 1, withdrawn: str = ""
) -> Decoded:
    decoder = make_decoder("pixels", settings, SEED, frozenset([withdrawn]), threads=threads)
    return decoder.decode(Job(EPOCH, 0), list(read), filled(fill))


def pictures(result: Decoded, settings: PlanConfig) -> list[tuple[Rgba, Box]]:
    """The images of the regions and their boxes in px."""
    t, arrays = settings.token_px, result.arrays
    out = []
    for start, stop, box in zip(arrays["starts"], arrays["starts"][1:], arrays["boxes"] * t, strict=False):
        place = Box(*(int(side) for side in box))
        out.append((arrays["pixels"][start * t * t : stop * t * t].reshape(place.height, place.width, 4), place))
    return out


def overflowing(seed: int = 3, side: int = 64, layers: int = 4) -> Sample:
    """``make_sample`` moved by odd px on a canvas that reaches out on all sides, its composite drawn to the rim."""
    sample = make_sample(seed, side=side, layers=layers)
    design = sample.design
    dx, dy = 21, 13
    canvas = Size(width=design.canvas.width + 40, height=design.canvas.height + 30)
    moved = tuple(layer.model_copy(update={"box": layer.box.shift(dx, dy)}) for layer in design.layers)
    visible = design.visible.shift(dx, dy)
    groupings = (Grouping(seed=1, parts=((0,), tuple(range(1, layers)))),)
    made = with_design(sample, canvas=canvas, layers=moved, visible=visible, groupings=groupings)
    whole = np.full((canvas.height, canvas.width, 4), (255, 0, 0, 255), np.uint8)  # red out of the visible box
    whole[visible.slices] = (0, 128, 0, 255)
    return with_member(made, "composite.webp", images.encode(whole))


def without_background(sample: Sample) -> Sample:
    first = sample.design.layers[0].model_copy(update={"kind": LayerKind.SHAPE})
    return with_design(sample, layers=(first, *sample.design.layers[1:]))


def everything() -> list[tuple[Sample, Task, int]]:
    samples = [overflowing(), make_sample(1, side=57, layers=3), without_background(make_sample(2, side=80, layers=4))]
    out = [(sample, task, -1) for sample in samples for task in Task]
    return [*out, (samples[0], Task.IMAGE_TO_LAYERS, 0)]


@pytest.mark.parametrize("token_px", [16, 8, 5])
def test_at_scale_one_the_layers_are_the_stored_pixels(token_px: int) -> None:
    sample, settings = overflowing(), config(64, token_px)
    result = decoded([loaded(sample, Task.TEXT_TO_LAYERS, settings)], settings)
    assert result.arrays["scale"].tolist() == [1.0]
    shift = result.arrays["visible"][0, :2].astype(int) - sample.design.visible[:2]
    views = pictures(result, settings)[1:]
    for layer, (view, place) in zip(sample.design.layers, views, strict=True):
        inside = layer.box.shift(int(shift[0]), int(shift[1])).within(place)
        assert np.array_equal(view[inside.slices], sample.layer(layer.index))
        assert view.astype(np.int64).sum() == sample.layer(layer.index).astype(np.int64).sum()


def test_every_byte_is_written_and_threads_change_nothing() -> None:
    settings = config(96)
    read = [loaded(sample, task, settings, partition) for sample, task, partition in everything()]
    first, second, third = (
        decoded(read, settings, fill=fill, threads=threads) for fill, threads in ((0xAA, 1), (0x55, 1), (0, 2))
    )
    assert first.keys == tuple(one.item.key for one in read)
    assert first.prompts == second.prompts == third.prompts
    for name, array in first.arrays.items():
        assert np.array_equal(array, second.arrays[name]), name
        assert np.array_equal(array, third.arrays[name]), name


def test_the_arrays_describe_the_regions() -> None:
    settings = config(50, 8)
    read = [loaded(sample, task, settings, partition) for sample, task, partition in everything()]
    arrays = decoded(read, settings).arrays
    found = []
    for number, (one, (sample, task, partition)) in enumerate(zip(read, everything(), strict=True)):
        subset = draws.draw_subset(sample.design, task, SEED, EPOCH)
        placement, regions = layout.regions(sample.design, task, partition, subset, settings)
        assert arrays["starts"][arrays["design"].searchsorted(number)] == sum(r.item.tokens for r in read[:number])
        assert arrays["canvas"][number].tolist() == placement.canvas[0].tolist()
        exact = to_pixels(np.array([sample.design.visible]), np.zeros(1, np.int64), placement)[0]
        assert arrays["visible"][number].tolist() == exact.tolist()
        size = arrays["visible"][number, 2:] - arrays["visible"][number, :2]
        assert size.prod() == pytest.approx(50**2, rel=1e-5)
        assert one.item.tokens == sum(region.tokens for region in regions)
        found += [(number, region) for region in regions]
    assert arrays["design"].tolist() == [number for number, _ in found]
    assert arrays["boxes"].tolist() == [list(region.box) for _, region in found]
    assert arrays["layer"].tolist() == [region.layer for _, region in found]
    assert arrays["clean"].tolist() == [region.clean for _, region in found]
    assert arrays["condition"].tolist() == [region.condition for _, region in found]
    assert len(arrays["pixels"]) == arrays["starts"][-1] * 64


@pytest.mark.parametrize("resolution", [64, 100, 37])
@pytest.mark.parametrize("task", [Task.TEXT_TO_LAYERS, Task.ADD_LAYER, Task.RESTYLE])
def test_the_composed_image_is_the_over_of_the_given_layers(task: Task, resolution: int) -> None:
    settings = config(resolution)
    for sample in (overflowing(), without_background(overflowing(4)), make_sample(8, side=57)):
        result = decoded([loaded(sample, task, settings)], settings)
        (composed, canvas), *layers = pictures(result, settings)
        given = result.arrays["clean"][1:] | (task is Task.TEXT_TO_LAYERS)
        shown = [
            layer
            for layer, seen, cond in zip(layers, given, result.arrays["condition"][1:], strict=True)
            if seen and not cond
        ]
        assert len(shown) < len(layers) or task is Task.TEXT_TO_LAYERS
        assert np.array_equal(composed, composite_fast(shown, canvas))
        assert composed.any() == any(view.any() for view, _ in shown)


@pytest.mark.parametrize("resolution", [64, 45, 120])
def test_the_image_of_image_to_layers_shows_nothing_out_of_the_visible_box(resolution: int) -> None:
    sample, settings = overflowing(), config(resolution)
    result = decoded([loaded(sample, Task.IMAGE_TO_LAYERS, settings)], settings)
    composed, place = pictures(result, settings)[0]
    assert not composed[..., 0].any()
    x0, y0, x1, y1 = (result.arrays["visible"][0] - [place.x0, place.y0] * 2).tolist()
    assert (x0, y0) == (0, 0)
    assert not composed[int(np.ceil(y1)) :].any() and not composed[:, int(np.ceil(x1)) :].any()
    assert (composed[: int(y1), : int(x1)] == (0, 128, 0, 255)).all()


@pytest.mark.parametrize("task", [Task.TEXT_TO_RGB, Task.TEXT_TO_RGBA])
def test_a_picture_alone_is_that_of_image_to_layers_to_be_made(task: Task) -> None:
    sample, settings = overflowing(), config(45)
    given = decoded([loaded(sample, Task.IMAGE_TO_LAYERS, settings)], settings)
    made = decoded([loaded(sample, task, settings)], settings)
    assert made.arrays["layer"].tolist() == [0] and made.arrays["clean"].tolist() == [False]
    (theirs, at), (ours, place) = pictures(given, settings)[0], pictures(made, settings)[0]
    assert place == at and np.array_equal(ours, theirs)


def test_a_partition_is_merged_at_full_size() -> None:
    sample, settings = overflowing(), config(64)
    result = decoded([loaded(sample, Task.IMAGE_TO_LAYERS, settings, 0)], settings)
    view, place = pictures(result, settings)[-1]
    assert len(result.arrays["layer"]) == 3
    merged, box = merge_parts(sample.placed(), sample.design.groupings[0])[1]
    shift = result.arrays["visible"][0, :2].astype(int) - sample.design.visible[:2]
    inside = box.shift(int(shift[0]), int(shift[1])).within(place)
    assert np.array_equal(view[inside.slices], merged)


def test_a_missing_background_is_transparent_and_fills_the_visible_box() -> None:
    settings = config(64)
    sample = without_background(overflowing())
    result = decoded([loaded(sample, Task.TEXT_TO_LAYERS, settings)], settings)
    view, _ = pictures(result, settings)[1]
    assert view.shape == (64, 64, 4) and not view.any()
    assert result.arrays["layer"].tolist() == [0, 1, 2, 3, 4, 5]


def test_restyle_shows_condition_and_target_at_the_same_place() -> None:
    sample, settings = make_sample(3, side=64, layers=3), config(64)
    result = decoded([loaded(sample, Task.RESTYLE, settings)], settings)
    assert result.arrays["condition"].tolist() == [False] * 4 + [True]
    assert result.arrays["clean"].tolist() == [True, True, False, True, True]
    views = pictures(result, settings)
    (target, place), (condition, at) = views[2], views[4]
    assert place == at and np.array_equal(target[..., 3], condition[..., 3])
    assert np.array_equal(condition[..., :3], np.where(target[..., 3:] > 0, target[..., 2::-1], condition[..., :3]))
    assert result.prompts == (RESTYLE_PROMPT,)


def with_pairs(sample: Sample, donors: dict[int, str | None]) -> Sample:
    pairs = tuple(RestylePair(layer=layer, method="donor", donor=donor) for layer, donor in donors.items())
    made = with_design(sample, restyles=pairs)
    for layer in donors:
        made = with_member(made, f"restyle_{layer:02d}.webp", images.encode(sample.layer(layer)))
    return made


def test_a_pair_of_a_withdrawn_donor_is_left_out() -> None:
    settings = config(64)
    both = with_pairs(make_sample(1, layers=4), {1: DONOR, 2: None})
    lone = with_pairs(make_sample(2, layers=4), {1: DONOR})
    read = [loaded(sample, Task.RESTYLE, settings) for sample in (both, lone)]
    whole, less = decoded(read, settings), decoded(read, settings, withdrawn=DONOR)
    assert not whole.holes and len(whole.keys) == 2
    assert less.keys == (both.design.design_id,)
    assert list(less.holes) == [(lone.design.design_id, DONOR_WITHDRAWN)]
    assert less.arrays["clean"].tolist() == [True, True, True, False, True, True]
    assert decoded(read[1:], settings, withdrawn=DONOR).arrays["starts"].tolist() == [0]


def test_png_members_are_the_same() -> None:
    sample, settings = overflowing(), config(50)
    members = {
        name.replace("webp", "png"): images.encode(images.decode(d), Codec.PNG) for name, d in sample.members.items()
    }
    for task in Task:
        one = decoded([loaded(sample, task, settings)], settings)
        other = decoded([loaded(replace(sample, members=members), task, settings)], settings)
        assert np.array_equal(one.arrays["pixels"], other.arrays["pixels"])


@pytest.mark.parametrize(
    ("task", "extra"),
    [
        (Task.TEXT_TO_LAYERS, set()),
        (Task.ADD_LAYER, set()),
        (Task.IMAGE_TO_LAYERS, {"composite.webp"}),
        (Task.RESTYLE, {"restyle_01.webp"}),
        (Task.TEXT_TO_RGB, {"composite.webp"}),
        (Task.TEXT_TO_RGBA, {"composite.webp"}),
    ],
)
def test_only_the_members_of_the_task_are_read(task: Task, extra: set[str]) -> None:
    names = [RECORD, *make_sample(0).members, "latents.safetensors", "note.txt"]
    layers = {"layer_00.webp", "layer_01.webp", "layer_02.webp"} if LAYOUTS[task].layers else set()
    wanted = {RECORD} | layers | extra
    assert set(PixelDecoder(config(), SEED, frozenset()).members(names, task)) == wanted


def changed(read: Loaded, members: Mapping[str, bytes | None] | None = None, **item: Any) -> Loaded:
    kept = {**read.members, **(members or {})}
    return Loaded(replace(read.item, **item), {name: data for name, data in kept.items() if data is not None})


def lying(sample: Sample) -> bytes:
    layer = sample.design.layers[1]
    wider = layer.model_copy(update={"box": Box(0, 0, *layer.box[2:])})
    layers = (sample.design.layers[0], wider, *sample.design.layers[2:])
    return sample.design.model_copy(update={"layers": layers}).to_json()


def without_pairs(sample: Sample) -> bytes:
    return with_design(sample, restyles=()).design.to_json()


def one_layer(sample: Sample) -> bytes:
    return with_design(sample, layers=sample.design.layers[:1], groupings=(), restyles=()).design.to_json()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r, s: changed(r, tokens=r.item.tokens + 1), "tokens, its index"),
        (lambda r, s: changed(r, {RECORD: lying(s)}), "tokens, its index|its record says"),
        (lambda r, s: changed(r, {RECORD: make_sample(9).design.to_json()}), "holds the record of"),
        (lambda r, s: changed(r, {RECORD: b"{}"}), "Design: "),
        (lambda r, s: changed(r, {RECORD: None}), "no record"),
        (lambda r, s: changed(r, {"layer_01.webp": None}), "no member 'layer_01'"),
        (lambda r, s: changed(r, {"layer_01.webp": b"RIFF"}), "layer_01.webp: damaged image"),
        (lambda r, s: changed(r, {"layer_01.webp": s.members["layer_00.webp"]}), "its record says"),
        (lambda r, s: changed(r, {RECORD: without_pairs(s)}, task=Task.RESTYLE), "has no layer for restyle"),
        (lambda r, s: changed(r, {RECORD: one_layer(s)}, task=Task.ADD_LAYER), "has no layer for add-layer"),
        (lambda r, s: changed(r, partition=7, task=Task.IMAGE_TO_LAYERS), "grouping 7"),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_damage_names_the_design_in_one_line(spoil: Any, message: str, threads: int) -> None:
    sample, settings = make_sample(0, layers=4), config(64)
    read = spoil(loaded(sample, Task.TEXT_TO_LAYERS, settings), sample)
    with pytest.raises(DamageError, match=message) as caught:
        decoded([read], settings, threads=threads)
    assert caught.value.key == sample.design.design_id
    assert sample.design.design_id in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_is_drawn_once_a_damaged_picture_was_told() -> None:
    settings = config(256)
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 4), dtype=np.uint8)
    sample, whole = make_sample(0, layers=3), Box(0, 0, 1024, 1024)
    layers = tuple(layer.model_copy(update={"box": whole}) for layer in sample.design.layers)
    large = with_design(sample, layers=layers, canvas=Size(width=1024, height=1024), visible=whole, groupings=())
    for index in range(3):
        large = with_member(large, f"layer_{index:02d}.webp", images.encode(noise, effort=0))
    read = changed(loaded(large, Task.TEXT_TO_LAYERS, settings), {"layer_00.webp": b"RIFF"})
    made: Arrays = {}

    def allocate(wanted: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> Arrays:
        made.update(filled(0)(wanted))
        return made

    decoder = make_decoder("pixels", settings, SEED, frozenset(), threads=3)
    with pytest.raises(DamageError, match="layer_00"):
        decoder.decode(Job(EPOCH, 0), [read], allocate)
    made["pixels"][...] = 0x55  # the memory is another micro-batch's now
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline and (made["pixels"] == 0x55).all():
        time.sleep(0.02)
    assert (made["pixels"] == 0x55).all()


def test_decoders_by_name() -> None:
    assert isinstance(make_decoder("pixels", config(), 0, frozenset(), threads=2), PixelDecoder)
    assert isinstance(make_decoder("training.streaming.pixels:PixelDecoder", config(), 0, frozenset()), PixelDecoder)
    for name in (
        "pixel",
        "training.streaming.pixels:Nothing",
        "no.such.module:Class",
        ":",
        "training.streaming.pixels",
        "json:loads",
        "os:path",
        "json:JSONDecoder",
    ):
        with pytest.raises(UsageError, match="give one of pixels, latents, or module:Class") as caught:
            make_decoder(name, config(), 0, frozenset())
        assert "\n" not in str(caught.value)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pixels", "pictures"):
        monkeypatch.delitem(sys.modules, f"training.streaming.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match="needs cv2; install the extra `train`"):
        make_decoder("pixels", config(), 0, frozenset())
