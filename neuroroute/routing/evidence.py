"""
What an answer says of the model that gave it: opinions, and what can be seen in the answer and after it.

An opinion counts as its score. A complaint (a refusal, an answer cut at the model's own limit, the same question again, a client that leaves in
the middle) is a weak sign, and its absence a weaker one. Both are weighed by Bayes' rule against what is expected of the model: a bad answer
draws LIKELIER times as many complaints as a good one, and the running share of complaints among all answers says how many that is. So a model
that draws as many complaints as its quality lets expect stays where it is, however many answers it gives and however patient its users are.
An answer that breaks the schema it was asked to keep is plainly bad.

A conversation whose last answer was one of STALLS, or is objected to by what the user says next, goes on with a better model.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from neuroroute.core.dataclass import dataclass
from neuroroute.store.learned import Counts

LIKELIER: Final = 6.0
"""How many times as many complaints a bad answer draws. Guess."""
COMPLAINTS: Final = 0.04
"""Their share among all answers, until this worker saw some. Guess."""
_STRENGTH: Final = 200.0  # what that guess is worth in answers
_MEMORY: Final = 5000.0  # answers over which the running shares reach
_MOST_COMPLAINTS: Final = 0.9  # no bad answer draws one more surely than this


class Signal(StrEnum):
    """What went wrong with an answer, the plainest first."""

    BROKEN = "broken_schema"  # it does not keep the JSON schema that was asked for
    REFUSED = "refused"
    LOOPED = "looped"  # it says the same again and again
    TRUNCATED = "truncated"  # it ended at the model's own limit, not at the client's
    LEFT = "left"  # the client went away in the middle of it
    RETRIED = "retried"  # the same question came again within a minute


STALLS: Final = frozenset({Signal.BROKEN, Signal.REFUSED, Signal.LOOPED})
"""After these a better model is due in the conversation."""
NOTHING: Final = Counts(0.0, 0.0)


def opinion(score: float) -> Counts:
    """What a score of -1..1 counts."""
    return Counts(max(score, 0.0), max(-score, 0.0))


@dataclass(slots=True)
class Complaints:
    """The running share of complaints in this worker, and what one more answer with or without one counts."""

    _answers: float = _STRENGTH
    _complaints: float = _STRENGTH * COMPLAINTS
    _quality: float = _STRENGTH * 0.75

    def weigh(self, quality: float, signal: Signal | None) -> Counts:
        """An answer of a model from which `quality` was expected."""
        counts = self._counts(quality, complaint=signal is not None and signal is not Signal.BROKEN)
        self._answers += 1.0
        self._quality += quality
        self._complaints += signal is not None
        if self._answers > _MEMORY:
            self._answers, self._complaints, self._quality = self._answers / 2, self._complaints / 2, self._quality / 2
        return Counts(0.0, 1.0) if signal is Signal.BROKEN else counts

    def late(self, quality: float) -> Counts:
        """A complaint of an answer that was weighed before: what to add now."""
        before, after = self._counts(quality, complaint=False), self._counts(quality, complaint=True)
        self._complaints += 1.0
        return Counts(after.good - before.good, after.bad - before.bad)

    def _counts(self, quality: float, *, complaint: bool) -> Counts:
        expected = min(max(quality, 0.02), 0.98)
        mean = self._quality / self._answers
        of_good = self._complaints / self._answers / (mean + LIKELIER * (1.0 - mean))
        of_bad = min(LIKELIER * of_good, _MOST_COMPLAINTS)
        if complaint:
            good = expected * of_good / (expected * of_good + (1.0 - expected) * of_bad)
            return Counts(0.0, (expected - good) / expected)
        good = expected * (1.0 - of_good) / (expected * (1.0 - of_good) + (1.0 - expected) * (1.0 - of_bad))
        return Counts((good - expected) / (1.0 - expected), 0.0)


_REFUSAL: Final = re.compile(
    r"(?:i['’]?m (?:really |very |so )?(?:sorry|afraid)|sorry|unfortunately|i apologi[sz]e)[^.!?\n]{0,40}?\b(?:can(?:no|['’])t|unable|not able)\b"
    r"|i(?:['’]?m| am) (?:unable|not able) to (?:help|assist|provide|comply|answer|fulfil)"
    r"|i (?:can(?:no|['’])t|won['’]t|must decline to) (?:help|assist|provide|comply|answer|fulfil|do that)"
    r"|as an ai(?: language)? model[^.!?\n]{0,40}\bcan(?:no|['’])t\b"
    r"|es tut mir leid[^.!?\n]{0,40}\bnicht\b|lo siento[^.!?\n]{0,40}\bno puedo\b|je suis désolée?[^.!?\n]{0,40}\bne (?:peux|puis)\b"
    r"|对不起[^。]{0,20}不能|抱歉[^。]{0,20}(?:无法|不能)|申し訳[^。]{0,30}(?:できません|いたしかねます)"
)
_LOOKED_AT: Final = 160  # a refusal begins with it


def refuses(text: str) -> bool:
    """Whether an answer begins as a refusal, in a few languages."""
    return _REFUSAL.match(text[:_LOOKED_AT].lstrip().lower()) is not None


_PERIOD: Final = 60  # characters that come again
_TURNS: Final = 4  # so often
_LEAST_VARIED: Final = 6  # different characters in them: rulers, dots and zeros are no sentences


def loops(text: str) -> bool:
    """Whether the end of an answer was said several times before, as models do that do not find out of a sentence."""
    end = text[-_PERIOD:]
    return len(text) >= _TURNS * _PERIOD and len(set(end)) >= _LEAST_VARIED and text.count(end) >= _TURNS


_OBJECTION: Final = re.compile(
    r"(?:(?:no|nope|sorry|hm+|but|well|non|nein|não|нет|いいえ|いや|아니)[\s,.!:;、。…-]++)*(?:"
    r"(?:(?:that|this|it|you|(?:the|your) (?:answer|code|result|solution))(?:['’]s| is| was|['’]re| are)|still|also) "
    r"(?:still |completely |just |simply |also )?(?:wrong|incorrect|mistaken|not (?:right|correct|true|working|what i (?:asked|meant|wanted)))\b"
    r"|(?:that|this|it) isn['’]?t (?:right|correct|true|working|what i (?:asked|meant|wanted))\b"
    r"|(?:that|this|it)(?: still)? (?:doesn['’]?t|does not|didn['’]?t|did not) (?:work|help|compile|run|answer)\b"
    r"|(?:wrong|incorrect|not working|try again)\s*(?:[.!,:;]|$)|please try again\b|you (?:made a mistake|got (?:it|that|this) wrong)\b"
    r"|(?:das|(?:die|deine|ihre) antwort) (?:ist|war) (?:immer noch |leider |so )?(?:falsch|nicht (?:richtig|korrekt|wahr))\b"
    r"|(?:das|es) (?:stimmt|funktioniert|geht|klappt) (?:so |leider |aber |immer noch )?nicht\b|falsch\s*(?:[.!,]|$)"
    r"|versuch(?:e|en sie)? es (?:bitte |)(?:noch ?mal|noch einmal|erneut)\b"
    r"|c['’]est (?:toujours |encore )?(?:faux|incorrect|inexact|pas (?:ça|cela|bon|correct|juste|vrai))\b|tu te trompes|vous vous trompez"
    r"|(?:ça|cela) (?:ne )?(?:marche|fonctionne) (?:toujours )?pas\b|réessa(?:ie|yez)\b"
    r"|(?:eso |esto |tu respuesta )?(?:está mal|es incorrect[oa]|es fals[oa]|no es (?:correct[oa]|cierto|verdad)|no funciona)\s*(?:[.!,]|$)"
    r"|te equivocas|(?:inténtalo|intenta) (?:de nuevo|otra vez)"
    r"|(?:questo |ciò )?(?:è sbagliato|non è (?:corretto|giusto|vero)|non funziona)\s*(?:[.!,]|$)|ti sbagli\b|riprova\b"
    r"|(?:isso |isto )?(?:(?:está|tá|é) (?:errad|incorret)[oa]|não (?:está certo|é isso|funciona))\s*(?:[.!,]|$)|tente (?:de novo|novamente)\b"
    r"|(?:это )?(?:неправильно|неверно|не так|не работает)\s*(?:[.!,]|$)|(?:ты|вы) ошиба|попробуй(?:те)? (?:ещ[её] раз|снова)"
    r"|(?:这|那|你|答案|还是|这个|这是)?(?:不对(?!称|等|应|劲)|错了|错的|不正确|不行)|再试一次"
    r"|(?:それは)?(?:違います|違うよ|違う[。、!！]|間違(?:い|って)|正しくない)|もう一度(?:やって|試し)"
    r"|틀렸|잘못됐|다시 (?:해|시도))"
)
_HEARD: Final = 120  # an objection begins with it


def objects(text: str) -> bool:
    """Whether a user begins by saying that the answer before was wrong, in a few languages."""
    return _OBJECTION.match(text[:_HEARD].lstrip().lower()) is not None


_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "number": (int, float), "integer": (int, float),
}  # fmt: skip
_MOST_STEPS: Final = 2000


class _Enough(Exception):
    """The value is larger than anybody wants to look through here."""


def conforms(value: Any, schema: Mapping[str, Any]) -> bool:
    """
    Whether `value` keeps a JSON schema, as far as structured outputs use it; what is not known of a schema is taken to be kept.

    Looks at 2,000 places at most, and at the depth of Python's own JSON.
    """
    try:
        return _Checker(schema).check(value, schema)
    except (_Enough, RecursionError):
        return True


class _Checker:
    __slots__ = ("_root", "_steps")

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root, self._steps = root, 0

    def check(self, value: Any, schema: Any) -> bool:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _Enough
        if not isinstance(schema, Mapping):
            return schema is not False
        if isinstance(reference := schema.get("$ref"), str):
            found = self._referred(reference)
            return found is None or self.check(value, found)
        if isinstance(kinds := schema.get("type"), (str, list)) and not any(
            _is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)
        ):
            return False
        if (isinstance(allowed := schema.get("enum"), list) and value not in allowed) or ("const" in schema and value != schema["const"]):
            return False
        for word, fits in (("anyOf", any), ("oneOf", any), ("allOf", all)):
            if isinstance(options := schema.get(word), list) and options and not fits(self.check(value, option) for option in options):
                return False
        if isinstance(value, dict):
            return self._object(value, schema)
        return not isinstance(value, list) or "items" not in schema or all(self.check(item, schema["items"]) for item in value)

    def _object(self, value: dict[str, Any], schema: Mapping[str, Any]) -> bool:
        properties = schema.get("properties")
        known = properties if isinstance(properties, Mapping) else {}
        required = schema.get("required")
        if isinstance(required, list) and any(name not in value for name in required):
            return False
        if schema.get("additionalProperties") is False and not schema.get("patternProperties") and value.keys() - known.keys():
            return False
        return all(self.check(value[name], below) for name, below in known.items() if name in value)

    def _referred(self, reference: str) -> Any:
        place: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:] if reference.startswith("#") else [""]:
            place = place.get(step) if isinstance(place, Mapping) else None
        return place


def _is(value: Any, kind: Any) -> bool:
    if kind in ("number", "integer"):
        return type(value) in (int, float) and (kind == "number" or value == int(value))
    known = _TYPES.get(kind) if isinstance(kind, str) else None
    return known is None or isinstance(value, known)
