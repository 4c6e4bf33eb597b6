"""Examples: what each task shows, what is drawn and from what, and what never shows through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from model.codecs.base import cut
from model.codecs.pca import PcaCodec
from model.layouts import full_canvas
from model.pictures import clip, flatten
from model.tasks import BACKGROUND, COMPOSED, FOREGROUND, LAYERED_INPUT, LAYOUTS, RESTYLE_PROMPT, Region, Task
from model.variants import Variant
from pipelines.storage import Store
from tests.training.example_batches import CANVAS, SHOWN, TOKEN_PX, VISIBLE, codec, key, micro_batch
from tests.training.small_learner import small_learner
from training.batch import MicroBatch
from training.errors import UsageError
from training.examples import WHITE, Example, ExampleConfig, References, prepare
from training.jitter import JitterConfig, reboxed
from training.noise import NoiseConfig, draw_noise
from training.stream import DesignStream

ALL = [(number, task) for number, task in enumerate(Task)]
SEEN = (0.0, 0.0, VISIBLE[2] - VISIBLE[0], VISIBLE[3] - VISIBLE[1])
"""The visible box in px of its own tokens."""
PLAIN = ExampleConfig(
    empty_prompt=0,
    no_references=0,
    coloured_ground=0,
    references=References(opaque=0, refitted=0),
    jitter=JitterConfig(share=0),
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads gain nothing on pictures of a few px, and wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(batch: MicroBatch, config: ExampleConfig = PLAIN, **options: Any) -> Example:
    return prepare(batch, codec(), config, **{"seed": 0, "device": "cpu", **options})


def regions_of(example: Example) -> list[Region]:
    regions = example.regions
    values = (regions.layer, regions.boxes, regions.clean, regions.condition)
    return [Region(layer, tuple(box), *flags) for layer, box, *flags in zip(*(v.tolist() for v in values), strict=True)]


def shown(example: Example) -> list[Tensor]:
    """The pictures of all regions, references too, as their tokens say."""
    return codec().decode(example.tokens, example.regions.sizes)


def delivered(batch: MicroBatch) -> list[Tensor]:
    corners = batch["boxes"].tolist()
    return cut(batch["pixels"], [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in corners], TOKEN_PX)


def same(one: Example, other: Example) -> bool:
    tensors = ("boxes", "layer", "design", "clean", "condition", "centre", "extent")
    return (
        (one.keys, one.tasks, one.prompts) == (other.keys, other.tasks, other.prompts)
        and all(torch.equal(getattr(one.regions, name), getattr(other.regions, name)) for name in tensors)
        and torch.allclose(one.tokens, other.tokens, atol=1e-4)
        and torch.equal(one.visible, other.visible)
    )


@pytest.mark.parametrize("task", Task)
def test_tokens_show_what_was_delivered(task: Task) -> None:
    batch = micro_batch([(1, task)], epoch=3, position=9)
    example = made(batch)
    pictures = delivered(batch)
    if task is Task.IMAGE_TO_LAYERS or task is Task.TEXT_TO_RGB:
        pictures[0] = flatten(pictures[0], WHITE)
    assert all(torch.equal(*pair) for pair in zip(shown(example), pictures, strict=True))
    assert (example.keys, example.tasks, example.epoch, example.position) == ((key(1),), (task,), 3, 9)
    assert torch.equal(example.regions.boxes, batch["boxes"].long())
    assert torch.equal(example.regions.clean, batch["clean"])
    assert example.visible.tolist() == [list(VISIBLE)]


def test_what_is_to_be_made_is_counted_design_by_design() -> None:
    example = made(micro_batch(ALL))
    for number in range(len(ALL)):
        assert int(example.target_counts[number]) == int(example.select([number]).regions.target_T.sum())
    assert example.targets == int(example.regions.target_T.sum()) == int(example.target_counts.sum())


def test_nothing_outside_the_visible_box_reaches_what_is_given() -> None:
    batch = micro_batch([(1, Task.IMAGE_TO_LAYERS)])
    column = int(VISIBLE[2] - VISIBLE[0]) + 1  # the first that is wholly outside
    for variant in (Variant.MRT, Variant.LAYERED):
        leaking = replace(batch, tensors={**batch.tensors, "pixels": batch["pixels"].clone()})
        delivered(leaking)[0][:, column:] = 200
        clean, spoilt = made(batch, variant=variant), made(leaking, variant=variant)
        assert torch.equal(clean.tokens, spoilt.tokens)
    given = shown(made(batch))[0]
    assert bool((given[:, column:] == 255).all())


def test_a_given_picture_is_opaque_on_a_drawn_ground() -> None:
    batch = micro_batch([(number, Task.IMAGE_TO_LAYERS) for number in range(12)])
    config = PLAIN.model_copy(update={"coloured_ground": 0.5})
    example = made(batch, config)
    pictures, before = shown(example), delivered(batch)
    composed = [at for at, layer in enumerate(example.regions.layer.tolist()) if layer == COMPOSED]
    grounds = [tuple(pictures[at][0, -1].tolist()) for at in composed]  # a px outside of the visible box
    assert all(alpha == 255 for *_, alpha in grounds)
    assert 2 < grounds.count((*WHITE, 255)) < 10
    for at, (*colour, _) in zip(composed, grounds, strict=True):
        red, green, blue = colour
        assert torch.equal(pictures[at], flatten(before[at], (red, green, blue)))


CHANGING = ExampleConfig(empty_prompt=0.3, no_references=0.3, coloured_ground=0.5)


def test_a_design_is_the_same_whatever_stands_beside_it() -> None:
    for epoch in range(3):
        together = made(micro_batch(ALL, epoch=epoch), CHANGING)
        for number, design in enumerate(ALL):
            assert same(together.select([number]), made(micro_batch([design], epoch=epoch), CHANGING))
        backward = list(reversed(range(len(ALL))))
        assert same(together.select(backward), made(micro_batch(ALL[::-1], epoch=epoch), CHANGING))


def test_epochs_and_seeds_draw_anew() -> None:
    batches = [micro_batch(ALL, epoch=epoch) for epoch in range(2)]
    first, later = (made(batch, CHANGING) for batch in batches)
    assert not same(first, later)
    assert not same(first, made(batches[0], CHANGING, seed=1))
    assert same(first, made(batches[0], CHANGING))


@pytest.fixture(scope="module")
def stream_codec() -> PcaCodec:
    noise = torch.randint(0, 256, (192, 192, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return PcaCodec.fit([noise], token_px=8, token_dim=16)


def streamed(store: Store, codec: PcaCodec, rank: int, world_size: int) -> dict[str, Example]:
    """The designs of a rank, each as an example of its own."""
    settings: dict[str, Any] = {"resolution": 48, "token_px": 8, "token_budget": 1000, "seed": 3}
    batches = DesignStream(store.url, rank=rank, world_size=world_size, **settings)
    examples = [prepare(batch, codec, CHANGING, seed=3, device="cpu") for batch in batches]
    return {name: one.select([number]) for one in examples for number, name in enumerate(one.keys)}


def test_a_design_is_the_same_at_every_world_size(designs: Store, stream_codec: PcaCodec) -> None:
    alone, of_three = streamed(designs, stream_codec, 0, 1), streamed(designs, stream_codec, 1, 3)
    assert len(alone) == 60
    assert 10 < len(of_three) < 30
    assert all(same(alone[name], of_three[name]) for name in of_three)
    assert len({example.tasks for example in alone.values()}) == 4


def test_an_empty_micro_batch_of_a_stream_is_an_example_of_no_design(designs: Store, stream_codec: PcaCodec) -> None:
    settings: dict[str, Any] = {"resolution": 48, "token_px": 8, "token_budget": 1000}
    rounds = len(DesignStream(designs.url, **settings))
    (batch,) = DesignStream(designs.url, **settings, rank=rounds, world_size=rounds + 1)
    streamed_none = prepare(batch, stream_codec, PLAIN, seed=0, device="cpu")
    for variant in Variant:
        example = made(micro_batch([]), variant=variant)
        for none in (example, example.select([]), streamed_none):
            assert len(none.regions) == none.targets == len(none.tokens) == 0
            assert none.target_counts.shape == (0,)
            assert none.visible.shape == (0, 4)
            assert none.regions.target_T.shape == (0,)
        assert example.tokens.shape == (0, 64)
        assert example.by_task() == {}


def test_the_designs_of_each_task_apart() -> None:
    batch = micro_batch([(0, Task.RESTYLE), (1, Task.IMAGE_TO_LAYERS), (2, Task.RESTYLE)])
    example = made(batch)
    apart = example.by_task()
    assert {task: part.keys for task, part in apart.items()} == {
        Task.RESTYLE: (key(0), key(2)),
        Task.IMAGE_TO_LAYERS: (key(1),),
    }
    assert sum(len(part.tokens) for part in apart.values()) == len(example.tokens)


def test_some_prompts_are_empty_but_that_of_restyle() -> None:
    config = PLAIN.model_copy(update={"empty_prompt": 0.3})
    designs = [(number, (Task.TEXT_TO_RGBA, Task.RESTYLE)[number % 10 == 0]) for number in range(150)]
    batch = micro_batch(designs)
    example = made(batch, config)
    pairs = list(zip(example.tasks, example.prompts, batch.prompts, strict=True))
    assert all(prompt == before for task, prompt, before in pairs if task is Task.RESTYLE)
    assert all(prompt in ("", before) for _, prompt, before in pairs)
    emptied = [prompt == "" for task, prompt, _ in pairs if task is not Task.RESTYLE]
    assert 0.2 < sum(emptied) / len(emptied) < 0.4


def test_some_designs_are_restyled_without_references() -> None:
    batch = micro_batch([(number, Task.RESTYLE) for number in range(24)])
    targets = int(made(micro_batch([(0, Task.RESTYLE)])).target_counts)
    example = made(batch, PLAIN.model_copy(update={"no_references": 0.5}))
    bare = 0
    for number in range(len(batch.keys)):
        alone = example.select([number])
        references = int(alone.regions.condition.sum())
        assert references in (0, 2)
        bare += not references
        assert alone.targets == targets
    assert 4 < bare < 20


def references(shares: dict[str, float], designs: int = 20) -> tuple[list[Tensor], list[Tensor]]:
    """The references of some designs as they were delivered, and as they are given."""
    batch = micro_batch([(number, Task.RESTYLE) for number in range(designs)])
    config = PLAIN.model_copy(update={"references": References.model_validate(shares)})
    example = made(batch, config)
    others = [at for at, region in enumerate(regions_of(example)) if not region.condition]
    before, after = delivered(batch), shown(example)
    assert all(torch.equal(before[at], after[at]) for at in others)
    rows = [at for at, region in enumerate(regions_of(example)) if region.condition]
    assert all(example.regions.clean[at] for at in rows)
    return [before[at] for at in rows], [after[at] for at in rows]


def test_a_reference_as_it_is_stored() -> None:
    assert all(torch.equal(*pair) for pair in zip(*references({"opaque": 0, "refitted": 0}), strict=True))


def test_a_reference_on_a_solid_colour() -> None:
    before, after = references({"alpha": 0, "refitted": 0})
    assert all(torch.equal(flatten(old, WHITE), new) for old, new in zip(before, after, strict=True))


def test_a_reference_of_other_proportions() -> None:
    """Contained ones leave bands at two sides, the others fill the box."""
    before, after = references({"alpha": 0, "opaque": 0}, designs=30)
    bands = 0
    for old, new in zip(before, after, strict=True):
        assert new.shape == old.shape
        empty = [not bool(new[..., 3].transpose(0, axis)[edge].any()) for axis in (0, 1) for edge in (0, -1)]
        bands += (empty[0] and empty[1]) or (empty[2] and empty[3])
    assert sum(torch.equal(*pair) for pair in zip(before, after, strict=True)) < 6
    assert 10 < bands < 50


def test_references_are_drawn_one_by_one() -> None:
    before, after = references({"alpha": 0.5, "opaque": 0.5, "refitted": 0}, designs=40)
    kinds = [torch.equal(*pair) for pair in zip(before, after, strict=True)]
    assert 25 < sum(kinds) < 55
    pairs = list(zip(kinds[::2], kinds[1::2], strict=True))
    assert any(one != other for one, other in pairs)
    with pytest.raises(ValidationError, match="all 0"):
        References(alpha=0, opaque=0, refitted=0)


def test_a_jittered_layout_decodes_to_the_same_layers() -> None:
    batch = micro_batch([(number, task) for number, task in ALL if task in (Task.IMAGE_TO_LAYERS, Task.TEXT_TO_LAYERS)])
    config = PLAIN.model_copy(update={"jitter": JitterConfig(share=1, grow=2)})
    plain, moved = made(batch), made(batch, config)
    canvas = (0, 0, *CANVAS)
    changed = set()
    rows = zip(regions_of(plain), regions_of(moved), shown(plain), shown(moved), moved.regions.design, strict=True)
    for old, new, before, after, design in rows:
        assert torch.equal(reboxed(before, old.box, canvas, TOKEN_PX), reboxed(after, new.box, canvas, TOKEN_PX))
        if new.box != old.box:
            changed.add((moved.tasks[int(design)], new.layer >= FOREGROUND))
    assert changed == {(Task.IMAGE_TO_LAYERS, True)}


@pytest.mark.parametrize("variant", Variant)
def test_an_evaluation_has_no_augmentation(variant: Variant) -> None:
    all_on = ExampleConfig(
        empty_prompt=1,
        no_references=1,
        coloured_ground=1,
        references=References(alpha=0, opaque=1, refitted=1),
        jitter=JitterConfig(share=1, grow=1, shrink=1),
    )
    known = {Variant.MRT: ALL, Variant.ART: ALL[:1], Variant.LAYERED: [ALL[0], ALL[1], *ALL[4:]]}[variant]
    batch = micro_batch(known)
    evaluated = made(batch, all_on, variant=variant, evaluation=True)
    assert same(evaluated, made(batch, variant=variant))
    assert evaluated.prompts == batch.prompts
    assert not same(evaluated, made(batch, all_on, variant=variant))


def test_art_crops_the_tokens_of_whole_layers_to_the_picture() -> None:
    batch = micro_batch([(1, Task.TEXT_TO_LAYERS), (2, Task.TEXT_TO_LAYERS)])
    whole, art = made(batch), made(batch, variant=Variant.ART)
    width, height = SHOWN[2] - SHOWN[0], SHOWN[3] - SHOWN[1]
    assert art.visible.tolist() == [list(SEEN)] * 2
    assert art.target_counts.tolist() == art.regions.lengths
    everywhere, cropped = (zip(regions_of(one), shown(one), strict=True) for one in (whole, art))
    before = [(reboxed(drawn, region.box, SHOWN, TOKEN_PX), region) for region, drawn in everywhere]
    kept = [drawn for drawn, region in before if region.box[0] < SHOWN[2] and region.box != (8, 6, 10, 8)]
    after = [reboxed(drawn, region.box, (0, 0, width, height), TOKEN_PX) for region, drawn in cropped]
    assert [region.layer for region in regions_of(art)] == [0, 1, 2, 3, 4] * 2
    assert all(torch.equal(*pair) for pair in zip(kept, after, strict=True))


def within(drawn: Tensor, region: Region) -> Tensor:
    return clip(reboxed(drawn, region.box, SHOWN, TOKEN_PX), SEEN)


def layered(task: Task) -> tuple[Example, list[tuple[Region, Tensor]], list[Tensor]]:
    """As Layered has it: the example, its regions with their pictures, and what was delivered in the visible box."""
    batch = micro_batch([(1, task)])
    example = made(batch, variant=Variant.LAYERED)
    assert example.visible.tolist() == [list(SEEN)]
    inside = [within(drawn, region) for drawn, region in zip(delivered(batch), regions_of(made(batch)), strict=True)]
    return example, list(zip(regions_of(example), shown(example), strict=True)), inside


@pytest.mark.parametrize("task", [Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS])
def test_layered_has_layers_as_large_as_the_picture(task: Task) -> None:
    example, rows, inside = layered(task)
    size = SHOWN[3] - SHOWN[1], SHOWN[2] - SHOWN[0]
    expected = full_canvas(4, size)
    assert [region for region, _ in rows] == (expected if LAYOUTS[task].composed_clean else expected[:-1])
    seen = [inside[0], inside[BACKGROUND], *inside[2:4], inside[5]]  # the others lie outside of the visible box
    assert all(torch.equal(drawn, wanted) for (_, drawn), wanted in zip(rows, seen, strict=False))
    if task is Task.IMAGE_TO_LAYERS:
        region, given = rows[-1]
        assert (region.layer, region.clean) == (LAYERED_INPUT, True)
        assert torch.equal(given, flatten(inside[0], WHITE))
    assert example.targets == 5 * size[0] * size[1]


@pytest.mark.parametrize("task", [Task.TEXT_TO_RGB, Task.TEXT_TO_RGBA])
def test_layered_learns_pictures_alone(task: Task) -> None:
    _, rows, inside = layered(task)
    ((region, drawn),) = rows
    assert region == Region(COMPOSED, (0, 0, 6, 6))
    assert torch.equal(drawn, flatten(inside[0], WHITE) if task is Task.TEXT_TO_RGB else inside[0])


FRAMED = PLAIN.model_copy(update={"overflow": False})
MOVED_DOWN = {0: 0, 1: 1, 2: 2, 3: 3, 5: 4}
"""The layers that are seen, with their numbers where the others are left out."""


def of_picture(region: Region) -> Region:
    """A region as it is where the picture is all there is."""
    x0, y0, x1, y1 = SHOWN
    left, top, right, bottom = region.box
    box = max(left, x0) - x0, max(top, y0) - y0, min(right, x1) - x0, min(bottom, y1) - y0
    return replace(region, layer=MOVED_DOWN[region.layer], box=box)


@pytest.mark.parametrize("evaluation", [False, True])
@pytest.mark.parametrize("task", Task)
def test_without_overflow_the_picture_is_all_there_is(task: Task, evaluation: bool) -> None:
    batch = micro_batch([(1, task)])
    whole, framed = (made(batch, config, evaluation=evaluation) for config in (PLAIN, FRAMED))
    kept = [
        (region, drawn)
        for region, drawn in zip(regions_of(whole), shown(whole), strict=True)
        if region.layer in MOVED_DOWN
    ]
    assert regions_of(framed) == [of_picture(region) for region, _ in kept]
    assert framed.visible.tolist() == [list(SEEN)]
    size = (0, 0, SHOWN[2] - SHOWN[0], SHOWN[3] - SHOWN[1])
    for (before, old), after, new in zip(kept, regions_of(framed), shown(framed), strict=True):
        # On a ground, the picture is as it was: opaque beyond the visible box too, where it has tokens.
        opaque = before.layer == COMPOSED and task in (Task.IMAGE_TO_LAYERS, Task.TEXT_TO_RGB)
        assert torch.equal(reboxed(new, after.box, size, TOKEN_PX), old if opaque else within(old, before))
    layers = LAYOUTS[task].layers
    assert (framed.regions.tokens < whole.regions.tokens) is layers
    # Text begins past the picture, wherever the canvas ended.
    assert int(framed.regions.extent) == max(3, len({region.layer for region in regions_of(framed)}))


def test_without_overflow_a_jittered_layout_stays_in_the_picture() -> None:
    batch = micro_batch([(number, Task.IMAGE_TO_LAYERS) for number in range(8)])
    config = FRAMED.model_copy(update={"jitter": JitterConfig(share=1, grow=2)})
    plain, moved = made(batch, FRAMED), made(batch, config)
    assert moved.targets > plain.targets
    assert all(min(region.box) >= 0 and max(region.box) <= 6 for region in regions_of(moved))


def test_without_overflow_a_background_outside_is_transparent_and_references_go_with_their_layers() -> None:
    batch = micro_batch([(1, Task.RESTYLE)])
    boxes, layer = batch["boxes"].clone(), batch["layer"].tolist()
    boxes[layer.index(BACKGROUND)] = torch.tensor([0, 1, 2, 7], dtype=torch.int32)
    width = SHOWN[3] - SHOWN[1]
    outside = boxes_filled(batch, boxes)
    example = made(outside, FRAMED)
    background = regions_of(example).index(Region(BACKGROUND, (0, 0, 6, width), clean=True))
    assert not shown(example)[background].any()
    # Layers 2 and 5 are restyled, the latter as number 4.
    assert [region.layer for region in regions_of(example) if region.condition] == [2, 4]
    assert [region.layer for region in regions_of(example) if not region.clean] == [2, 4]


def boxes_filled(batch: MicroBatch, boxes: Tensor) -> MicroBatch:
    """A micro-batch with other boxes, of any size, opaque in one colour."""
    tokens = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).long()
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), tokens.cumsum(0)])
    pixels = torch.full((int(starts[-1]) * TOKEN_PX**2, 4), 255, dtype=torch.uint8)
    return replace(batch, tensors={**batch.tensors, "boxes": boxes, "starts": starts, "pixels": pixels})


@pytest.mark.parametrize("task", [Task.ADD_LAYER, Task.RESTYLE])
def test_a_design_whose_layers_to_make_all_lie_outside_weighs_nothing(task: Task) -> None:
    batch = micro_batch([(1, task), (2, Task.TEXT_TO_LAYERS)])
    boxes = batch["boxes"].clone()
    made_of_first = (batch["design"] == 0) & (~batch["clean"] | batch["condition"])
    boxes[made_of_first] = torch.tensor([0, 0, 2, 3], dtype=torch.int32)
    example = made(boxes_filled(batch, boxes), FRAMED)
    assert example.target_counts.tolist()[0] == 0 < example.targets
    errors = small_learner()(example, draw_noise(example, NoiseConfig(), 0))
    assert errors.tolist()[0] == 0 < errors.tolist()[1] and errors.isfinite().all()


@pytest.mark.parametrize("variant", [Variant.ART, Variant.LAYERED])
def test_the_other_variants_are_of_the_picture_alone_whatever_is_set(variant: Variant) -> None:
    batch = micro_batch([(1, Task.TEXT_TO_LAYERS)])
    assert same(made(batch, PLAIN, variant=variant), made(batch, FRAMED, variant=variant))


@pytest.mark.parametrize(
    ("variant", "tasks"),
    [(Variant.ART, list(Task)[1:]), (Variant.LAYERED, [Task.ADD_LAYER, Task.RESTYLE])],
)
def test_a_task_that_a_variant_does_not_know_is_refused(variant: Variant, tasks: Sequence[Task]) -> None:
    for task in tasks:
        with pytest.raises(UsageError, match=f"{task}.*{variant}.*data.tasks.*model.variant"):
            made(micro_batch([(0, Task.TEXT_TO_LAYERS), (1, task)]), variant=variant)


def test_tokens_of_another_size_are_refused(stream_codec: PcaCodec) -> None:
    with pytest.raises(UsageError, match=r"are of 4 px, the codec's of 8 px: open the stream with token_px=8"):
        prepare(micro_batch(ALL), stream_codec, PLAIN, seed=0, device="cpu")


def test_a_design_that_no_model_can_take_is_named() -> None:
    batch = micro_batch([(0, Task.TEXT_TO_LAYERS), (1, Task.TEXT_TO_LAYERS)])
    far = batch["layer"].clone()
    far[-1] = 10_000
    with pytest.raises(UsageError, match=f"{key(1)}.*merge layers"):
        made(replace(batch, tensors={**batch.tensors, "layer": far}))


def test_restyle_keeps_its_text(designs: Store, stream_codec: PcaCodec) -> None:
    settings: dict[str, Any] = {"resolution": 48, "token_px": 8, "token_budget": 1000}
    stream = DesignStream(designs.url, tasks=Task.RESTYLE, **settings)
    config = ExampleConfig(empty_prompt=1)
    for batch in stream:
        example = prepare(batch, stream_codec, config, seed=0, device="cpu")
        assert set(example.prompts) == {RESTYLE_PROMPT}
        break
