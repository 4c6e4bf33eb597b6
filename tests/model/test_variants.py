"""The variants: a micro-batch as regions, ART's clipped ones, and Qwen-Image-Layered against its own pipeline."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageLayeredPipeline,
    QwenImageTransformer2DModel,
)
from PIL import Image
from torch import Tensor

from model.bundle import Bundle
from model.codecs.pca import PcaCodec
from model.errors import CheckpointError, LayoutError
from model.guidance import Denoiser, Guidance
from model.placement import Grid, place, to_pixels
from model.regions import Regions
from model.sampling import sample
from model.tasks import RGB_COND, RGBA_COND, Region, Task, lay_out
from model.text import Text
from model.text_bytes import ByteText
from model.transformer import KIND_EMBED, NEW_PARAMETERS, RegionTransformer
from model.variants import (
    ART_SLOTS,
    SETTINGS,
    Variant,
    clip_to_visible,
    layered_regions,
    layered_schedule,
    pretrained,
    regions_of,
    visible_tokens,
)

TINY = {
    "patch_size": 1,
    "in_channels": 32,
    "out_channels": 32,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "axes_dims_rope": (4, 6, 6),
}
TOKEN_PX = 128
"""So that the least picture of the pipeline, 640 px a side, has few tokens."""
# As the public checkpoints have it.
SCHEDULER = {
    "base_shift": 0.5,
    "max_shift": 0.9,
    "base_image_seq_len": 256,
    "max_image_seq_len": 8192,
    "use_dynamic_shifting": True,
    "time_shift_type": "exponential",
}
CANVAS, VISIBLE = (9, 7), (2, 1, 7, 5)
BOXES = [(0, 0, 9, 7), (3, 2, 5, 4), (7, 1, 9, 5), (1, 0, 4, 7), (0, 5, 9, 7), (6, 4, 8, 6)]


def of_design(task: Task = Task.TEXT_TO_LAYERS, **options: Any) -> Regions:
    return Regions.lay_out([lay_out(task, BOXES, CANVAS, VISIBLE, {1})], [CANVAS], [VISIBLE], **options)


def absolute(regions: Regions) -> Tensor:
    """[T, 2]: x and y of each token on its canvas."""
    return regions.positions_T3[:, [2, 1]] + regions.of_tokens(regions.centre[regions.design])


# A micro-batch


def batch_of(*laid_out: list[Region], canvas: tuple[int, int], visible_px: list[float]) -> dict[str, Tensor]:
    """The tensors of a micro-batch in the dtypes of the stream."""
    flat = [(number, region) for number, some in enumerate(laid_out) for region in some]
    return {
        "boxes": torch.tensor([region.box for _, region in flat], dtype=torch.int32).view(-1, 4),
        "layer": torch.tensor([region.layer for _, region in flat], dtype=torch.int32),
        "design": torch.tensor([number for number, _ in flat], dtype=torch.int32),
        "clean": torch.tensor([region.clean for _, region in flat], dtype=torch.bool),
        "condition": torch.tensor([region.condition for _, region in flat], dtype=torch.bool),
        "canvas": torch.tensor([canvas] * len(laid_out), dtype=torch.int32).view(-1, 2),
        "visible": torch.tensor([visible_px] * len(laid_out), dtype=torch.float64).view(-1, 4),
    }


@pytest.mark.parametrize("task", [Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS, Task.RESTYLE])
def test_a_micro_batch_gives_the_regions_of_its_layouts(task: Task) -> None:
    laid_out = lay_out(task, BOXES, CANVAS, VISIBLE, {2, 4})
    tensors = batch_of(laid_out, laid_out, canvas=CANVAS, visible_px=[16.0, 8.0, 52.5, 40.0])
    got = regions_of(tensors, 8, keys=("a", "b"))
    wanted = Regions.lay_out([laid_out] * 2, [CANVAS] * 2, [VISIBLE] * 2, keys=("a", "b"))
    assert got.keys == wanted.keys and torch.equal(got.positions_T3, wanted.positions_T3)
    assert torch.equal(got.target_T, wanted.target_T) and torch.equal(got.extent, wanted.extent)
    centred = regions_of(tensors, 8, centred_on="canvas")
    assert centred.centre.tolist() == [[5, 4]] * 2


def test_a_micro_batch_without_a_design_has_no_regions() -> None:
    regions = regions_of(batch_of(canvas=CANVAS, visible_px=[]), 8)
    assert len(regions) == 0 and regions.tokens == 0


@pytest.mark.parametrize(("resolution", "token_px"), [(512, 8), (512, 16), (1000, 20)])
def test_the_visible_box_has_the_tokens_that_were_placed(resolution: int, token_px: int) -> None:
    rng = np.random.default_rng(token_px)
    count = 200_000
    sides = np.sort(rng.integers(0, 4000, (count, 2, 2)), axis=1)
    sides[:, 1] += 1
    sides[::3, 1] = sides[::3, 0] + (sides[::3, 1] - sides[::3, 0])[:, :1]  # squares fill their tokens to the rim
    boxes = sides.reshape(count, 4)
    placement = place(boxes[:, 2:] + rng.integers(0, 4000, (count, 2)), boxes, Grid(resolution, token_px))
    assert 0 < placement.scaled_down.sum() < count
    pixels = torch.from_numpy(to_pixels(boxes, np.arange(count), placement))
    assert np.array_equal(visible_tokens(pixels, token_px), placement.visible)


# ART


def test_what_is_clipped_is_the_part_of_each_region_in_the_picture() -> None:
    whole = of_design()
    art = clip_to_visible(whole, torch.tensor([VISIBLE]))
    assert art.regions.boxes.tolist() == [
        [0, 0, 5, 4], [0, 0, 5, 4], [1, 1, 3, 3], [0, 0, 2, 4], [4, 3, 5, 4],
    ]  # fmt: skip
    assert art.regions.layer.tolist() == [0, 1, 2, 3, 4]
    assert art.dropped == (("number 0", 3), ("number 0", 5))
    x0, y0, x1, y1 = VISIBLE
    inside = [x0 <= x < x1 and y0 <= y < y1 for x, y in absolute(whole).tolist()]
    assert art.kept.tolist() == inside
    # The tokens that are left are the same ones, at the same distance from the centre of the picture.
    assert torch.equal(whole.positions_T3[art.kept][:, 1:], art.regions.positions_T3[:, 1:])


def test_designs_are_clipped_each_to_its_own_picture() -> None:
    pictures = [VISIBLE, (0, 0, 9, 7), (8, 6, 9, 7)]
    laid_out = [lay_out(Task.TEXT_TO_LAYERS, BOXES, CANVAS, picture) for picture in pictures]
    together = clip_to_visible(Regions.lay_out(laid_out, [CANVAS] * 3, pictures, "abc"), torch.tensor(pictures))
    parts = [
        clip_to_visible(Regions.lay_out([one], [CANVAS], [picture], key), torch.tensor([picture]))
        for one, picture, key in zip(laid_out, pictures, "abc", strict=True)
    ]
    assert torch.equal(together.regions.boxes, torch.cat([part.regions.boxes for part in parts]))
    assert torch.equal(together.regions.layer, torch.cat([part.regions.layer for part in parts]))
    assert torch.equal(together.kept, torch.cat([part.kept for part in parts]))
    assert together.dropped == tuple(one for part in parts for one in part.dropped)
    assert parts[1].dropped == () and parts[1].kept.all()


@pytest.mark.parametrize("task", [Task.IMAGE_TO_LAYERS, Task.ADD_LAYER, Task.TEXT_TO_LAYERS])
def test_art_is_told_apart_from_the_other_tasks(task: Task) -> None:
    regions = of_design(task, keys=("abc",))
    if task is Task.TEXT_TO_LAYERS:
        assert clip_to_visible(regions, torch.tensor([VISIBLE])).regions.keys == ("abc",)
        return
    with pytest.raises(LayoutError, match="design abc: ART makes all layers from text"):
        clip_to_visible(regions, torch.tensor([VISIBLE]))


def test_art_has_52_positions() -> None:
    model = RegionTransformer(**{**TINY, **SETTINGS[Variant.ART], "num_layers": 1})
    canvas = (2, 2)
    for count, fits in ((ART_SLOTS - 1, True), (ART_SLOTS, False)):
        laid_out = lay_out(Task.TEXT_TO_LAYERS, [(0, 0, 1, 1)] * count, canvas, (0, 0, *canvas))
        regions = clip_to_visible(
            Regions.lay_out([laid_out], [canvas], [(0, 0, *canvas)]), torch.tensor([[0, 0, 2, 2]])
        )
        if fits:
            model.pack(regions.regions, [3])
            continue
        with pytest.raises(LayoutError, match="positions for 0 to 51"):
            model.pack(regions.regions, [3])


# Qwen-Image-Layered


def stock(variant: Variant = Variant.LAYERED, seed: int = 0) -> QwenImageTransformer2DModel:
    """Diffusers' own class with weights that are far from their initial ones, so that every path counts."""
    torch.manual_seed(seed)
    theirs = {} if variant is not Variant.LAYERED else SETTINGS[variant]
    model = QwenImageTransformer2DModel(**{**TINY, **theirs}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5)
    return model


def pipeline_of(model: QwenImageTransformer2DModel, scheduler: FlowMatchEulerDiscreteScheduler) -> Any:
    """The pipeline with tokens of TOKEN_PX; as prompts come embedded, the text encoder has but a dtype to give."""
    torch.manual_seed(1)
    sizes = {"base_dim": 2, "z_dim": 8, "dim_mult": [1] * 7, "num_res_blocks": 1, "temperal_downsample": [False] * 6}
    statistics = {"latents_mean": [0.1] * 8, "latents_std": [0.5] * 8}
    vae = AutoencoderKLQwenImage(**sizes, **statistics, attn_scales=[], input_channels=4)
    pipeline = QwenImageLayeredPipeline(scheduler, vae, model, None, None, model)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class LastStepError(Exception):
    """Leaves the pipeline, which has no other way to give its latents: its ``output_type="latent"`` fails."""


def tokens_of(pipeline: Any, picture: Image.Image, size: tuple[int, int]) -> Tensor:
    """[T, C]: the picture as the pipeline encodes it."""
    height, width = (TOKEN_PX * side for side in size)
    image = pipeline.image_processor.resize(picture, height, width)
    image = pipeline.image_processor.preprocess(image, height, width).unsqueeze(2)
    arguments = (1, 8, height, width, 1, torch.float32, torch.device("cpu"), None)
    with torch.no_grad():
        tokens: Tensor = pipeline.prepare_latents(image, *arguments)[1][0]
    return tokens


@pytest.mark.parametrize(("normalise", "terminal"), [(False, None), (True, 0.02)])
def test_the_loop_of_qwen_image_layered_gives_the_same_latents(
    normalise: bool, terminal: float | None, tmp_path: Path
) -> None:
    layers, steps, size = 4, 3, (4, 6)
    theirs = stock()
    theirs.save_pretrained(tmp_path / "transformer")
    scheduler = FlowMatchEulerDiscreteScheduler(**SCHEDULER, shift_terminal=terminal)
    pipeline = pipeline_of(theirs, scheduler)
    picture = Image.effect_mandelbrot((150, 100), (-2, -1, 1, 1), 50).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    noise = torch.randn(1, (layers + 1) * size[0] * size[1], 32)
    texts = torch.randn(1, 7, 24), torch.randn(1, 3, 24)
    wanted: list[Tensor] = []

    def keep(_: Any, step: int, __: Any, found: dict[str, Tensor]) -> dict[str, Tensor]:
        wanted.append(found["latents"][0].clone())
        if step == steps - 1:
            raise LastStepError
        return found

    with pytest.raises(LastStepError):
        pipeline(
            picture, prompt="as embedded", prompt_embeds=texts[0], negative_prompt_embeds=texts[1],
            latents=noise.clone(), layers=layers, num_inference_steps=steps, true_cfg_scale=4.0,
            cfg_normalize=normalise, callback_on_step_end=keep,
        )  # fmt: skip

    ours = pretrained(tmp_path, Variant.LAYERED)
    regions = layered_regions([layers], [size])
    given, null = (Text(text[0], (text.shape[1],)) for text in texts)
    guidance = Guidance(4.0, normalise)
    denoiser = Denoiser(ours, Task.IMAGE_TO_LAYERS, regions, given, guidance, null)
    start = torch.cat([noise[0], tokens_of(pipeline, picture, size)])
    sigmas = layered_schedule(steps, size[0] * size[1], terminal)
    torch.testing.assert_close(sigmas.float(), scheduler.sigmas, atol=1e-6, rtol=0)
    got: list[Tensor] = []
    end = sample(denoiser, start, regions.target_T, sigmas, watch=lambda progress: got.append(progress.tokens))
    assert len(got) == len(wanted) == steps
    for our, their in zip(got, wanted, strict=True):
        torch.testing.assert_close(our[regions.target_T], their, atol=1e-4, rtol=0)
    assert (wanted[-1] - noise[0]).abs().mean() > 0.1
    assert torch.equal(end[~regions.target_T], start[~regions.target_T])


def test_a_picture_is_taken_apart_into_as_many_layers_as_one_wants() -> None:
    regions = layered_regions([1, 3], [(2, 4), (5, 3)], keys=("a", "b"))
    assert regions.layer.tolist() == [0, 1, -1, 0, 1, 2, 3, -1]
    assert regions.lengths == [3 * 8, 5 * 15]
    assert regions.clean.tolist() == [layer == -1 for layer in regions.layer.tolist()]
    assert not regions.condition.any()  # it has its own frame, and no embedding
    assert regions.extent.tolist() == [2, 4]  # past half of 4 tokens, and past the layers 0 to 3
    alone = layered_regions([3], [(5, 3)])
    assert torch.equal(regions.positions_T3[24:], alone.positions_T3)


@pytest.mark.parametrize(("layers", "size", "message"), [(0, (2, 2), "0 layers; ask for"), (1, (0, 2), "is empty")])
def test_a_picture_without_layers_or_tokens_is_refused_by_name(
    layers: int, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(LayoutError, match=f"design poster: .*{message}"):
        layered_regions([layers], [size], keys=("poster",))


# Public weights


@pytest.mark.parametrize("variant", Variant)
def test_the_weights_of_qwen_image_lack_the_new_parameters_alone(variant: Variant, tmp_path: Path) -> None:
    theirs = stock(Variant.MRT)
    theirs.save_pretrained(tmp_path / "transformer")
    ours = pretrained(tmp_path, variant)
    assert {name: ours.config[name] for name in SETTINGS[variant]} == SETTINGS[variant]
    assert not any(parameter.is_meta for parameter in ours.parameters())
    state, public = ours.state_dict(), theirs.state_dict()
    assert set(state) - set(public) == {name for name in (*NEW_PARAMETERS, KIND_EMBED) if name in state}
    assert (KIND_EMBED in state) is (variant is Variant.LAYERED)
    assert all(torch.equal(state[name], value) for name, value in public.items())
    assert all(not state[name].any() for name in set(state) - set(public))


def drawn(model: Any, tokens: Tensor, text: Tensor, kind: int | None) -> Tensor:
    """The velocity of a picture of 3 x 5 tokens, which is made from text."""
    size, box = (3, 5), (0, 0, 5, 3)
    if type(model) is QwenImageTransformer2DModel:
        return model(tokens[None], text[None], timestep=torch.tensor([0.7]), img_shapes=[[(1, *size)]]).sample[0]
    regions = Regions.lay_out([lay_out(Task.TEXT_TO_RGB, [], size[::-1], box)], [size[::-1]], [box])
    kinds = None if kind is None else torch.tensor([kind])
    packing = model.pack(regions, [len(text)])
    out: Tensor = model(tokens, text, torch.tensor([0.7]), regions, packing, kinds)
    return out


@pytest.mark.parametrize("variant", Variant)
def test_before_it_is_trained_each_draws_the_pictures_of_qwen_image(variant: Variant, tmp_path: Path) -> None:
    theirs = stock(Variant.MRT)
    theirs.save_pretrained(tmp_path / "transformer")
    ours, tokens, text = pretrained(tmp_path, variant), torch.randn(15, 32), torch.randn(4, 24)
    layered = variant is Variant.LAYERED
    with torch.no_grad():
        wanted = drawn(theirs, tokens, text, None)
        assert wanted.abs().mean() > 0.1
        for kind in (RGB_COND, RGBA_COND) if layered else (None,):
            torch.testing.assert_close(drawn(ours, tokens, text, kind), wanted, atol=1e-5, rtol=1e-5)
    if layered:
        drawn(ours, tokens, text, RGB_COND).square().sum().backward()
        assert ours.get_parameter(KIND_EMBED).grad.abs().amax(dim=1).gt(1e-3).tolist() == [False, True]


def test_weights_that_lack_what_their_own_settings_have_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "transformer"
    stock(Variant.MRT).save_pretrained(folder)
    settle(folder, **SETTINGS[Variant.LAYERED])
    with pytest.raises(CheckpointError, match=r"lacks time_text_embed\.addition_t_embedding"):
        RegionTransformer.from_pretrained(folder)


WEIGHTS = "diffusion_pytorch_model.safetensors"


def settle(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def test_what_is_made_of_the_first_qwen_image_is_saved_and_loaded(tmp_path: Path) -> None:
    """Its settings have one that no version of the model reads; so may a checkpoint of ours that was made of it."""
    stock(Variant.MRT).save_pretrained(tmp_path / "pipeline" / "transformer")
    settle(tmp_path / "pipeline" / "transformer", pooled_projection_dim=768)
    model = pretrained(tmp_path / "pipeline", Variant.MRT)
    noise = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (64, 64, 4), dtype=torch.uint8, generator=noise)
    codec = PcaCodec.fit([picture], token_px=4, token_dim=32)
    Bundle(model, codec, ByteText(24)).save(tmp_path / "ours")
    folder = tmp_path / "ours" / "transformer"
    assert "pooled_projection_dim" not in json.loads((folder / "config.json").read_text())
    for said in ({}, {"pooled_projection_dim": 768}):
        settle(folder, **said)
        loaded = Bundle.load(tmp_path / "ours").transformer.state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


def outside(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent.parent / "outside.safetensors")
    names = {"img_in.weight": "../../outside.safetensors"}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": names}))


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder.rename(folder.with_name("unet")), "transformer cannot be read"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"x" * 100), "Unable to load weights"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no file named"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "Invalid JSON"),
        (lambda folder: pipe(folder / WEIGHTS), "is no regular file"),
        (lambda folder: pipe(folder / f"{WEIGHTS}.index.json"), "is no regular file"),
        (outside, "is no file beside it"),
        (lambda folder: settle(folder, num_layers=10**9), "num_layers: Input should be less"),
        (lambda folder: settle(folder, quantization_config={"quant_method": "gguf"}), "'quantization_config' is no"),
    ],
    ids=range(10),
)
def test_a_damaged_pipeline_is_told_in_one_line(tmp_path: Path, spoil: Callable[[Path], Any], message: str) -> None:
    stock(Variant.MRT).save_pretrained(tmp_path / "transformer")
    spoil(tmp_path / "transformer")
    with pytest.raises(CheckpointError, match=message) as caught:
        pretrained(tmp_path, Variant.MRT)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument is deprecated")  # diffusers gives it
def test_a_hub_s_repository_is_asked_for_its_settings_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same revision as the weights."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    stock(Variant.MRT).save_pretrained(tmp_path)
    cache = tmp_path / "hub" / "models--Qwen--Qwen-Image"
    snapshot = cache / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("b" * 40)
    (snapshot / "transformer").mkdir()
    for name in ("config.json", WEIGHTS):
        (tmp_path / name).rename(snapshot / "transformer" / name)
    where = {"cache_dir": tmp_path / "hub", "local_files_only": True}
    model = pretrained("Qwen/Qwen-Image", Variant.MRT, revision="a" * 40, **where)
    assert model.config.num_layers == 2
    with pytest.raises(CheckpointError, match="no transformer of Qwen-Image at Qwen/Qwen-Image: ") as caught:
        pretrained("Qwen/Qwen-Image", Variant.MRT, **where)
    assert "\n" not in str(caught.value)
