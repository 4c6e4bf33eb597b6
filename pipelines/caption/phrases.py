"""The words of the template captioner, one table a language. A language more is a table more.

Phrases are joined, never inflected: each stands alone in the form in which it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.design import LayerKind

K = LayerKind
Place = tuple[int, int]
"""Row and column of the middle of a layer in a 3 x 3 grid over the visible box, from the top left."""


@dataclass(frozen=True)
class Phrases:
    """What one language says. ``{}`` marks where the value goes."""

    quote: str
    comma: str
    last: str
    stop: str
    semicolon: str
    in_brackets: str
    opener: str
    opener_plain: str
    portrait: str
    landscape: str
    square: str
    reading: str
    featuring: str
    background: str
    elements: str
    texts: str
    size: str
    more: tuple[str, str]
    kinds: Mapping[LayerKind, str]
    counted: Mapping[LayerKind, tuple[str, str]]
    places: Mapping[Place, str]
    everywhere: str
    small: str
    large: str
    translucent: str
    beyond: Mapping[str, str]
    beyond_several: str
    bold: str
    light: str
    italic: str
    underlined: str
    struck: str
    turned: str
    colours: Mapping[str, str]

    def quoted(self, text: str) -> str:
        return self.quote.format(text)

    def listed(self, words: Sequence[str]) -> str:
        """The words as one enumeration."""
        if len(words) < 2:
            return "".join(words)
        return self.comma.join(words[:-1]) + self.last + words[-1]

    def named(self, colours: Sequence[str]) -> str:
        """Names of ``colours.NAMED`` as one enumeration in this language."""
        return self.listed([self.colours.get(colour, colour) for colour in colours])


def _grid(*names: str) -> dict[Place, str]:
    return {(index // 3, index % 3): name for index, name in enumerate(names)}


EN = Phrases(
    quote="“{}”", comma=", ", last=" and ", stop=".", semicolon="; ", in_brackets="{} ({})",
    opener="{orientation} in {colours}", opener_plain="{orientation}",
    portrait="A portrait design", landscape="A landscape design", square="A square design",
    reading="reading {}", featuring="featuring {}", background="Background: {}", elements="Elements: {}",
    texts="Text: {}", size="{} × {} px", more=("and 1 more", "and {} more"),
    kinds={K.BACKGROUND: "Background", K.IMAGE: "Image", K.TEXT: "Text", K.SHAPE: "Shape", K.FILL: "Fill",
           K.GROUP: "Group"},
    counted={K.IMAGE: ("an image", "{} images"), K.SHAPE: ("a shape", "{} shapes"), K.FILL: ("a fill", "{} fills"),
             K.GROUP: ("a group of elements", "{} groups of elements"), K.TEXT: ("a text", "{} texts")},
    places=_grid("at the top left", "at the top", "at the top right", "on the left", "in the centre", "on the right",
                 "at the bottom left", "at the bottom", "at the bottom right"),
    everywhere="over the whole design", small="small", large="large", translucent="translucent",
    beyond={"left": "reaching past the left edge", "top": "reaching past the top edge",
            "right": "reaching past the right edge", "bottom": "reaching past the bottom edge"},
    beyond_several="reaching past several edges",
    bold="bold", light="light", italic="italic", underlined="underlined", struck="struck through", turned="rotated {}°",
    colours={},
)  # fmt: skip

DE = Phrases(
    quote="„{}“", comma=", ", last=" und ", stop=".", semicolon="; ", in_brackets="{} ({})",
    opener="{orientation} in {colours}", opener_plain="{orientation}",
    portrait="Ein Design im Hochformat", landscape="Ein Design im Querformat", square="Ein quadratisches Design",
    reading="mit dem Text {}", featuring="zu sehen: {}", background="Hintergrund: {}", elements="Elemente: {}",
    texts="Text: {}", size="{} × {} px", more=("und 1 weiteres", "und {} weitere"),
    kinds={K.BACKGROUND: "Hintergrund", K.IMAGE: "Bild", K.TEXT: "Text", K.SHAPE: "Form", K.FILL: "Füllung",
           K.GROUP: "Gruppe"},
    counted={K.IMAGE: ("ein Bild", "{} Bilder"), K.SHAPE: ("eine Form", "{} Formen"),
             K.FILL: ("eine Füllung", "{} Füllungen"), K.GROUP: ("eine Gruppe", "{} Gruppen"),
             K.TEXT: ("ein Text", "{} Texte")},
    places=_grid("oben links", "oben", "oben rechts", "links", "in der Mitte", "rechts", "unten links", "unten",
                 "unten rechts"),
    everywhere="über das ganze Design", small="klein", large="groß", translucent="durchscheinend",
    beyond={"left": "ragt über den linken Rand", "top": "ragt über den oberen Rand",
            "right": "ragt über den rechten Rand", "bottom": "ragt über den unteren Rand"},
    beyond_several="ragt über mehrere Ränder",
    bold="fett", light="leicht", italic="kursiv", underlined="unterstrichen", struck="durchgestrichen",
    turned="um {}° gedreht",
    colours={
        "black": "Schwarz", "dark gray": "Dunkelgrau", "gray": "Grau", "light gray": "Hellgrau", "white": "Weiß",
        "red": "Rot", "dark red": "Dunkelrot", "orange": "Orange", "brown": "Braun", "beige": "Beige", "yellow": "Gelb",
        "gold": "Gold", "olive": "Oliv", "lime": "Limettengrün", "green": "Grün", "dark green": "Dunkelgrün",
        "mint": "Mint", "teal": "Petrol", "turquoise": "Türkis", "light blue": "Hellblau", "blue": "Blau",
        "navy": "Marineblau", "purple": "Violett", "lavender": "Lavendel", "magenta": "Magenta", "pink": "Rosa",
        "coral": "Koralle",
    },
)  # fmt: skip

FR = Phrases(
    quote="« {} »", comma=", ", last=" et ", stop=".", semicolon=" ; ", in_brackets="{} ({})",
    opener="{orientation} en {colours}", opener_plain="{orientation}",
    portrait="Un visuel au format portrait", landscape="Un visuel au format paysage", square="Un visuel carré",
    reading="avec le texte {}", featuring="montrant {}", background="Fond : {}", elements="Éléments : {}",
    texts="Texte : {}", size="{} × {} px", more=("et 1 autre", "et {} autres"),
    kinds={K.BACKGROUND: "Fond", K.IMAGE: "Image", K.TEXT: "Texte", K.SHAPE: "Forme", K.FILL: "Aplat",
           K.GROUP: "Groupe"},
    counted={K.IMAGE: ("une image", "{} images"), K.SHAPE: ("une forme", "{} formes"),
             K.FILL: ("un aplat", "{} aplats"),
             K.GROUP: ("un groupe d’éléments", "{} groupes d’éléments"), K.TEXT: ("un texte", "{} textes")},
    places=_grid("en haut à gauche", "en haut", "en haut à droite", "à gauche", "au centre", "à droite",
                 "en bas à gauche", "en bas", "en bas à droite"),
    everywhere="sur tout le visuel", small="en petit", large="en grand", translucent="en transparence",
    beyond={"left": "débordant à gauche", "top": "débordant en haut", "right": "débordant à droite",
            "bottom": "débordant en bas"},
    beyond_several="débordant sur plusieurs bords",
    bold="gras", light="maigre", italic="italique", underlined="souligné", struck="barré", turned="pivoté de {}°",
    colours={
        "black": "noir", "dark gray": "gris foncé", "gray": "gris", "light gray": "gris clair", "white": "blanc",
        "red": "rouge", "dark red": "rouge foncé", "orange": "orange", "brown": "brun", "beige": "beige",
        "yellow": "jaune", "gold": "doré", "olive": "olive", "lime": "vert citron", "green": "vert",
        "dark green": "vert foncé", "mint": "vert menthe", "teal": "bleu canard", "turquoise": "turquoise",
        "light blue": "bleu clair", "blue": "bleu", "navy": "bleu marine", "purple": "violet", "lavender": "lavande",
        "magenta": "magenta", "pink": "rose", "coral": "corail",
    },
)  # fmt: skip

JA = Phrases(
    quote="「{}」", comma="、", last="と", stop="。", semicolon="／", in_brackets="{}（{}）",
    opener="{colours}の{orientation}", opener_plain="{orientation}",
    portrait="縦長のデザイン", landscape="横長のデザイン", square="正方形のデザイン",
    reading="文字は{}", featuring="主な要素は{}", background="背景：{}", elements="要素：{}", texts="文字：{}",
    size="{}×{}px", more=("ほか1点", "ほか{}点"),
    kinds={K.BACKGROUND: "背景", K.IMAGE: "画像", K.TEXT: "文字", K.SHAPE: "図形", K.FILL: "塗り",
           K.GROUP: "グループ"},
    counted={K.IMAGE: ("画像1点", "画像{}点"), K.SHAPE: ("図形1点", "図形{}点"),
             K.FILL: ("塗り1点", "塗り{}点"),
             K.GROUP: ("要素のグループ1点", "要素のグループ{}点"), K.TEXT: ("文字1点", "文字{}点")},
    places=_grid("左上", "上部", "右上", "左側", "中央", "右側", "左下", "下部", "右下"),
    everywhere="全面", small="小さめ", large="大きめ", translucent="半透明",
    beyond={"left": "左端からはみ出す", "top": "上端からはみ出す", "right": "右端からはみ出す",
            "bottom": "下端からはみ出す"},
    beyond_several="複数の端からはみ出す",
    bold="太字", light="細字", italic="斜体", underlined="下線付き", struck="取り消し線付き", turned="{}度回転",
    colours={
        "black": "黒", "dark gray": "濃い灰色", "gray": "灰色", "light gray": "薄い灰色", "white": "白",
        "red": "赤", "dark red": "濃い赤", "orange": "オレンジ", "brown": "茶色", "beige": "ベージュ",
        "yellow": "黄色", "gold": "金色", "olive": "オリーブ色", "lime": "黄緑", "green": "緑",
        "dark green": "濃い緑", "mint": "ミント色", "teal": "青緑", "turquoise": "ターコイズ",
        "light blue": "水色", "blue": "青", "navy": "紺色", "purple": "紫", "lavender": "ラベンダー色",
        "magenta": "マゼンタ", "pink": "ピンク", "coral": "珊瑚色",
    },
)  # fmt: skip

LANGUAGES: Mapping[str, Phrases] = {"en": EN, "de": DE, "fr": FR, "ja": JA}
"""The languages the template captioner speaks (BCP 47)."""
