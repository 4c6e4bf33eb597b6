"""``acetate inspect``: what it prints and writes for files made here, good and bad."""

from __future__ import annotations

import io
import json

import fsspec
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pipelines import formats
from pipelines.errors import UsageError
from pipelines.flatten import FlattenConfig
from pipelines.formats.tree import Document, Group, Leaf
from pipelines.inspect import inspect
from pipelines.sandbox import Limits
from schemas.geometry import Box

LARGE = FlattenConfig(max_canvas_ratio=16)


def leaf(name, colour, box, **fields):
    where = Box(*box)
    pixels = np.empty((where.height, where.width, 4), np.uint8)
    pixels[:] = colour
    return Leaf(name, box=where, pixels=lambda: pixels, **fields)


@pytest.fixture
def made(tmp_path):
    """Writes a design as a layer folder and gives its path."""

    def make(*extra, preview=None):
        badge = leaf("[red]badge[/]", (250, 0, 0, 255), (80, 10, 120, 40), opacity=0.5)
        nodes = (leaf("paper", (240, 240, 240, 255), (0, 0, 100, 80)), Group("front", children=(badge,)), *extra)
        path = tmp_path / "design"
        formats.write(Document(100, 80, nodes, preview=preview), path)
        return path

    return make


def run(path, out=None, config=None, **others):
    """(what is printed, the exit status)"""
    text = io.StringIO()
    status = inspect(str(path), out, Console(file=text, width=200), config, **others)
    return text.getvalue(), status


def test_tree_stack_and_error_are_printed(made):
    printed, status = run(made())
    assert status == 0
    for part in ("100 x 80 px", "front  group", "[red]badge[/]  image, [80, 10, 120, 40], opacity 50%"):
        assert part in printed
    assert "canvas 120 x 80, visible [0, 0, 100, 80]" in printed
    assert "0 0 20 0 px, 50%" in printed
    assert "mean error 0.0" in printed


def test_layers_pictures_and_layout_are_written(made, tmp_path):
    out = tmp_path / "out"
    run(made(), out)
    layers = {"layer_00.png", "layer_01.png"}
    others = {"composite.png", "difference.png", "exploded.png", "layout.json", "preview.png"}
    assert {path.name for path in out.iterdir()} == layers | others
    layout = json.loads((out / "layout.json").read_text())
    assert layout["canvas"] == {"width": 120, "height": 80}
    assert [layer["box"] for layer in layout["layers"]] == [[0, 0, 100, 80], [80, 10, 120, 40]]
    assert layout["layers"][1]["overflow"]["right"] == 20
    with Image.open(out / "layer_01.png") as image:
        assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGBA", (40, 30), (250, 0, 0, 128))


def test_a_mismatch_is_shown_and_then_refused(made, tmp_path):
    out = tmp_path / "out"
    preview = np.full((80, 100, 4), 255, np.uint8)
    preview[:, :50, :3] = 0
    printed, status = run(made(leaf("dust", (9, 9, 9, 9), (0, 0, 5, 5), undrawn=("bevel",)), preview=preview), out)
    assert status == 1
    assert "not drawn: bevel" in printed
    assert printed.splitlines()[-1].startswith("recompose_mismatch: mean error ")
    assert printed.splitlines()[-1].endswith(": bevel")
    assert (out / "exploded.png").exists()


def test_a_design_that_is_too_small_is_shown_all_the_same(made):
    printed, status = run(made(), config=FlattenConfig(min_side=500))
    assert status == 1
    assert "recomposition" in printed
    assert printed.splitlines()[-1].startswith("too_small: 100 x 80 px")


def test_what_is_no_design_is_refused(tmp_path):
    path = tmp_path / "broken.psd"
    path.write_bytes(b"8BPS nonsense")
    printed, status = run(path)
    assert status == 1
    assert printed.startswith("unreadable: ")
    printed, status = run(tmp_path / "missing.psd")
    assert status == 1
    assert printed.startswith("not_found: ")


def test_a_hostile_name_prints_as_plain_text(made):
    printed, status = run(made(leaf("\x1b[31mred\nline[bold]" + "x" * 500, (1, 2, 3, 255), (0, 0, 9, 9))))
    assert status == 0
    assert "\x1b" not in printed
    assert "red line[bold]" in printed
    assert "x" * 70 not in printed


def test_no_word_of_a_file_reaches_the_terminal_raw(made):
    words = {"blend_mode": "\x1b[31mmode", "effects": ("\x1b]0;effect\x07",), "undrawn": ("\u202eshadow\x9b2J",)}
    printed, status = run(made(leaf("a", (1, 2, 3, 255), (0, 0, 9, 9), **words)))
    assert status == 1
    assert "shadow" in printed.splitlines()[-1]
    assert all(letter.isprintable() for letter in printed.replace("\n", ""))


def test_the_tree_says_which_layer_a_node_became(made):
    printed, _ = run(made(leaf("dust", (1, 2, 3, 255), (5, 5, 9, 9)), leaf("gone", (1, 2, 3, 0), (5, 5, 9, 9))))
    lines = {line.split("──")[-1].split()[0]: line for line in printed.splitlines() if "──" in line}
    assert lines["paper"].endswith("→ layer 0, exact")
    assert lines["[red]badge[/]"].endswith("→ layer 1, exact")
    assert lines["dust"].endswith("→ layer 2, exact")
    assert "→" not in lines["gone"]
    assert "→" not in lines["front"]


def test_a_design_that_is_too_much_is_shown_as_far_as_it_goes(made, tmp_path):
    out = tmp_path / "out"
    cost = Limits(memory_mb=256)
    printed, status = run(made(leaf("huge", (1, 2, 3, 99), (0, 0, 9000, 7000))), out, LARGE, cost=cost)
    assert status == 1
    assert "huge  image, [0, 0, 9000, 7000]" in printed
    assert printed.splitlines()[-1].startswith("out_of_memory: ")
    assert not out.exists()


def test_what_no_reader_foresaw_costs_the_stack_alone(made):
    """An error in the child that is not ours comes back as one line, below the tree."""
    printed, status = run(made(), config="no configuration")
    assert status == 1
    assert "front  group" in printed
    assert printed.splitlines()[-1].startswith("unreadable: AttributeError: ")


def test_where_nothing_can_be_written_is_the_users_mistake(made, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot write to .*file"):
        run(made(), tmp_path / "file")


def test_a_memory_url_is_read_too(made):
    fsspec.filesystem("memory").put(str(made()), "/inspected", recursive=True)
    printed, status = run("memory://inspected")
    assert status == 0, printed
    assert "100 x 80 px" in printed


def test_the_layout_has_the_texts(corpus, tmp_path):
    run(corpus / "psd.rb/spec/files/slices.psd", tmp_path)
    layout = json.loads((tmp_path / "layout.json").read_text())
    title = next(layer["text"] for layer in layout["layers"] if layer["name"] == "Screen Title")
    (run_,) = title["runs"]
    assert (run_["text"], run_["font"], run_["size"]) == ("Screen Title", "ProximaNova-Light", 40.0)
    assert title["alignment"] == "centre"
