"""Checkpoints: what is loaded is what was saved, whole or not at all, and a folder is believed in nothing."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import model.bundle
from model.bundle import CODECS, MANIFEST, TEXTS, Bundle
from model.codecs.base import LayerCodec
from model.codecs.inflate import LayerVae
from model.codecs.joint import JointCodec, JointDecoder
from model.codecs.pca import PcaCodec
from model.codecs.vae import GrayCodec, RgbaCodec
from model.errors import CheckpointError, CodecError
from model.regions import Regions
from model.tasks import Task, lay_out
from model.text import Text, TextEncoder
from model.text_bytes import ByteText
from model.text_qwen import QwenText
from model.transformer import RegionTransformer
from tests.model.test_text_qwen import model_of, tokenizer_of

WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT, CHANNELS = 32, 16
"""The text has the width of the tiny Qwen2.5-VL."""


def picture(height: int = 8, width: int = 16) -> Tensor:
    return torch.randint(0, 256, (height, width, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def pca(token_dim: int = CHANNELS) -> PcaCodec:
    return PcaCodec.fit([picture(64, 64)], token_px=4, token_dim=token_dim)


def vae(codec: type[GrayCodec | RgbaCodec]) -> LayerCodec:
    torch.manual_seed(1)
    sizes = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1, "temperal_downsample": [False]}
    statistics = {"latents_mean": [0.1] * 4, "latents_std": [0.5] * 4}
    return codec(LayerVae(**sizes, **statistics, input_channels=codec.input_channels, output_channels=4).eval())


def joint() -> JointCodec:
    encoder = vae(GrayCodec)
    torch.manual_seed(3)
    sizes = {"num_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2, "axes_dims_rope": (4, 6, 6)}
    return JointCodec(encoder, JointDecoder(latent_channels=4, latent_px=encoder.token_px // 2, **sizes).eval())


def transformer(seed: int = 0, **settings: Any) -> RegionTransformer:
    torch.manual_seed(seed)
    known = {
        "patch_size": 1, "in_channels": CHANNELS, "out_channels": CHANNELS, "num_layers": 1, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": TEXT, "axes_dims_rope": (4, 6, 6), "zero_cond_t": True,
    }  # fmt: skip
    return RegionTransformer(**{**known, **settings}).eval()


def bundle(**parts: Any) -> Bundle:
    codec = parts.get("codec", pca())
    torch.manual_seed(2)
    made = {"codec": codec, "text": ByteText(TEXT), "preset": "tiny", **parts}
    if "transformer" not in made:
        made["transformer"] = transformer(channel_std=codec.channel_std)
    return Bundle(**made)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "saved"
    bundle().save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A folder of one's own to spoil."""
    for path in saved.rglob("*"):
        target = tmp_path / "copy" / path.relative_to(saved)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            target.write_bytes(path.read_bytes())
    return tmp_path / "copy"


def velocity(of: Bundle) -> Tensor:
    """All three parts at work."""
    canvas = (4, 2)
    laid_out = lay_out(Task.IMAGE_TO_LAYERS, [(0, 0, 4, 2)], canvas, (0, 0, *canvas))
    regions = Regions.lay_out([laid_out], [canvas], [(0, 0, *canvas)])
    text: Text = of.text.encode(["a red cat"])
    side = of.codec.token_px
    tokens = of.codec.encode([picture(2 * side, 4 * side)] * 2).to(of.transformer.dtype)
    packing = of.transformer.pack(regions, text.lengths)
    with torch.no_grad():
        out: Tensor = of.transformer(tokens, text.values, torch.tensor([0.5]), regions, packing)
    return out


@pytest.mark.parametrize("codec", ["pca", "gray", "rgba", "joint"])
def test_what_is_loaded_does_what_was_saved(codec: str, tmp_path: Path) -> None:
    made = {"pca": pca, "gray": lambda: vae(GrayCodec), "rgba": lambda: vae(RgbaCodec), "joint": joint}[codec]()
    one = bundle(codec=made)
    one.save(tmp_path / "of a run" / "step 1")
    assert [path.name for path in (tmp_path / "of a run").iterdir()] == ["step 1"]
    other = Bundle.load(tmp_path / "of a run" / "step 1")
    assert type(other.codec) is CODECS[codec].found() and type(other.text) is TEXTS["bytes"].found()
    assert other.preset == "tiny" and other.transformer.config.channel_std == made.channel_std
    assert torch.equal(velocity(one), velocity(other))
    tokens = one.codec.encode([picture()])
    size = [(8 // one.codec.token_px, 16 // one.codec.token_px)]
    assert torch.equal(one.codec.decode(tokens, size)[0], other.codec.decode(tokens, size)[0])


def test_settings_that_are_no_more_are_not_saved_again(saved: Path, tmp_path: Path) -> None:
    """Qwen-Image's own has one that diffusers keeps, unknown, and writes."""
    change(Path(shutil.copytree(saved, tmp_path / "old")) / "transformer" / "config.json", pooled_projection_dim=768)
    loaded = Bundle.load(tmp_path / "old")
    loaded.save(tmp_path / "new")
    assert "pooled_projection_dim" not in json.loads((tmp_path / "new" / "transformer" / "config.json").read_text())
    assert torch.equal(velocity(Bundle.load(tmp_path / "new")), velocity(loaded))


def test_qwen_goes_with_a_checkpoint_too(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(50)
    one = bundle(text=QwenText(model_of(tokenizer).eval(), tokenizer))
    one.save(tmp_path / "one")
    assert torch.equal(velocity(one), velocity(Bundle.load(tmp_path / "one")))


def test_a_checkpoint_is_loaded_in_another_dtype(saved: Path) -> None:
    half = Bundle.load(saved, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.transformer.parameters()} == {torch.bfloat16}
    assert half.codec.encode([picture()]).dtype == torch.float32
    assert half.text.encode(["a"]).values.dtype == torch.bfloat16
    assert (velocity(half).float() - velocity(Bundle.load(saved))).abs().mean() < 0.1


def test_a_folder_holds_safetensors_and_settings_alone(saved: Path) -> None:
    names = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert {name for name in names if not name.endswith((".json", ".safetensors"))} == set()
    said = json.loads((saved / MANIFEST).read_text())
    assert said == {"format": 1, "codec": "pca", "text": "bytes", "preset": "tiny", "overflow": True}


def test_what_a_model_never_saw_is_kept_and_older_checkpoints_overflow(saved: Path, tmp_path: Path) -> None:
    bundle(overflow=False).save(tmp_path / "framed")
    assert not Bundle.load(tmp_path / "framed").overflow and Bundle.load(saved).overflow
    older = json.loads((tmp_path / "framed" / MANIFEST).read_text())
    del older["overflow"]
    (tmp_path / "framed" / MANIFEST).write_text(json.dumps(older))
    assert Bundle.load(tmp_path / "framed").overflow


def test_what_is_there_is_not_written_over(saved: Path, tmp_path: Path) -> None:
    before = (saved / MANIFEST).stat().st_mtime_ns
    with pytest.raises(CheckpointError, match="is there already; give another name"):
        bundle().save(saved)
    assert (saved / MANIFEST).stat().st_mtime_ns == before
    (tmp_path / "empty").mkdir()
    bundle().save(tmp_path / "empty")
    assert velocity(Bundle.load(tmp_path / "empty")).isfinite().all()


@pytest.mark.parametrize("part", ["transformer", "codec", "text"])
def test_nothing_is_left_of_one_that_could_not_be_written(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bundle()
    name = "save" if part == "codec" else "save_pretrained"

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(getattr(one, part)), name, full)
    with pytest.raises(OSError, match="No space left"):
        one.save(tmp_path / "runs" / "one")
    assert list((tmp_path / "runs").iterdir()) == []


class OtherText(TextEncoder):
    """Fits, but is of no kind that a folder holds."""

    width = TEXT

    def encode(self, prompts: Any) -> Text:
        return Text(torch.zeros(len(prompts), TEXT), (1,) * len(prompts))


def test_a_part_of_no_known_kind_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"OtherText is none of the kinds .* bytes, qwen"):
        bundle(text=OtherText()).save(tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        (lambda: {"codec": pca(8), "transformer": transformer()}, CodecError, "takes tokens of 16 channels, PcaCodec"),
        (lambda: {"text": ByteText(24)}, CheckpointError, "text of width 32, ByteText makes 24; use the text encoder"),
        (lambda: {"transformer": transformer(out_channels=8)}, CheckpointError, "of 16 channels and makes 8"),
    ],
)
def test_parts_that_do_not_fit_are_no_bundle(
    parts: Callable[[], dict[str, Any]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bundle(**parts())


def change(path: Path, **values: Any) -> None:
    settings = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def as_pickle(folder: Path) -> None:
    """The same weights as a file that runs code when it is read."""
    whole = folder / "transformer" / WEIGHTS
    whole.with_suffix(".bin").write_bytes(pickle.dumps({"img_in.weight": 0}))
    whole.unlink()


def pipe(path: Path) -> None:
    """In its place what a reader waits for without an end."""
    path.unlink()
    os.mkfifo(path)


def weights_of(folder: Path, other: RegionTransformer) -> None:
    other.save_pretrained(folder / "other")
    (folder / "transformer" / WEIGHTS).write_bytes((folder / "other" / WEIGHTS).read_bytes())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / MANIFEST).unlink(), "has no acetate.json"),
        (lambda f: (f / MANIFEST).write_text("[1"), "acetate.json"),
        (lambda f: (f / MANIFEST).write_text(" " * 2_000_000), "is no file of settings"),
        (lambda f: change(f / MANIFEST, format=2), "format: Input should be 1"),
        (lambda f: change(f / MANIFEST, codec="os.system"), "codec: Input should be 'pca', 'gray', 'rgba' or 'joint'"),
        (lambda f: change(f / MANIFEST, text="other"), "text: Input should be 'bytes' or 'qwen'"),
        (lambda f: change(f / MANIFEST, module="x"), "module: Extra inputs"),
        (lambda f: change(f / MANIFEST, codec="rgba"), "no VAE"),
        (lambda f: change(f / MANIFEST, text="qwen"), "no text encoder of Qwen2.5-VL"),
        (lambda f: (f / "codec").rename(f / "gone"), "codec is missing: the checkpoint is not whole"),
        (lambda f: change(f / "transformer" / "config.json", num_layers=10**9), "num_layers: Input should be less"),
        (lambda f: change(f / "transformer" / "config.json", num_attention_heads=256, attention_head_dim=16 * 64,
                          axes_dims_rope=[512, 256, 256]), "make a width of 262144, over 16384"),
        (lambda f: change(f / "transformer" / "config.json", axes_dims_rope=[4, 6, 8]), "must add up to"),
        (lambda f: change(f / "transformer" / "config.json", quantization_config={}), "'quantization_config' is no"),
        (lambda f: change(f / "text" / "config.json", max_bytes=10**12), "max_bytes: Input should be less"),
        (lambda f: change(f / "transformer" / "config.json", in_channels=None), "in_channels: Field required"),
        (lambda f: change(f / "transformer" / "config.json", num_layers=2), "transformer_blocks.1"),
        (lambda f: change(f / "transformer" / "config.json", joint_attention_dim=64), "txt"),
        (lambda f: change(f / "transformer" / "config.json", channel_std=[1.0]), "channel_std must be 16 positive"),
        (lambda f: cut(f / "transformer" / WEIGHTS), "is damaged or not that of a RegionTransformer"),
        (lambda f: cut(f / "codec" / "basis.safetensors"), "codec"),
        (lambda f: cut(f / "text" / WEIGHTS), "is damaged or not that of a ByteText"),
        (as_pickle, "is damaged or not that of a RegionTransformer"),
        (lambda f: weights_of(f, transformer(num_layers=1, in_channels=8)), "img_in"),
        (lambda f: pipe(f / MANIFEST), "has no acetate.json"),
        (lambda f: pipe(f / "transformer" / "config.json"), "config.json is no regular file"),
        (lambda f: pipe(f / "codec" / "config.json"), "config.json is no regular file"),
        (lambda f: pipe(f / "codec" / "basis.safetensors"), "basis.safetensors is no regular file"),
        (lambda f: pipe(f / "text" / WEIGHTS), "is no regular file"),
        (lambda f: (f / "text" / "adapter_config.json").write_text("{}"), "is that of an adapter"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_told_in_one_line(copy: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(copy)
    with pytest.raises(CheckpointError, match=message) as caught:
        Bundle.load(copy)
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


@pytest.fixture(scope="module")
def of_vaes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints with a codec of each kind that has a VAE."""
    folder = tmp_path_factory.mktemp("vaes")
    for name, codec in {"gray": vae(GrayCodec), "rgba": vae(RgbaCodec), "joint": joint()}.items():
        bundle(codec=codec).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("codec", "part", "settings", "message"),
    [
        ("gray", ".", {"quantization_config": {"quant_method": "bitsandbytes"}}, "'quantization_config' is no setting"),
        ("gray", ".", {"base_dim": 10**9}, "base_dim: Input should be less"),
        ("gray", ".", {"temperal_downsample": []}, "temperal_downsample must have one less"),
        ("gray", ".", {"num_res_blocks": 0}, "num_res_blocks: Input should be greater"),
        ("rgba", ".", {"z_dim": 10**9}, "z_dim: Input should be less"),
        ("rgba", ".", {"latents_mean": [[0.1]] * 4}, "latents_mean.0: Input should be a valid number"),
        ("rgba", ".", {"latents_std": [0.5]}, "are not 4 finite numbers"),
        ("joint", "encoder", {"quantization_config": {}}, "'quantization_config' is no setting"),
        ("joint", "decoder", {"quantization_config": {}}, "'quantization_config' is no setting"),
        ("joint", "decoder", {"num_layers": 10**9}, "num_layers: Input should be less"),
        ("joint", "decoder", {"latent_channels": 8}, "proj_in"),
        ("joint", "decoder", {"patch_size": 4}, "use those trained together"),
    ],
    ids=str,
)
def test_the_settings_of_a_codec_are_believed_in_nothing(
    of_vaes: Path, codec: str, part: str, settings: dict[str, Any], message: str
) -> None:
    config = of_vaes / codec / "codec" / part / "config.json"
    before = config.read_text()
    change(config, **settings)
    try:
        with pytest.raises(CheckpointError, match=message) as caught:
            Bundle.load(of_vaes / codec)
    finally:
        config.write_text(before)
    assert "\n" not in str(caught.value) and str(of_vaes / codec) in str(caught.value)


def test_no_hub_is_asked_for_a_part(of_vaes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    load = LayerVae.from_pretrained

    def watched(path: Any, **options: Any) -> Any:
        asked.append(options["local_files_only"])
        return load(path, **options)

    monkeypatch.setattr(LayerVae, "from_pretrained", watched)
    for name in ("gray", "rgba", "joint"):
        Bundle.load(of_vaes / name)
    assert asked == [True] * 3


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("part", [RegionTransformer, PcaCodec, ByteText])
def test_a_lack_of_memory_is_no_damage(
    part: Any, error: type[BaseException], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @wraps(part.__init__)
    def full(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(part, "__init__", full)
    with pytest.raises(error):
        Bundle.load(saved)


def test_a_device_that_is_not_there_is_no_damage(saved: Path) -> None:
    with pytest.raises(RuntimeError, match="some-device"):
        Bundle.load(saved, device="some-device")


def test_parts_may_be_links(saved: Path, tmp_path: Path) -> None:
    """Checkpoints share a text encoder that does not change, and the caches of hubs are links to files."""
    (tmp_path / "transformer").mkdir()
    for path in (saved / "transformer").iterdir():
        (tmp_path / "transformer" / path.name).symlink_to(path)
    for name in ("codec", "text", MANIFEST):
        (tmp_path / name).symlink_to(saved / name)
    assert torch.equal(velocity(Bundle.load(tmp_path)), velocity(Bundle.load(saved)))


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no acetate\.json"):
        Bundle.load(tmp_path / "Qwen" / "Qwen-Image")


def test_every_kind_that_a_folder_may_name_is_there() -> None:
    kinds = model.bundle.Manifest.model_fields
    assert [set(CODECS), set(TEXTS)] == [set(kinds[name].annotation.__args__) for name in ("codec", "text")]
    assert all(issubclass(kind.found(), LayerCodec) for kind in CODECS.values())
    assert all(issubclass(kind.found(), TextEncoder) for kind in TEXTS.values())


def test_another_transformer_takes_its_place(saved: Path) -> None:
    whole = Bundle.load(saved)
    other = replace(whole, transformer=transformer(1, channel_std=whole.codec.channel_std))
    assert not torch.equal(velocity(other), velocity(whole))
