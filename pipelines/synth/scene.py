"""A design in the making: layers and groups added bottom to top, with what every layout needs at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.formats import style as styles
from pipelines.formats.tree import Mask
from pipelines.synth import shapes, words
from pipelines.synth.icons import icon
from pipelines.synth.looks import Effects, share
from pipelines.synth.palettes import Rgb
from pipelines.synth.photos import photo
from pipelines.synth.shapes import Coverage, Paint, filled
from pipelines.synth.stage import Stage
from pipelines.synth.text import Align, Setting, Style, typeset
from schemas.design import LayerKind
from schemas.geometry import Box


class Scene(Stage):
    """A stage with what every layout needs at hand: shapes, shadows, photographs, type."""

    @property
    def language(self) -> str:
        return self.copy.language

    # --- parts

    def fill(
        self,
        name: str,
        picture: Paint | Rgb,
        *,
        opacity: float = 1.0,
        blend: str = "normal",
        kind: LayerKind = LayerKind.FILL,
        bleed: float = 0.0,
        paint: styles.Paint | None = None,
    ) -> Box:
        """A layer over all of the canvas; ``bleed``: how far a plain colour runs out of it, as a share. Where there are
        effects there are fill layers too: ``paint`` then takes the picture's place, and so does a plain colour."""
        if isinstance(picture, tuple):
            out = self.reach(bleed)
            mask = shapes.full(self.width + 2 * out, self.height + 2 * out)
            fill = (paint or styles.Solid(share(picture))) if self.looks.on and not out else None
            return self.add(name, filled(mask, picture), -out, -out, kind=kind, opacity=opacity, blend=blend, fill=fill)
        mask = shapes.full(self.width, self.height)
        fill = paint if self.looks.on else None
        return self.add(name, filled(mask, picture), 0, 0, kind=kind, opacity=opacity, blend=blend, fill=fill)

    def shape(
        self,
        name: str,
        mask: Coverage,
        colour: Rgb | Paint,
        x: float,
        y: float,
        *,
        opacity: float = 1.0,
        blend: str = "normal",
        clipped: bool = False,
        visible: bool = True,
        cut: Mask | None = None,
        style: Effects | None = None,
    ) -> Box:
        """A shape; without a ``style`` of its own it may get an ornament."""
        if style is None:
            plain = clipped or blend != "normal" or max(mask.shape) > 40 * self.unit
            style = () if plain else self.looks.ornament(min(mask.shape))
        return self.add(
            name,
            filled(mask, colour),
            x,
            y,
            opacity=opacity,
            blend=blend,
            clipped=clipped,
            visible=visible,
            mask=cut,
            style=style,
        )

    def panel(
        self, name: str, x: float, y: float, width: float, height: float, colour: Rgb, radius: float = 0, **look: float
    ) -> Box:
        """A rounded rectangle."""
        mask = shapes.rounded(max(1, round(width)), max(1, round(height)), radius)
        return self.add(name, filled(mask, colour), x, y, opacity=look.get("opacity", 1.0))

    def shadow(
        self,
        name: str,
        mask: Coverage,
        x: float,
        y: float,
        *,
        blur: float,
        drop: float,
        opacity: float = 0.35,
        colour: Rgb = (0, 0, 0),
    ) -> Effects:
        """A soft shadow of ``mask``: the effect of the layer that casts it, or where there are none, a layer."""
        if self.looks.on:
            return self.looks.lift(blur, drop, opacity, colour)
        self.soft(name, mask, x, y, blur=blur, drop=drop, opacity=opacity, colour=colour)
        return ()

    def soft(
        self,
        name: str,
        mask: Coverage,
        x: float,
        y: float,
        *,
        blur: float,
        drop: float,
        opacity: float = 0.35,
        colour: Rgb = (0, 0, 0),
    ) -> None:
        """A soft shadow as a layer of its own; opacity lies in its pixels."""
        soft, pad = shapes.blurred(mask, max(0.6, blur))
        soft = (soft * np.float32(opacity)).astype(np.uint8)
        self.add(f"{name} shadow", filled(soft, colour), x - pad, y - pad + drop)

    def card(
        self,
        name: str,
        x: float,
        y: float,
        width: float,
        height: float,
        colour: Rgb,
        radius: float,
        *,
        lift: float = 1.0,
    ) -> Box:
        """A rounded panel with its soft shadow below."""
        mask = shapes.rounded(max(1, round(width)), max(1, round(height)), radius)
        style = self.shadow(name, mask, x, y, blur=lift * self.unit, drop=lift * self.unit * 0.6, opacity=0.22)
        return self.add(name, filled(mask, colour), x, y, style=(*style, *self.looks.card(colour)))

    def picture(
        self,
        name: str,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        scene: str | None = None,
        clipped: bool = False,
        mask: Mask | None = None,
        opacity: float = 1.0,
        cover: Coverage | None = None,
        style: Effects = (),
    ) -> Box:
        """A photograph that suits the theme; ``cover`` is its alpha where it is not a rectangle."""
        scene = scene or self.dice.pick(words.scenes(self.copy.theme))
        image = photo(scene, self.dice.child(), round(width), round(height))
        alpha = shapes.full(round(width), round(height)) if cover is None else cover
        behind = clipped or width * height > 0.5 * self.width * self.height
        return self.add(
            name,
            filled(alpha, image),
            x,
            y,
            kind=LayerKind.IMAGE,
            clipped=clipped,
            mask=mask,
            opacity=opacity,
            style=() if behind else (*style, *self.looks.photo()),
        )

    def icon(self, name: str, size: float, colour: Rgb, x: float, y: float, **look: float) -> Box:
        mask = icon(name, max(4, round(size)))
        style = self.looks.icon(colour, size)
        return self.add(f"{name} icon", filled(mask, colour), x, y, opacity=look.get("opacity", 1.0), style=style)

    # --- type

    def head(
        self,
        size: float,
        colour: Rgb,
        *,
        language: str | None = None,
        italic: bool = False,
        weight: int | None = None,
        tracking: float = 0.0,
    ) -> Style:
        fonts = self.fonts.for_language(language or self.language)
        return Style(fonts.display, max(5, round(size)), colour, weight or fonts.heavy, italic, tracking)

    def body(
        self,
        size: float,
        colour: Rgb,
        *,
        language: str | None = None,
        italic: bool = False,
        weight: int | None = None,
        tracking: float = 0.0,
    ) -> Style:
        fonts = self.fonts.for_language(language or self.language)
        return Style(fonts.body, max(5, round(size)), colour, weight or fonts.regular, italic, tracking)

    def type(
        self,
        text: str | Sequence[tuple[str, Style]],
        style: Style | None,
        x: float,
        y: float,
        *,
        width: float | None = None,
        align: Align = "left",
        leading: float = 1.25,
        language: str | None = None,
        name: str | None = None,
        opacity: float = 1.0,
        blend: str = "normal",
        visible: bool = True,
    ) -> Setting:
        """A text layer whose block starts at (``x``, ``y``); without ``width`` it is anchored at ``x`` by ``align``."""
        runs: list[tuple[str, Style]] = [(text, style)] if isinstance(text, str) and style else list(text)  # type: ignore[arg-type]
        setting = typeset(runs, width=width, align=align, leading=leading, language=language or self.language)
        if width is None:
            x -= {"left": 0.0, "centre": setting.width / 2, "right": setting.width}[align]
        label = name or " ".join(setting.text.content.split())[:40]
        large = max(runs, key=lambda run: run[1].size)[1]
        look, fill = self.looks.headline(large.colour, large.size) if large.size > 5.5 * self.unit else ((), 1.0)
        self.add(
            label,
            setting.pixels,
            x + setting.dx,
            y + setting.dy,
            kind=LayerKind.TEXT,
            opacity=opacity,
            blend=blend,
            visible=visible,
            setting=setting,
            style=look,
            fill_opacity=fill,
        )
        return setting

    def latin(
        self,
        text: str,
        size: float,
        colour: Rgb,
        x: float,
        y: float,
        *,
        align: Align = "left",
        weight: int = 400,
        tracking: float = 0.0,
        opacity: float = 1.0,
    ) -> Setting:
        """A line of numbers, dates or addresses: body type, whatever the design's language."""
        style = self.body(size, colour, language="en", weight=weight, tracking=tracking)
        return self.type(text, style, x, y, align=align, language="en", opacity=opacity)

    def button(
        self,
        text: str,
        x: float,
        y: float,
        size: float,
        colour: Rgb,
        *,
        align: Align = "left",
        radius: float | None = None,
        language: str | None = None,
    ) -> Box:
        """A call to action: a group of shadow, shape and label. ``size`` is that of its type, in px."""
        style = self.body(size, self.palette.on(colour), weight=700, language=language)
        setting = typeset([(text, style)], language=language or self.language)
        width, height = round(setting.width + 2.4 * size), round(2.3 * size)
        x -= {"left": 0.0, "centre": width / 2, "right": width}[align]
        mask = shapes.rounded(width, height, height / 2 if radius is None else radius)
        with self.group(f"Button {text}"):
            look = self.shadow("Button", mask, x, y, blur=size * 0.5, drop=size * 0.3)
            look = (*look, *self.looks.button(colour, height))
            box = self.add("Button shape", filled(mask, colour), x, y, style=look)
            self.add(
                text,
                setting.pixels,
                x + 1.2 * size + setting.dx,
                y + (height - setting.height) / 2 + setting.dy,
                kind=LayerKind.TEXT,
                setting=setting,
            )
        return box
