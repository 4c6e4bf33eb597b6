"""What the designs say: short, invented copy in many languages, by theme. No real brands, people or addresses.

A copy line is ``theme | title | subtitle | call``; ``photo`` and ``icon`` hints come from the theme.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.synth.dice import Dice


@dataclass(frozen=True)
class Copy:
    """The texts of one design in one language (BCP 47)."""

    language: str
    theme: str
    title: str
    subtitle: str
    call: str


THEMES = {
    "music": ("night", "aurora", "bokeh"), "travel": ("mountains", "sea", "dunes"), "coffee": ("table", "forest", "mountains"),
    "sale": ("sea", "spheres", "dunes", "bokeh"), "art": ("spheres", "sea", "dunes"), "nature": ("forest", "mountains", "sea"),
    "tech": ("night", "spheres", "aurora"), "food": ("table", "table", "sea"), "film": ("night", "dunes", "aurora", "sea"),
    "sport": ("mountains", "dunes", "sea"), "home": ("spheres", "table", "forest"), "winter": ("aurora", "mountains", "forest"),
}  # fmt: skip
"""The scenes (photos.py) that suit a theme."""

_COPY = {
    "en": """music|Midnight Echoes|An evening of electronic music and light|Get tickets
travel|Beyond the Ridge|Guided walks through quiet valleys|Plan your trip
coffee|Slow Mornings|Freshly roasted, poured by hand|Order now
sale|Summer Sale|Up to half off on everything you love|Shop now
art|Shapes of Silence|New paintings and sculpture|Visit us
nature|Wild Again|How a forest comes back to life|Read more
tech|Build the Unseen|A conference about tools and craft|Register
food|The Long Table|Seasonal dishes to share with friends|Book a table
film|The Last Tide|A short film festival by the sea|See programme
sport|Run the Dunes|Half marathon for all ages|Join the race
home|Room to Breathe|Calm furniture for small spaces|Explore
winter|First Snow|Warm layers for cold days|Discover
music|Strings & Stars|Chamber music under the open sky|Reserve seats
travel|Islands in May|Seven harbours, one small boat|See the route
tech|Less, but Faster|The new release is here|Try it free
art|Colour Theory|Evening classes for curious people|Sign up""",
    "de": """music|Klang der Nacht|Ein Abend mit Musik und Licht|Karten sichern
travel|Über alle Berge|Geführte Wanderungen durch stille Täler|Reise planen
sale|Großer Ausverkauf|Bis zu 40 % auf alle Möbel|Jetzt sparen
coffee|Guten Morgen|Frisch geröstet, von Hand gebrüht|Bestellen
art|Form und Farbe|Malerei aus drei Jahrzehnten|Besuchen""",
    "fr": """film|La Nuit des Courts|Un festival au bord de la mer|Voir le programme
food|À table !|Une cuisine de saison à partager|Réserver
travel|L’été en liberté|Sept îles, un petit bateau|Découvrir
art|Éclats de couleur|Exposition de peinture contemporaine|Visiter
sale|Soldes d’été|Jusqu’à moins 50 % en boutique|En profiter""",
    "es": """music|Noche de Verano|Música en vivo bajo las estrellas|Comprar entradas
food|Sabores del Sur|Cocina de mercado para compartir|Reservar mesa
nature|Bosque Vivo|Cómo vuelve la vida al monte|Leer más
sale|Gran liquidación|Hasta la mitad de precio|Comprar ahora
sport|Corre sin límites|Media maratón junto al mar|Inscríbete""",
    "it": """food|La Dolce Tavola|Piatti di stagione fatti in casa|Prenota
art|Luce e Ombra|Mostra di fotografia e scultura|Visita
coffee|Buongiorno|Il caffè come una volta|Ordina ora
travel|Verso il Mare|Sette porti e una piccola barca|Scopri di più""",
    "pt": """music|Noites de Fado|Concertos ao vivo no jardim|Comprar bilhetes
travel|Rumo ao Atlântico|Caminhadas junto ao oceano|Planear viagem
home|Espaço para Viver|Móveis simples para casas pequenas|Explorar""",
    "pl": """film|Noc Kina|Festiwal krótkiego metrażu|Zobacz program
winter|Pierwszy Śnieg|Ciepłe ubrania na zimne dni|Odkryj
tech|Światło i Kod|Konferencja dla twórców|Zarejestruj się""",
    "tr": """travel|Güneşin İzinde|Sessiz koylara küçük bir yolculuk|Keşfet
food|Uzun Sofra|Mevsim yemekleri, dostlarla|Rezervasyon
sale|Büyük İndirim|Her şeyde yarı fiyatına|Alışverişe başla""",
    "sv": """nature|Åter till Skogen|När naturen får växa fritt|Läs mer
home|Rum för Lugn|Möbler för små hem|Utforska
winter|Första Snön|Varma lager för kalla dagar|Upptäck""",
    "el": """music|Ήχοι της Νύχτας|Μουσική κάτω από τα αστέρια|Εισιτήρια
travel|Νησιά τον Μάιο|Επτά λιμάνια, ένα μικρό σκάφος|Δες τη διαδρομή
food|Το Μεγάλο Τραπέζι|Πιάτα εποχής για καλή παρέα|Κράτηση
art|Χρώμα και Σιωπή|Έκθεση ζωγραφικής|Επίσκεψη""",
    "ru": """music|Ночь музыки|Живые концерты под открытым небом|Купить билет
travel|За перевалом|Пешие походы по тихим долинам|Выбрать тур
sale|Летняя распродажа|Скидки до половины цены|За покупками
art|Форма тишины|Новая живопись и скульптура|Прийти
tech|Код и ремесло|Конференция для тех, кто строит|Участвовать""",
    "uk": """nature|Ліс оживає|Як природа повертається до життя|Читати
coffee|Повільний ранок|Свіжа обсмажка щодня|Замовити
film|Остання хвиля|Фестиваль короткого кіно|Програма""",
    "ar": """music|ليالي الموسيقى|أمسية من الألحان والضوء|احجز الآن
travel|ما وراء الجبال|رحلات هادئة بين الوديان|خطط لرحلتك
food|مائدة العائلة|أطباق موسمية للمشاركة|احجز طاولة
sale|تخفيضات الصيف|خصم حتى 50% على كل شيء|تسوق الآن
art|ألوان وظلال|معرض الرسم والنحت|زورونا""",
    "he": """music|לילה של צלילים|ערב של מוזיקה ואור|לכרטיסים
travel|מעבר להרים|טיולים בעמקים שקטים|לתכנון הטיול
food|השולחן הארוך|מנות עונתיות לשיתוף|להזמנה
sale|מבצע קיץ|עד 50% הנחה על הכל|לקנייה""",
    "ja": """music|夜の音楽祭|星空の下で聴くコンサート|チケットを買う
travel|山の向こうへ|静かな谷を歩く旅|旅を計画する
coffee|ゆっくりな朝|毎日焙煎、手で淹れる一杯|注文する
sale|夏のセール|すべての商品が最大50％オフ|今すぐ見る
art|色と静けさ|新しい絵画と彫刻の展覧会|展示を見る
nature|森がかえる日|自然がよみがえる物語|続きを読む""",
    "zh": """music|夏夜音乐会|星空下的现场演出|立即购票
food|山海之味|四季小菜，与友共享|预订座位
tech|看不见的创造|工具与手艺大会|马上报名
sale|夏日特卖|全场低至五折|立即选购
art|色彩的声音|当代艺术新作展|参观展览""",
    "ko": """music|밤의 소리|별빛 아래 작은 음악회|예매하기
coffee|느린 아침|매일 볶아 손으로 내린 커피|주문하기
travel|산 너머로|조용한 계곡을 걷는 여행|여행 계획
sale|여름 할인|모든 상품 최대 50%|지금 보기""",
}

LABELS = {
    "en": "Home|Search|Messages|Profile|Settings|Revenue|Users|Orders|Overview|Today|Save|Cancel|Reports|Favourites|Share|Weekly",
    "de": "Start|Suche|Nachrichten|Profil|Einstellungen|Umsatz|Nutzer|Aufträge|Übersicht|Heute|Sichern|Zurück|Berichte|Favoriten|Teilen|Woche",
    "fr": "Accueil|Chercher|Messages|Profil|Réglages|Recettes|Membres|Commandes|Aperçu|Ce jour|Garder|Annuler|Rapports|Favoris|Partager|Semaine",
    "es": "Inicio|Buscar|Mensajes|Perfil|Ajustes|Ingresos|Usuarios|Pedidos|Resumen|Hoy|Guardar|Cancelar|Informes|Favoritos|Compartir|Semana",
    "ru": "Главная|Поиск|Чаты|Профиль|Настройки|Выручка|Клиенты|Заказы|Обзор|Сегодня|Сохранить|Отмена|Отчёты|Избранное|Отправить|Неделя",
    "el": "Αρχική|Εύρεση|Μηνύματα|Προφίλ|Ρυθμίσεις|Έσοδα|Χρήστες|Αγορές|Σύνοψη|Σήμερα|Φύλαξη|Άκυρο|Αναφορές|Αγαπημένα|Κοινή χρήση|Εβδομάδα",
    "ar": "الرئيسية|بحث|رسائل|حسابي|إعدادات|الدخل|الأعضاء|الطلبات|ملخص|اليوم|حفظ|إلغاء|تقارير|المفضلة|مشاركة|الأسبوع",
    "he": "בית|חיפוש|הודעות|פרופיל|הגדרות|הכנסות|משתמשים|הזמנות|סקירה|היום|שמירה|ביטול|דוחות|מועדפים|שיתוף|שבוע",
    "ja": "ホーム|検索|メッセージ|プロフィール|設定|売上|ユーザー|注文|概要|今日|保存|戻る|レポート|お気に入り|共有|今週",
    "zh": "首页|搜索|消息|我的|设置|收入|用户|订单|概览|今天|保存|取消|报表|收藏|分享|本周",
    "ko": "홈|검색|메시지|프로필|설정|매출|사용자|주문|개요|오늘|저장|취소|보고서|즐겨찾기|공유|이번 주",
}

DISHES = {
    "en": "Roast beetroot|Smoked trout|Wild garlic soup|Barley risotto|Braised lamb|Apple crumble|House lemonade|Rye and butter|Honey cake|Green salad",
    "fr": "Soupe à l’oignon|Tarte aux poireaux|Truite fumée|Gratin dauphinois|Agneau braisé|Île flottante|Mousse au chocolat|Salade verte|Pain de seigle|Crème brûlée",
    "it": "Minestrone|Tagliatelle al ragù|Risotto ai funghi|Branzino al limone|Caponata|Tiramisù|Panna cotta|Insalata verde|Focaccia|Gelato",
    "ru": "Борщ|Пельмени|Грибной суп|Печёная форель|Гречка с луком|Медовик|Яблочный пирог|Салат из свёклы|Чай с мятой|Сырники",
    "ja": "季節の天ぷら|焼き魚定食|冷やしうどん|豆腐サラダ|茶碗蒸し|抹茶プリン|味噌汁|おにぎり|柚子シャーベット|煎茶",
    "ar": "شوربة عدس|تبولة|فتوش|كبة مشوية|أرز باللحم|حمص|كنافة|بقلاوة|عصير ليمون|شاي بالنعناع",
}

NAMES = {
    "latin": "Mira Solberg|Jonas Weber|Ana Duarte|Theo Martin|Ida Nowak|Luca Ferri|Nora Lind|Elif Aydin|Sam Okoro|Clara Roth",
    "greek": "Νίκος Αλεξίου|Ελένη Μάρκου|Άννα Δήμου", "cyrillic": "Анна Белова|Илья Морозов|Мария Соколова",
    "arabic": "ليلى حداد|سامي ناصر|نور الأحمد", "hebrew": "נועה לוי|דן כהן|מאיה בר", "cjk": "高橋 葵|山田 海|林 美晴",
}  # fmt: skip

QUOTES = {
    "en": "Make it simple, then make it sing.|Good things take the time they take.|Begin where you are, with what you have.|Light is the oldest paint.|The sea keeps no calendar.",
    "de": "Weniger, aber mit Liebe.|Wer langsam geht, sieht mehr.|Jeder Anfang ist ein Versuch.",
    "fr": "Le silence aussi a sa couleur.|On va loin à petits pas.|La lumière est un voyage.",
    "es": "Poco a poco se llega lejos.|La calma también es un camino.",
    "ru": "Тишина тоже умеет говорить.|Начни с того, что есть.",
    "el": "Το φως είναι ταξίδι.|Κάθε αρχή θέλει θάρρος.",
    "ja": "静けさにも色がある。|小さな一歩が道になる。|光はいちばん古い絵の具。",
    "zh": "慢慢来，比较快。|一步一步，自成风景。", "ko": "천천히 가도 괜찮아.|작은 걸음이 길이 된다.",
    "ar": "الضوء أقدم الألوان.|من سار على الدرب وصل.", "he": "לאט לאט מגיעים רחוק.|האור הוא הצבע הראשון.",
}  # fmt: skip

ROLES = {
    "en": "Art director|Architect|Photographer|Head baker", "de": "Architektin|Grafiker|Gärtnerin", "fr": "Architecte|Photographe|Libraire",
    "es": "Arquitecta|Diseñador|Fotógrafa", "it": "Architetto|Fotografa", "pt": "Arquiteta|Jardineiro", "pl": "Architekt|Fotografka",
    "tr": "Mimar|Fotoğrafçı", "sv": "Arkitekt|Fotograf", "el": "Αρχιτέκτονας|Φωτογράφος", "ru": "Архитектор|Дизайнер", "uk": "Художниця|Архітектор",
    "ar": "مهندسة معمارية|مصور", "he": "אדריכלית|צלם", "ja": "建築家|写真家", "zh": "建筑师|摄影师", "ko": "건축가|사진작가",
}  # fmt: skip

BRANDS = "Nordlys|Atelier Nine|Fable & Co|Orbita|Kestrel|Lumen|Halden|Tidewater|Piccolo|Verdant|Monocle Bay|Ostra|Juniper|Saltbox"
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()

_LANGUAGES = {
    "en": 34.0, "de": 6, "fr": 6, "es": 5, "it": 4, "pt": 3, "pl": 3, "tr": 3, "sv": 2, "el": 5, "ru": 6, "uk": 3, "ar": 6, "he": 4,
    "ja": 7, "zh": 5, "ko": 4,
}  # fmt: skip


def draw_language(dice: Dice) -> str:
    return dice.pick(list(_LANGUAGES), list(_LANGUAGES.values()))


def draw_copy(dice: Dice, language: str, themes: tuple[str, ...] = ()) -> Copy:
    """A copy line of ``language``, of one of ``themes`` where it has such a line."""
    lines = [line.split("|") for line in _COPY[language].splitlines()]
    theme, title, subtitle, call = dice.pick([line for line in lines if line[0] in themes] or lines)
    return Copy(language, theme, title, subtitle, call)


def role(dice: Dice, language: str) -> str:
    return dice.pick(ROLES[language].split("|"))


def words(table: dict[str, str], language: str) -> tuple[list[str], str]:
    """The entries of ``table`` in ``language``, or in English where it has none, and the language they are in."""
    found = language if language in table else "en"
    return table[found].split("|"), found


def draw_date(dice: Dice) -> str:
    return f"{dice.integer(1, 28):02d} {dice.pick(MONTHS)} 2027"


def draw_price(dice: Dice) -> str:
    mark = dice.pick(("€ {}", "$ {}", "£ {}", "{} kr"))
    return mark.format(dice.pick((f"{dice.integer(4, 99)}", f"{dice.integer(4, 99)}.{dice.pick(('00', '50', '90'))}")))
