"""The language of a prompt: by its script where that settles it, else by letters and common words. A guess in 5-20 us, not a detector."""

import re
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Final

SAMPLE_CHARS: Final = 240
SAMPLE_WORDS: Final = 60

_BLOCKS: Final[dict[int, str]] = {
    first // 64 + step: script
    for script, first, last in (
        ("latin", 0x40, 0x7F), ("latin", 0xC0, 0x24F), ("latin", 0x1E00, 0x1EFF), ("el", 0x380, 0x3FF), ("cyrillic", 0x400, 0x4FF), ("hy", 0x540, 0x57F),
        ("he", 0x5C0, 0x5FF), ("arabic", 0x600, 0x77F), ("devanagari", 0x900, 0x97F), ("bn", 0x980, 0x9FF), ("pa", 0xA00, 0xA7F), ("gu", 0xA80, 0xAFF),
        ("ta", 0xB80, 0xBFF), ("te", 0xC00, 0xC7F), ("kn", 0xC80, 0xCFF), ("ml", 0xD00, 0xD7F), ("si", 0xD80, 0xDFF), ("th", 0xE00, 0xE7F), ("lo", 0xE80, 0xEFF),
        ("my", 0x1000, 0x107F), ("ka", 0x10C0, 0x10FF), ("ko", 0x1100, 0x11FF), ("am", 0x1200, 0x137F), ("km", 0x1780, 0x17FF), ("kana", 0x3040, 0x30FF),
        ("han", 0x3400, 0x9FFF), ("ko", 0xAC00, 0xD7BF), ("kana", 0xFF80, 0xFF9F),
    )
    for step in range((last - first) // 64 + 1)
}  # fmt: skip
"""Code points in blocks of 64 -> script: a look-up per letter is five times faster than a regular expression of all scripts."""
_MOST_LETTERS: Final = 20_000


class _Scripts(dict[str, str | None]):
    """Letter -> its script, as far as it was asked for."""

    def __missing__(self, letter: str) -> str | None:
        script = _BLOCKS.get(ord(letter) >> 6)
        if len(self) < _MOST_LETTERS:
            self[letter] = script
        return script


_SCRIPT_OF: Final = _Scripts()
_WEIGHTS: Final = {"han": 3.0, "kana": 2.5, "ko": 2.5, "th": 1.2}
"""How many Latin letters one sign of a dense script is worth."""

LEAST_KANA: Final = 0.12
"""Syllables per Chinese sign that make a text Japanese."""
_KANA: Final = re.compile(r"[\u3040-\u30ff\uff80-\uff9f]+")
_EAST: Final = re.compile(r"[\u3040-\u30ff\uff80-\uff9f\u3400-\u9fff]+")
_LATIN: Final = re.compile(r"[a-zA-Z\u00c0-\u024f\u1e00-\u1eff]")

_COMMON: Final[dict[str, str]] = {
    "en": "the of and to is what how are in for a with that this my you i it on write please can do does from an me be have not or who when where why which your explain give"
    " make create hi hello tell would should could about between into list if was were will has did as at by there any some it's i'm don't best help need want find use using",
    "es": "el la los las de que y en un una es por con para cómo qué cuál del al se mi lo su como más pero sus le ha este esta son escribe dame explica haz quiero puedes hola"
    " cuáles tengo eres actúa traduce resume siguiente sobre entre cuánto cuántos dónde",
    "fr": "le la les de des du et est un une en que qui dans pour au aux sur avec ce cette mon ma mes quel quelle comment pourquoi je tu il vous nous ne pas écris explique donne"
    " rédige fais moi suis sont quels quelles traduis résume phrase suivant suivante entre c'est l'histoire bonjour où",
    "de": "der die das und ist ein eine einen einem zu von mit für auf im in den dem des wie was ich du sie es nicht auch mir mein meine wer warum schreibe schreib erkläre gib"
    " bitte kann kannst folgenden folgende über zwischen wenn bei aus nach welche wir hallo einer sich hat übersetze",
    "pt": "o a os as de que e em um uma é por com para como qual quais do da dos das no na se meu minha não mais mas você escreva explique faça crie me ao são seu sua isso este"
    " esta olá traduza resuma seguinte entre quanto quantos onde está tenho uns pelo pela",
    "it": "il lo la i gli le di che e in un una è per con come cosa qual quale del della dei delle al nel mi mio mia non più ma sono scrivi spiega dammi crea fai questo questa"
    " ciao traduci riassumi seguente seguenti tra quanto quanti dove perché chi ho ai sul alla dal",
    "nl": "de het een en van is in op te met voor dat die niet aan er hoe wat ik je mijn zijn ook om maar als bij naar schrijf leg geef maak uit deze kan kun waarom welke wie tussen"
    " over hebben heeft ben jij hallo vertaal volgende zin",
    "pl": "i w na z do się jest nie że to jak co o dla po od za czy ale ten ta są mi mój moja jaki jaka jakie napisz wyjaśnij podaj stwórz proszę który która gdzie kiedy dlaczego"
    " między cześć przetłumacz następujące zdanie ile ma oraz być mam przez",
    "tr": "ve bir bu için ile ne nasıl mi mı mu mü de da en çok olarak olan gibi var yok ben sen bana hangi neden kim nerede yaz açıkla ver oluştur arasındaki aşağıdaki merhaba"
    " çevir cümleyi kadar nedir daha kaç şu nelerdir türkçe",
    "vi": "và của là có cho một các những được trong với không này tôi bạn hãy viết giải thích như thế nào gì ở đến từ về cách câu sau xin chào dịch sang hay vì sao nếu bao nhiêu"
    " để người khi làm ra năm tại nào mới",
    "id": "yang dan di dari untuk dengan ini itu adalah ke pada tidak apa bagaimana saya kamu anda buatkan buat tulis jelaskan berikan tolong berapa antara dalam akan sebuah"
    " seorang kalimat berikut halo siapa mengapa bisa aku terjemahkan tentang atau jika oleh agar",
    "sw": "na ya wa kwa ni katika la za cha kuwa hii huu hiyo nini je jinsi ana wake yake kila kama lakini andika eleza nipe habari mimi wewe gani ngapi tafsiri hili alikuwa ina"
    " kwenye sentensi moja mbili siku",
    "ro": "și în de la cu un o este pe pentru că nu mai ce cum care din sau sunt lui al ale scrie explică vreau fi îmi mi meu mea între următoarea",
    "cs": "a v na se je že to jak co s pro z do ale by si který která napiš vysvětli jsem jsou není proč mezi ahoj přelož větu kde kolik být můj už ve při",
    "sk": "a v na sa je že to ako čo s pre z do ale by si ktorý ktorá napíš vysvetli som sú nie prečo medzi ahoj prelož vetu kde koľko môj už vo pri",
    "sv": "och att det är en ett som på för med av inte jag du hur vad till den de har kan skriv förklara ge mig min vilka varför mellan hej översätt meningen om från eller ska",
    "da": "og at det er en et som på for med af ikke jeg du hvordan hvad til den de har kan skriv forklar giv mig min hvilke hvorfor mellem hej oversæt sætningen om fra eller skal",
    "no": "og at det er en et som på for med av ikke jeg du hvordan hva til den de har kan skriv forklar gi meg min hvilke hvorfor mellom hei oversett setningen om fra eller skal",
    "fi": "ja on ei että se mitä miten kuinka joka oli ovat minä sinä mutta kun tai kirjoita selitä anna minulle mikä miksi missä hei käännä seuraava lause välillä olen voi",
    "hu": "a az és hogy egy nem is van mit mi ez meg írj magyarázd kérlek adj hogyan miért melyik között szia fordítsd mondatot vagy kell lehet amely nekem volt",
    "tl": "ang ng sa na mga ay at ko mo ako ka ito ano paano bakit para isang kung hindi po sumulat ipaliwanag bigyan kumusta sino saan may nang",
    "ms": "yang dan di dari untuk dengan ini itu adalah ke pada tidak apa bagaimana saya anda boleh tulis terangkan berikan ialah kepada awak sila mengapa",
    "ca": "el la els les de que i en un una és per amb com què quin del al meu més però escriu explica això són amb els seva",
    "hr": "i u na je se da za od s što kako koji su nije ali ili kao o napiši objasni mi moj između bok prevedi rečenicu gdje zašto koliko biti sam",
}
_LETTERS: Final[dict[str, str]] = {
    "es": "ñ¿¡áíóúé", "fr": "çèêàùœîôëé", "de": "ßäöü", "pt": "ãõçáêâíó", "it": "òàèìù", "pl": "ąćęłńśźżó", "tr": "ğışöüç",
    "vi": "ạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹđơưăâêô", "ro": "șțăâî", "cs": "řěůščžýáíé", "sk": "ľĺŕôäčšžťňýáíé", "sv": "åäö",
    "da": "æøå", "no": "æøå", "fi": "äö", "hu": "őűáéíóöúü", "hr": "čćđšž", "ca": "·çàèòïü", "nl": "ë",
}  # fmt: skip


_LANGUAGES: Final = tuple(_COMMON)
_WHOLE_VOTE: Final = 5040
"""Divides evenly among up to ten languages that share a word or letter; a sum of a hundred still fits its lane."""
_LANE: Final = struct.Struct(f"<{len(_LANGUAGES)}I")


def _votes(lists: dict[str, str], split: bool) -> dict[str, int]:
    """Word or letter -> its vote, shared by its languages: one integer with 32 bits for each language, so that the votes of a text are one sum."""
    owners: dict[str, list[str]] = {}
    for language, content in lists.items():
        for item in set(content.split() if split else content):
            owners.setdefault(item, []).append(language)
    return {
        item: sum((_WHOLE_VOTE // len(shared)) << (32 * _LANGUAGES.index(language)) for language in shared)
        for item, shared in owners.items()
    }


_WORD_VOTES: Final = _votes(_COMMON, split=True)
_LETTER_VOTES: Final = _votes(_LETTERS, split=False)


def language_of(text: str, words: Sequence[str]) -> str:
    """ISO 639-1, or 'und' where there are no letters. `words`: the tokens of the same text, folded to lower case."""
    sample = text[:SAMPLE_CHARS]
    accented = not sample.isascii()
    if accented and (script := _script(sample)):
        return script
    total = sum(filter(None, map(_WORD_VOTES.get, words[:SAMPLE_WORDS])))
    if accented:
        total += sum(filter(None, map(_LETTER_VOTES.get, set(sample.lower()))))
    if total:
        votes = _LANE.unpack(total.to_bytes(_LANE.size, "little"))
        return _LANGUAGES[votes.index(max(votes))]  # English is the first of equals
    return "en" if _LATIN.search(sample) else "und"


def _script(sample: str) -> str | None:
    east = sum(map(len, _EAST.findall(sample)))
    if east * 2 >= len(sample):  # what nearly all texts of these scripts are known by, in a third of the time
        kana = sum(map(len, _KANA.findall(sample)))
        return "ja" if kana > LEAST_KANA * (east - kana) else "zh"
    counts = Counter(map(_SCRIPT_OF.__getitem__, sample))
    latin = counts.pop("latin", 0)
    weighed = {script: count * _WEIGHTS.get(script, 1.0) for script, count in counts.items() if script}
    if not weighed or sum(weighed.values()) < 0.5 * latin:
        return None
    if counts["kana"] > LEAST_KANA * counts["han"]:
        weighed["ja"] = weighed.pop("kana") + weighed.pop("han", 0.0)
    top = max(weighed, key=lambda name: weighed[name])
    settled = {"kana": "ja", "han": "zh"}.get(top, top)
    telling = {"cyrillic": _cyrillic, "arabic": _arabic, "devanagari": _devanagari}.get(settled)
    return telling(sample) if telling else settled


def _cyrillic(sample: str) -> str:
    folded = sample.lower()
    if any(sign in folded for sign in "їєґ") or ("і" in folded and "ы" not in folded):
        return "uk"
    if any(sign in folded for sign in "ђјљњћџ"):
        return "sr"
    if "ы" not in folded and "э" not in folded and folded.count("ъ") >= 2:
        return "bg"
    return "ru"


def _arabic(sample: str) -> str:
    if any(sign in sample for sign in "ٹڈےںڑ"):
        return "ur"
    return "fa" if any(sign in sample for sign in "پچژگی") else "ar"


def _devanagari(sample: str) -> str:
    return "mr" if "ळ" in sample or "आहे" in sample else "hi"
