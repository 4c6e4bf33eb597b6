"""Captions of a design and its layers. The embedded default is the template captioner."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipelines.caption import template
from pipelines.caption.colours import dominant
from pipelines.caption.naming import clean
from pipelines.caption.phrases import LANGUAGES
from schemas.design import Caption, Captions, Design, Layer, LayerKind
from schemas.sample import Sample

TEMPLATE = "template"
TYPOGRAPHY = "typography"
MANIFEST = "manifest"


def _known(languages: tuple[str, ...]) -> tuple[str, ...]:
    for language in languages:
        if language not in LANGUAGES:
            raise ValueError(f"the template captioner does not speak {language!r}, only {', '.join(LANGUAGES)}")
    if len(set(languages)) != len(languages):
        raise ValueError("a language is named twice")
    return languages


class CaptionConfig(BaseModel):
    """How designs are captioned.

    ``languages`` (BCP 47): each gets a short and a long global caption; layer captions are in the first one.
    ``layers``: caption the layers too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    languages: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known)] = ("en",)
    layers: bool = True


def caption_design(sample: Sample, config: CaptionConfig, given: str | None = None) -> Design:
    """The sample's record with its captions filled in.

    ``given`` is the caption of the manifest: it becomes the short caption in the first language. A text layer whose
    typography is known is captioned from it and from nothing else.

    Raises:
        ImageError: a member is damaged.
        SampleError: a member is missing.
    """
    design = sample.design
    composite = sample.composite()[design.visible.slices]
    layer_colours = [dominant(sample.layer(layer.index), template.COLOURS) for layer in design.layers]
    view = template.view(design, dominant(composite, template.COLOURS), layer_colours)
    short, long = {}, {}
    for language in config.languages:
        words = LANGUAGES[language]
        short[language] = Caption(text=template.short_caption(view, words), source=TEMPLATE)
        long[language] = Caption(text=template.long_caption(view, words), source=TEMPLATE)
    if given and (text := clean(given, template.SHORT_LIMIT)):
        short[config.languages[0]] = Caption(text=text, source=MANIFEST)
    layers = tuple(_captioned(seen, design, config) for seen in view.layers) if config.layers else design.layers
    return design.model_copy(update={"captions": Captions(short=short, long=long), "layers": layers})


def _captioned(seen: template.Seen, design: Design, config: CaptionConfig) -> Layer:
    words = LANGUAGES[config.languages[0]]
    if seen.layer.kind is LayerKind.TEXT and template.content(seen.layer):
        caption = Caption(text=template.text_caption(seen.layer, design.visible, words), source=TYPOGRAPHY)
    else:
        caption = Caption(text=template.layer_caption(seen, design.visible, words), source=TEMPLATE)
    return seen.layer.model_copy(update={"caption": caption})
