"""What a PSD says, read truly: colour spaces, the merged picture, masks, artboards, clipping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ImageCms
from psd_tools.constants import BlendMode, ColorMode, SectionDivider, Tag
from psd_tools.psd import image_resources, tagged_blocks
from psd_tools.psd.base import ByteElement
from psd_tools.psd.descriptor import Descriptor, DescriptorBlock, Double, Integer
from psd_tools.psd.layer_and_mask import MaskData, MaskFlags, MaskParameters
from psd_tools.psd.tagged_blocks import SectionDividerSetting

from pipelines.formats import Document, Group, Leaf, ReadLimits, read
from pipelines.formats.psd_colours import Colours, space_of
from pipelines.formats.psd_open import opened
from pipelines.formats.tree import SRGB, Mask
from schemas.geometry import Box
from tests.pipelines.psd_records import Plane, Spec, colour, path_block, rgba, save

SIZE = (24, 16)
ALL = Box(0, 0, *SIZE)
SHAPE = SIZE[::-1]
GRAYS = np.linspace(0, 255, SIZE[0] * SIZE[1]).reshape(SHAPE).astype(np.uint8)


def read_psd(path: Path) -> Document:
    return read(path, "psd", ReadLimits())


def only(document: Document) -> Leaf:
    (leaf,) = document.nodes
    assert isinstance(leaf, Leaf)
    return leaf


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


def darker() -> bytes:
    """An RGB profile that is not sRGB: its primaries turned round."""
    data = bytearray(profile("sRGB"))
    red, blue = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


def test_codes_are_the_documents_own(tmp_path: Path) -> None:
    box = Box(-3, 2, 5, 9)
    path = save(tmp_path / "a.psd", SIZE, [Spec(box=box, planes=rgba(box, (10, 20, 30), 99))], profile=darker())
    document = read_psd(path)
    pixels = only(document).pixels()
    assert document.space.convert is not None
    assert pixels.shape == (7, 8, 4) and pixels[0, 0].tolist() == [10, 20, 30, 99]
    assert np.abs(document.space.rgba(pixels)[0, 0].astype(int) - (30, 20, 10, 99)).max() <= 2
    assert document.space.rgba(pixels[:0]).shape == (0, 8, 4)
    assert np.array_equal(document.space.rgba(pixels[:, ::2]), document.space.rgba(pixels)[:, ::2])


def test_a_profile_that_is_srgb_in_effect_converts_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "a.psd", SIZE, [Spec(box=ALL, planes=rgba(ALL, (1, 2, 3)))], profile=profile("sRGB"))
    assert read_psd(path).space == SRGB


def test_a_broken_profile_is_no_profile(tmp_path: Path) -> None:
    path = save(tmp_path / "a.psd", SIZE, [Spec(box=ALL, planes=rgba(ALL, (1, 2, 3)))], profile=b"nonsense" * 40)
    assert read_psd(path).space == SRGB


def test_gray_is_three_equal_codes(tmp_path: Path) -> None:
    document = read_psd(save(tmp_path / "a.psd", SIZE, [Spec(box=ALL, planes={0: GRAYS})], mode=ColorMode.GRAYSCALE))
    pixels = only(document).pixels()
    assert document.space.name == "gray" and document.space.channels == 3
    assert all(np.array_equal(pixels[..., i], GRAYS) for i in range(3)) and (pixels[..., 3] == 255).all()


def test_ink_is_what_is_left_of_white(tmp_path: Path) -> None:
    planes: dict[int, Plane] = {i: np.full(SHAPE, value, np.uint8) for i, value in enumerate((255, 0, 255, 128))}
    document = read_psd(save(tmp_path / "a.psd", SIZE, [Spec(box=ALL, planes=planes)], mode=ColorMode.CMYK))
    pixels = only(document).pixels()
    assert document.space.channels == 4 and pixels[0, 0].tolist() == [255, 0, 255, 128, 255]
    red, green, blue, alpha = (int(value) for value in document.space.rgba(pixels)[0, 0])
    assert alpha == 255 and green < 20 and 100 < red < 160 and 100 < blue < 160  # half of black over magenta


def test_lab_is_its_lightness(tmp_path: Path) -> None:
    planes: dict[int, Plane] = {0: GRAYS, 1: np.full(SHAPE, 128, np.uint8), 2: np.full(SHAPE, 128, np.uint8)}
    document = read_psd(save(tmp_path / "a.psd", SIZE, [Spec(box=ALL, planes=planes)], mode=ColorMode.LAB))
    shown = document.space.rgba(only(document).pixels())[..., :3].astype(int)
    assert document.space.name == "Lab" and np.ptp(shown, axis=2).max() <= 1
    assert shown[0, 0].max() == 0 and shown[-1, -1].min() == 255 and abs(shown[8, 0, 0] - 119) < 4


@pytest.mark.parametrize("depth", [16, 32])
def test_deep_documents_are_rounded_to_codes(tmp_path: Path, depth: int) -> None:
    values = np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SHAPE)
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    plane = np.rint(values * 65535).astype(">u2") if depth == 16 else light.astype(">f4")
    path = save(tmp_path / "a.psd", SIZE, [Spec(box=ALL, planes=dict.fromkeys((0, 1, 2), plane))], depth=depth)
    codes = only(read_psd(path)).pixels()[..., 0].astype(int)
    assert np.abs(codes - values * 255).max() <= 0.51


@pytest.mark.parametrize("mode", [ColorMode.RGB, ColorMode.GRAYSCALE, ColorMode.CMYK, ColorMode.LAB])
def test_colours_of_descriptors_come_back(mode: ColorMode) -> None:
    """An sRGB colour as codes is that colour once it is converted."""
    codes = Colours(mode, 8, 1, space_of(mode, None)).codes((0.2, 0.2, 0.2))
    assert len(codes) == (4 if mode is ColorMode.CMYK else 3)
    level = np.rint(np.array(codes) * 255).astype(np.uint8)[None, None]
    space = space_of(mode, None)
    shown = level if space.convert is None else space.convert(level)
    assert np.abs(shown.astype(int) - 51).max() <= 2


def test_the_merged_picture_loses_its_white_before_it_is_converted(tmp_path: Path) -> None:
    alpha = np.full(SHAPE, 128, np.uint8)
    own = np.array([40, 120, 200])
    matted = [np.full(SHAPE, round(value * 128 / 255 + 127), np.uint8) for value in own]
    path = save(
        tmp_path / "a.psd",
        SIZE,
        [Spec(box=ALL, planes=rgba(ALL, own.tolist(), 128))],
        merged=[*(plane + GRAYS % 2 for plane in matted), alpha],
        profile=darker(),
        declared_alpha=True,
    )
    document = read_psd(path)
    assert document.preview is not None and not document.opaque_on_white
    shown = document.space.rgba(only(document).pixels()).astype(int)
    assert np.abs(document.preview.astype(int) - shown).max() <= 4


def test_an_undeclared_fourth_plane_is_alpha(tmp_path: Path) -> None:
    planes = [GRAYS, GRAYS, GRAYS, np.full(SHAPE, 7, np.uint8)]
    path = save(tmp_path / "a.psd", SIZE, [Spec(box=ALL, planes=rgba(ALL, (1, 2, 3)))], merged=planes)
    preview = read_psd(path).preview
    assert preview is not None and (preview[..., 3] == 7).all()


def masked(tmp_path: Path, mask: MaskData, plane: Plane, blocks: dict[Tag, object] | None = None) -> Mask | None:
    """The mask that is read for a layer with one."""
    planes = {**rgba(ALL, (1, 2, 3)), -2: plane}
    path = save(tmp_path / "a.psd", SIZE, [Spec(box=ALL, planes=planes, mask=mask, blocks=blocks or {})])
    return only(read_psd(path)).mask


def half() -> Plane:
    plane = np.zeros((16, 12), np.uint8)
    plane[:] = 255
    return plane


def test_a_mask_has_a_place_and_an_outside(tmp_path: Path) -> None:
    mask = masked(tmp_path, MaskData(0, 0, 16, 12, 0), half())
    assert mask is not None and mask.box == Box(0, 0, 12, 16) and mask.outside == 0 and (mask.pixels == 255).all()


def test_a_mask_that_shows_all_is_none(tmp_path: Path) -> None:
    assert masked(tmp_path, MaskData(0, 0, 16, 12, 255), half()) is None
    assert masked(tmp_path, MaskData(0, 0, 0, 0, 255), np.zeros((0, 0), np.uint8)) is None


def test_a_mask_that_is_off_is_none(tmp_path: Path) -> None:
    off = MaskData(0, 0, 16, 12, 0, flags=MaskFlags(mask_disabled=True))
    assert masked(tmp_path, off, half()) is None


def eased(**values: float) -> MaskData:
    parameters = MaskParameters(**values)
    return MaskData(0, 0, 16, 12, 0, flags=MaskFlags(parameters_applied=True), parameters=parameters)


def test_density_lets_through(tmp_path: Path) -> None:
    mask = masked(tmp_path, eased(user_mask_density=51), half())
    assert mask is not None and mask.outside == 204 and (mask.pixels == 255).all()


def test_feather_softens_both_ways(tmp_path: Path) -> None:
    mask = masked(tmp_path, eased(user_mask_feather=2.0), half())
    assert mask is not None and mask.outside == 0
    row = mask.pixels[8 - mask.box.y0]
    at = {x: int(row[x - mask.box.x0]) for x in (4, 9, 11, 12, 14, 17)}
    assert at[4] > 240 and at[17] < 5 and at[9] > at[11] > at[12] > at[14]
    assert at[11] + at[12] == pytest.approx(255, abs=4)  # the edge stays where it was


def test_a_vector_mask_is_drawn(tmp_path: Path) -> None:
    triangle = path_block(SIZE, ((4.0, 2.0), (20.0, 2.0), (20.0, 14.0), (4.0, 14.0)))
    path = save(
        tmp_path / "a.psd",
        SIZE,
        [Spec(box=ALL, planes=rgba(ALL, (1, 2, 3)), blocks={Tag.VECTOR_MASK_SETTING1: triangle})],
    )
    mask = only(read_psd(path)).mask
    assert mask is not None and mask.box == Box(4, 2, 20, 14) and mask.outside == 0 and (mask.pixels == 255).all()


def test_a_rendered_vector_mask_that_was_cut_is_drawn_again(tmp_path: Path) -> None:
    box = Box(0, 0, 40, 16)
    wide = path_block(SIZE, ((4.0, 2.0), (36.0, 2.0), (36.0, 14.0), (4.0, 14.0)))
    rendered = MaskData(2, 4, 14, 24, 0, flags=MaskFlags(user_mask_from_render=True))
    planes = {**rgba(box, (1, 2, 3)), -2: np.full((12, 20), 200, np.uint8)}
    spec = Spec(box=box, planes=planes, mask=rendered, blocks={Tag.VECTOR_MASK_SETTING1: wide})
    mask = only(read_psd(save(tmp_path / "a.psd", SIZE, [spec]))).mask
    assert mask is not None and mask.box == Box(4, 2, 36, 14) and (mask.pixels == 255).all()


def grouped(name: str, inside: list[Spec], **more: object) -> list[Spec]:
    """A group as records, bottom to top."""
    bottom = SectionDividerSetting(kind=SectionDivider.BOUNDING_SECTION_DIVIDER)
    top = SectionDividerSetting(kind=SectionDivider.OPEN_FOLDER, blend_mode=BlendMode.NORMAL)
    extra = more.pop("blocks", {})
    assert isinstance(extra, dict)
    return [
        Spec(name="</Layer group>", blocks={Tag.SECTION_DIVIDER_SETTING: bottom}),
        *inside,
        Spec(name=name, blocks={Tag.SECTION_DIVIDER_SETTING: top, **extra}, **more),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(
    ("kind", "expected"), [(1, (255, 255, 255)), (2, (0, 0, 0)), (3, None), (4, (10, 200, 30))], ids=str
)
def test_an_artboard_clips_and_has_a_ground(tmp_path: Path, kind: int, expected: tuple[int, ...] | None) -> None:
    data = DescriptorBlock(classID=b"artboard")  # type: ignore[call-arg]
    rectangle = Descriptor(classID=b"classFloatRect")
    for key, value in ((b"Top ", 2), (b"Left", 3), (b"Btom", 12), (b"Rght", 20)):
        rectangle[key] = Double(float(value))
    data[b"artboardRect"], data[b"artboardBackgroundType"] = rectangle, Integer(kind)
    data[b"Clr "] = colour(10, 200, 30)
    layers = grouped("board", [Spec(box=ALL, planes=rgba(ALL, (1, 2, 3)))], blocks={Tag.ARTBOARD_DATA1: data})
    (board,) = read_psd(save(tmp_path / "a.psd", SIZE, layers)).nodes
    assert isinstance(board, Group) and board.clip == Box(3, 2, 20, 12) and board.isolated and board.mask is None
    ground = board.children[0]
    assert isinstance(ground, Leaf) and len(board.children) == (1 if expected is None else 2)
    if expected is not None:
        assert ground.box == board.clip and ground.pixels()[0, 0].tolist() == [*expected, 255]


def test_groups_and_leaves_say_opacity_and_fill_apart(tmp_path: Path) -> None:
    fill = {Tag.BLEND_FILL_OPACITY: ByteElement(51)}
    inside = [Spec(box=ALL, planes=rgba(ALL, (1, 2, 3)), opacity=102, blocks=fill)]
    (group,) = read_psd(save(tmp_path / "a.psd", SIZE, grouped("g", inside, opacity=204, clipped=True))).nodes
    assert isinstance(group, Group) and group.opacity == 204 / 255 and group.clipped
    assert group.children[0].opacity == 102 / 255 and group.children[0].fill_opacity == 51 / 255


def test_parsers_that_are_left_out_are_back_afterwards(tmp_path: Path) -> None:
    before = dict(tagged_blocks.TYPES), dict(image_resources.TYPES)
    path = save(tmp_path / "a.psd", SIZE, [Spec(blocks={Tag.TEXT_ENGINE_DATA: b"what it says"})])
    psd = opened(path, ReadLimits())
    assert bytes(psd[0].tagged_blocks[Tag.TEXT_ENGINE_DATA].data).startswith(b"what it says")
    assert (dict(tagged_blocks.TYPES), dict(image_resources.TYPES)) == before
