"""Files of generation: layered files as other programs read them, names that lead nowhere, files that are no good."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from psd_tools import PSDImage

from model.tasks import Task
from pipelines.sandbox import Limits
from schemas.compositing import Rgba, composite
from schemas.design import LayerKind
from schemas.geometry import Box
from tests.builders import disc, solid, texture
from tests.pipelines.test_formats_bounds import swapped_profile
from training.errors import TrainingError, UsageError
from training.generate import Form, Opened, Opener, safe_name, sheet, write
from training.generation.layout import Canvas, LayoutPlan, PlannedLayer
from training.generation.request import Made, Request
from training.sheet import GAP, LARGE, LINE, MARGIN, NAMES

VISIBLE = Box(20, 10, 116, 82)


@pytest.fixture(scope="module")
def opener() -> Iterator[Opener]:
    with Opener(cost=Limits(cpu_seconds=20, wall_seconds=60)) as opener:
        yield opener


def made(key: str = "one", task: Task = Task.TEXT_TO_LAYERS, **fields: Any) -> Made:
    """Four layers: a background, a disc that reaches out at the top left, two neighbours in a folder, one hidden."""
    layers = (
        PlannedLayer(box=VISIBLE, name="sky", kind=LayerKind.BACKGROUND),
        PlannedLayer(box=Box(0, 0, 40, 40), name="Sonne ☀"),
        PlannedLayer(box=Box(50, 30, 80, 50), name="sign", group="front", kind=LayerKind.SHAPE),
        PlannedLayer(box=Box(60, 40, 130, 60), name="", group="front", visible=False),
    )
    layout = LayoutPlan(canvas=Canvas(width=140, height=90), visible=VISIBLE, layers=layers)
    pictures = (texture(96, 72, 1), disc(40, "red"), solid(30, 20, "blue", 128), texture(70, 20, 2, alpha=200))
    request = Request(key, task, layout, prompt="a sunny day", **fields)
    merged = composite([(pixels, layer.box) for pixels, layer in zip(pictures, layers, strict=True)], VISIBLE)
    return Made(request, pictures, merged)


def pixels_of(layer: Any) -> Rgba:
    """All pixels of a layer as psd-tools reads them, red to alpha."""
    planes = {int(channel): layer.topil(channel) for channel in (0, 1, 2, -1)}
    return np.dstack([np.asarray(planes[channel]) for channel in (0, 1, 2, -1)])


@pytest.mark.parametrize("form", [Form.PSD, Form.PSB])
def test_psd_as_another_program_reads_it(tmp_path: Path, form: Form) -> None:
    one = made()
    psd: Any = PSDImage.open(write(one, tmp_path, [form]) / f"design.{form}")
    sky, sun, front = psd
    sign, last = front
    assert psd.size == (96, 72)
    assert [layer.name for layer in (sky, sun, front, sign, last)] == ["sky", "Sonne ☀", "front", "sign", "image 3"]
    assert [layer.visible for layer in (sky, sun, front, sign)] == [True] * 4
    assert not last.visible
    assert sun.bbox == (-20, -10, 20, 30)
    assert last.bbox == (40, 30, 110, 50)
    for layer, pixels in zip((sky, sun, sign, last), one.layers, strict=True):
        assert np.array_equal(pixels_of(layer), pixels)
    shown = [(pixels, layer.box) for pixels, layer in zip(one.layers, one.request.layout.layers, strict=True)][:3]
    merged = psd.topil()
    assert merged is not None
    assert np.array_equal(np.asarray(merged.convert("RGBA")), composite(shown, VISIBLE))


@pytest.mark.parametrize("form", [Form.PSD, Form.ORA])
def test_what_is_written_opens_again(tmp_path: Path, opener: Opener, form: Form) -> None:
    one = made()
    opened = opener.design(write(one, tmp_path, [form]) / f"design.{form}")
    assert [layer.name for layer in opened.layout.layers] == ["sky", "Sonne ☀", "sign"]
    assert opened.scale == 1
    assert opened.layout.backed
    offset = opened.layout.visible.x0 - VISIBLE.x0, opened.layout.visible.y0 - VISIBLE.y0
    planned = one.request.layout.layers
    for pixels, found, layer, own in zip(opened.layers, opened.layout.layers, planned[:3], one.layers[:3], strict=True):
        part = found.box.shift(-offset[0], -offset[1])
        assert layer.box.contains(part)
        there = part.within(layer.box).slices
        seen = own[there][..., 3] > 0
        assert np.array_equal(pixels[seen], own[there][seen])
        assert seen.sum() == (own[..., 3] > 0).sum()


def test_pictures_and_layout(tmp_path: Path) -> None:
    one = made()
    folder = write(one, tmp_path, [Form.PNG, Form.JSON])
    names = sorted(path.name for path in folder.iterdir())
    assert names[:2] == ["layer_00_sky.png", f"layer_01_{safe_name('Sonne ☀', 'image')}.png"]
    assert names[2:] == ["layer_02_sign.png", "layer_03_image.png", "layout.json", "merged.png"]
    for name, pixels in zip(names, one.layers, strict=False):
        assert np.array_equal(np.asarray(Image.open(folder / name)), pixels)
    assert np.array_equal(np.asarray(Image.open(folder / "merged.png")), one.merged)
    assert LayoutPlan.from_json((folder / "layout.json").read_bytes()) == one.request.layout


HOSTILE = [
    "../../etc/passwd",
    "/root",
    "..",
    "a/b\\c",
    "x" * 255,
    "😀語" * 100,
    "a\0b\nc",
    "CON",
    "con.png",
    ".hidden",
    "",
]


def test_hostile_names_stay_in_the_folder(tmp_path: Path) -> None:
    one = made()
    layers = one.request.layout.layers
    for number, name in enumerate(HOSTILE):
        named = layers[1].model_copy(update={"name": name[:255]})
        layout = one.request.layout.model_copy(update={"layers": (layers[0], named, *layers[2:])})
        request = replace(one.request, key=name, layout=layout)
        folder = write(replace(one, request=request), tmp_path / "out", [Form.PSD, Form.PNG])
        assert folder.parent == tmp_path / "out"
        assert len(list((tmp_path / "out").iterdir())) == number + 1
        assert all(len(path.name.encode()) < 256 and path.name.isprintable() for path in folder.rglob("*"))
        assert PSDImage.open(folder / "design.psd")[1].name.isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_names_that_look_alike_stay_apart() -> None:
    assert len({safe_name(name, "layer") for name in ("a/b", "a:b", "a_b", "a\\b")}) == 4
    assert safe_name("a_b", "layer") == "a_b"


@pytest.mark.parametrize("name", ["CON", "con.png", "Lpt1"])
def test_no_name_is_a_device_of_windows(name: str) -> None:
    assert safe_name(name, "layer").startswith("_")


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    one = made()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "merged.png").mkdir()
    with pytest.raises(TrainingError, match=r"cannot write .*merged\.png"):
        write(one, tmp_path, [Form.PNG])
    assert not [path for path in (tmp_path / "one").iterdir() if path.name.startswith(".tmp")]


def test_sheet_shows_what_was_made() -> None:
    one = replace(made(), merged=solid(96, 72, "lime"))
    picture = sheet([one, made("two", Task.IMAGE_TO_LAYERS, picture=solid(96, 72, "red"))])
    assert picture.width == 2 * MARGIN + 2 * (LARGE + GAP) + NAMES + 4 * (120 + GAP)
    middle = MARGIN + LINE + LARGE // 2
    assert picture.getpixel((MARGIN + LARGE + GAP + LARGE // 2, middle)) == (0, 255, 0)
    second = middle + LARGE + LINE + 2 * GAP
    assert picture.getpixel((MARGIN + LARGE // 2, second)) == (255, 0, 0)


def line(caught: pytest.ExceptionInfo[UsageError]) -> str:
    words = str(caught.value)
    assert words.isprintable()
    return words


@pytest.mark.parametrize("damage", ["truncated", "noise", "empty"])
def test_a_damaged_design_gives_one_line(tmp_path: Path, opener: Opener, damage: str) -> None:
    whole = (write(made(), tmp_path, [Form.PSD]) / "design.psd").read_bytes()
    bad = tmp_path / "bad.psd"
    noise = np.random.default_rng(0).integers(0, 256, len(whole) - 40, np.uint8).tobytes()
    bad.write_bytes({"truncated": whole[: len(whole) // 3], "noise": whole[:40] + noise, "empty": b""}[damage])
    with pytest.raises(UsageError) as caught:
        opener.design(bad)
    assert "bad.psd" in line(caught)


def test_what_is_no_design_gives_one_line(tmp_path: Path, opener: Opener) -> None:
    for name in ("gone.psd", "gone.txt", "new\nline.psd"):
        with pytest.raises(UsageError) as caught:
            opener.design(tmp_path / name)
        assert "there is nothing at" in line(caught)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_picture_is_read_as_it_is(tmp_path: Path, opener: Opener, suffix: str) -> None:
    pixels = texture(40, 30, 3, alpha=180)
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(pixels), **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(opener.picture(path), pixels)


def test_a_picture_is_turned_upright(tmp_path: Path, opener: Opener) -> None:
    image = Image.new("RGB", (64, 32), "white")
    image.paste("black", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    pixels = opener.picture(saved(tmp_path / "a.jpg", image, exif=exif))
    assert pixels.shape == (64, 32, 4)
    assert pixels[:28, :, :3].max() < 10
    assert pixels[36:, :, :3].min() > 245


def test_a_picture_that_is_turned_keeps_its_profile(tmp_path: Path, opener: Opener) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGBA", (32, 20), (200, 20, 60, 77))
    pixels = opener.picture(saved(tmp_path / "a.png", image, icc_profile=swapped_profile(), exif=exif))
    assert pixels.shape == (32, 20, 4)
    assert np.abs(pixels[0, 0].astype(int) - (20, 200, 60, 77)).max() <= 4


def test_a_photograph_with_previews_is_no_animation(tmp_path: Path, opener: Opener) -> None:
    previews = [Image.new("RGB", (16, 16), "red")]
    path = saved(
        tmp_path / "a.jpg", Image.new("RGB", (32, 20), "white"), format="MPO", append_images=previews, save_all=True
    )
    assert opener.picture(path).shape == (20, 32, 4)


def bomb() -> bytes:
    """A PNG whose header says 20,000 x 20,000 px."""
    out = io.BytesIO()
    Image.new("L", (20, 20)).save(out, "PNG")
    data = bytearray(out.getvalue())
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def test_pictures_that_are_refused(tmp_path: Path, opener: Opener) -> None:
    image = Image.fromarray(texture(64, 64, 4))
    whole = saved(tmp_path / "whole.png", image).read_bytes()
    bad = {
        "small.png": (None, "1 x 1 px"),
        "moving.webp": (None, "animated"),
        "moving.png": (None, "animated"),
        "bomb.png": (bomb(), "limit"),
        "cut.png": (whole[: len(whole) // 2], "damaged"),
        "head.png": (whole[:20], "no usable picture"),
        "text.png": (b"hello", "no usable picture"),
        "movie.gif": (None, "no usable picture"),
        "gone.png": (None, "no such file"),
    }
    saved(tmp_path / "small.png", Image.new("RGB", (1, 1)))
    for name in ("moving.webp", "moving.png", "movie.gif"):
        saved(tmp_path / name, image, save_all=True, append_images=[Image.new("RGBA", (64, 64), "red")])
    for name, (data, words) in bad.items():
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=words) as caught:
            opener.picture(tmp_path / name)
        assert name in line(caught)


def edited(opened: Opened, number: int) -> Made:
    """The design with one layer painted over, all others given."""
    layout = opened.layout
    given = {at: pixels for at, pixels in enumerate(opened.layers) if at != number}
    request = Request("edited", Task.ADD_LAYER, layout, given=given, chosen=(number,))
    box = layout.layers[number].box
    layers = tuple(given.get(at, texture(box.width, box.height, 5)) for at in range(len(layout.layers)))
    placed = zip(layers, (layer.box for layer in layout.layers), strict=True)
    return Made(request, layers, composite(placed, layout.visible))


def part_of(layer: Any, box: tuple[int, int, int, int]) -> Rgba:
    """The bytes of a layer of a file that lie in a box of the document."""
    return pixels_of(layer)[Box(*box).within(Box(*layer.bbox)).slices]


REAL = ["beeframework/banner.psd", "mpandroidchart/design/feature_graphic.psd", "oov-psd/testdata/photopea.psd"]
"""Of layers that show all their pixels as they are."""


@pytest.mark.parametrize("name", REAL)
def test_real_designs_keep_what_is_not_touched(corpus: Path, opener: Opener, tmp_path: Path, name: str) -> None:
    source = PSDImage.open(corpus / name)
    opened = opener.design(corpus / name)
    one = edited(opened, len(opened.layers) - 1)
    out = PSDImage.open(write(one, tmp_path, [Form.PSD]) / "design.psd")
    assert out.size == source.size
    before = {layer.name: layer for layer in source.descendants() if not layer.is_group()}
    assert len(out) == len(before)
    for layer in list(out)[:-1]:
        found = pixels_of(layer)
        assert found[..., 3].any()
        whole = before[layer.name]
        assert np.array_equal(found, part_of(whole, layer.bbox))
        assert (found[..., 3] > 0).sum() == (pixels_of(whole)[..., 3] > 0).sum()
    last = out[-1]
    assert np.array_equal(pixels_of(last), one.layers[-1])
    assert not np.array_equal(one.layers[-1], part_of(before[last.name], last.bbox))
