"""Names and texts found in a file: cleaning them, and telling a name somebody gave from one a program made.

They are data. Nothing in them is followed, and none of their control, format or private-use characters gets into a
caption.
"""

from __future__ import annotations

import re
import unicodedata

_JOINERS = "\u200c\u200d"
_BOUNDARY = 0.6

_COPY = re.compile(
    r"\s*[\(\[]?(?:\bcop(?:y|ie|ia|ied)\b|\bkopi[ea]?\b|のコピー|コピー|拷贝|副本|拷貝|복사본?|копия|kopya)"
    r"\s*#?\d*[\)\]]?$",
    re.IGNORECASE,
)
_COPY_OF = re.compile(r"^(?:copy of|kopie von|copie de|copia de|copia di)\s+", re.IGNORECASE)
_FILE = re.compile(r"\.(?:png|jpe?g|gif|webp|svg|psd|psb|ai|eps|tiff?|bmp|pdf|ora|heic)$", re.IGNORECASE)
_COUNTER = re.compile(r"[\s_\-#.]*[\(\[]?\d+[\)\]]?$")
_CODE = re.compile(
    r"^(?:[0-9a-f]{6,}|[0-9a-f-]{20,}|#[0-9a-f]{3,8}|[\W\d_]+|\w|(?:img|dsc|dscn|pxl|vid|screenshot)[\W\d_].*)$"
)

_DEFAULTS = frozenset(
    name
    for line in """
    layer|layers|shape|shape layer|rectangle|rounded rectangle|ellipse|polygon|line|path|vector|curve|group|
    folder|background|bg|back|fg|base|image|img|picture|pic|bitmap|raster|frame|artboard|mask|clipping mask|
    color fill|colour fill|color|colour|fill|solid color|gradient|gradient fill|pattern fill|pattern|levels|
    curves|smart object|vector smart object|placed image|pasted layer|pasted image|new layer|untitled|unnamed|
    object|element|component|instance|union|subtract|text|txt|text layer|type|default|paint layer|empty|
    floating selection|merged|stamp visible|slice|item|null|none|nan|asset|effects|svgelement|imageelement|
    textelement|coloredbackground|maskelement|colored background|ebene|form|formebene|rechteck|
    abgerundetes rechteck|kreis|linie|pfad|gruppe|ordner|hintergrund|vordergrund|bild|farbfüllung|
    verlaufsfüllung|musterfüllung|verlauf|vektor-smartobjekt|smartobjekt|zeichenfläche|unbenannt|maske|
    textebene|calque|forme|rectangle arrondi|cercle|ligne|tracé|groupe|dossier|arrière-plan|arrière plan|fond|
    premier plan|remplissage|couleur unie|dégradé|objet dynamique|objet dynamique vectoriel|plan de travail|
    sans titre|masque|texte|capa|forma|rectángulo|rectángulo redondeado|elipse|polígono|línea|trazado|grupo|
    carpeta|fondo|imagen|relleno|color sólido|relleno de color|relleno de degradado|objeto inteligente|
    mesa de trabajo|sin título|máscara|texto|livello|rettangolo|ellisse|poligono|linea|tracciato|gruppo|
    cartella|sfondo|immagine|riempimento|oggetto avanzato|senza titolo|maschera|testo|camada|retângulo|fundo|
    plano de fundo|imagem|preenchimento|sem título|objeto|laag|vorm|rechthoek|ellips|groep|achtergrond|
    afbeelding|warstwa|kształt|prostokąt|elipsa|grupa|tło|obraz|vrstva|tvar|obdélník|skupina|pozadí|lager|lag|
    grupp|bakgrund|bakgrunn|baggrund|rektangel|taso|tausta|katman|şekil|dikdörtgen|arka plan|réteg|háttér|strat|
    fundal|слой|фигура|прямоугольник|эллипс|группа|фон|задний план|изображение|заливка|градиент|текст|шар|тло|
    група|レイヤー|レイヤ|シェイプ|長方形|角丸長方形|楕円形|楕円|多角形|線|パス|グループ|フォルダー|フォルダ|
    背景|画像|べた塗り|グラデーション|スマートオブジェクト|ベクトルスマートオブジェクト|名称未設定|テキスト|
    アートボード|マスク|图层|圖層|形状|形狀|矩形|圆角矩形|圓角矩形|椭圆|橢圓|多边形|直线|路径|组|組|群組|图像|
    圖像|图片|智能对象|智慧型物件|颜色填充|渐变填充|未标题|文本|文字|画板|레이어|도형|모양|사각형|둥근 사각형|
    타원|선|그룹|배경|이미지|색상 칠|텍스트
    """.splitlines()
    for name in line.strip().split("|")
    if name
)
"""What editors and their users call a layer without thinking, lower case, without number."""


def clean(text: str, limit: int) -> str:
    """``text`` on one line, without control, format, private-use and unassigned characters, at most ``limit`` long."""
    kept = []
    # Normalising may lengthen a character up to 18 times, so the input is cut before it as well.
    for character in unicodedata.normalize("NFC", text[: 4 * limit + 64]):
        category = unicodedata.category(character)
        if character.isspace() or category in {"Zl", "Zp"} or character in "\x03\x0b\x0c":
            kept.append(" ")
        elif category[0] != "C" or character in _JOINERS:
            kept.append(character)
    return shorten(" ".join("".join(kept).split()), limit)


def shorten(text: str, limit: int) -> str:
    """``text`` cut to ``limit`` characters with an ellipsis, between words where that loses little."""
    if len(text) <= limit:
        return text
    head = text[: max(1, limit - 1)]
    space = head.rfind(" ")
    if space >= _BOUNDARY * len(head):
        head = head[:space]
    return head.rstrip(" ,;:-" + _JOINERS) + "…"


def meaningful(name: str, limit: int) -> str | None:
    """A layer's name without file endings, copy marks and numbers; None where what is left says nothing."""
    text = _FILE.sub("", clean(name, 4 * limit))
    text = " ".join(text.replace("_", " ").split())
    bare = text = _COPY_OF.sub("", text).strip()
    while bare and (shorter := _COPY.sub("", _COUNTER.sub("", bare)).strip()) != bare:
        bare = shorter
    if not bare or bare.casefold().strip(" -<>[]()") in _DEFAULTS or _CODE.match(text.casefold()):
        return None
    words = [word for word in re.split(r"[\W\d_]+", bare.casefold()) if word]
    if not words or all(word in _DEFAULTS for word in words):
        return None
    if bare.isupper() and bare.isascii():
        bare = bare.lower()
    return shorten(bare.replace("-", " ") if " " not in bare else bare, limit)
