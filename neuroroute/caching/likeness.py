"""
May one prompt be answered with what another was answered? The words decide where vectors are blind.

Vectors of "the capital of Austria" and "the capital of Australia" lie closer than those of many honest paraphrases. So likeness of vectors is
asked for first and is never enough: two prompts differ if their numbers, negations, opposites (before and after, buy and sell) or names do, if
one says something that the other does not, if the one is the other with few words exchanged, or in another order. Only where most words differ
do the vectors alone decide. Doubt costs a call; a wrong answer costs trust.

Nothing but hashes of words is kept.
"""

import hashlib
import re
from typing import Final

from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import dumps, loads

MAX_CHARS: Final = 2000
"""A longer prompt is not compared: one vector does not hold its details."""
_FEW: Final = 3
"""So many words exchanged are another question in the same frame, however close the vectors. Measured: tests/flow/test_semantic_cache.py."""
_CODE: Final = re.compile(r"```|[{};]\s*$|=>|::|\b(?:def|class|SELECT|import)\s+\w+|[=<>]=|https?://|[$\\^]", re.MULTILINE)
_WORD: Final = re.compile(r"\d+(?:[.,:/-]\d+)*|[぀-ヿ㐀-鿿가-힯]|[^\W\d_][\w'’.+#-]*\w|[^\W\d_][+#]*|[%°€£¥+*/=<>-]")
_SENTENCE: Final = re.compile(r"[.!?:\n]\s*$")
_NUMBERS: Final = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty"
    " forty fifty sixty seventy eighty ninety hundred thousand million billion dozen half quarter third double triple twice once first second fourth"
    " fifth sixth seventh eighth ninth tenth last next both single couple pair eins zwei drei vier fünf sechs sieben acht neun zehn un deux trois"
    " quatre cinq uno dos tres cuatro cinco".split()
)
_NEGATIONS: Final = frozenset(
    "not no never none nobody nothing nor neither cannot without except unless hardly barely cant dont doesnt isnt arent wont shouldnt nicht kein"
    " keine keinen ohne nie niemals ne pas sans jamais aucun sin nunca ningún non senza mai não sem нет не без никогда 不 没 無 无 别 ない".split()
)
_POLAR: Final = frozenset(
    "before after above below over under more less fewer most least max maximum min minimum best worst better worse good bad pros cons advantages"
    " disadvantages benefits drawbacks buy sell open close enable disable start stop begin end with in out on off up down left right increase decrease"
    " raise lower add remove insert delete install uninstall allow deny accept reject win lose hot cold high low fast slow early late old new young big"
    " small large long short rich poor safe dangerous legal illegal true false yes always only all any every some import export encode decode encrypt"
    " decrypt push pull male female man woman men women north south east west today tomorrow yesterday from to into breakfast lunch dinner summer winter"
    " adult child adults children should must may can could".split()
)
_FILLERS: Final = frozenset(
    "a an the of for is are was were be been am do does did doing have has had it its this that these those there here and or what what's whats which"
    " who who's how how's when where why tell me please kindly give explain describe show i i'd i'm im you your my we us our would like want need know"
    " let help hey hi hello thanks thank so just really quick quickly question about as at by if then than s m d ll re hmm ok okay actually curious"
    " wondering find get say".split()
)
_SAME: Final = {
    "could": "can",
    "biggest": "largest",
    "big": "large",
    "quickest": "fastest",
    "pic": "picture",
    "photo": "picture",
    "usa": "us",
}
_POLITE: Final = re.compile(
    r"^(?:(?:hi|hello|hey|please|kindly|could you|can you|would you|will you|i'?d like to know|i want to know|i need to know|do you know|tell me|"
    r"thanks|so|ok|okay)\b[\s,!.:]*)+|[\s,]*\b(?:please|thanks|thank you)\b[\s.!]*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Marks:
    """What must not differ. words: the telling ones in their order; names: those of them that are names; fixed: numbers, negations, opposites."""

    words: tuple[int, ...]
    names: frozenset[int]
    fixed: tuple[int, ...]

    def pack(self) -> bytes:
        return dumps([self.words, sorted(self.names), self.fixed])


def unpack(data: bytes) -> Marks:
    words, names, fixed = loads(data)
    return Marks(tuple(words), frozenset(names), tuple(fixed))


def read(text: str) -> Marks | None:
    """None where a prompt is not to be compared: too long, empty, or with code in it."""
    if len(text) > MAX_CHARS or _CODE.search(text):
        return None
    plain = _POLITE.sub("", text.strip())
    words: list[int] = []
    names: set[int] = set()
    fixed: list[int] = []
    for found in _WORD.finditer(plain):
        word = found[0]
        small = word.lower().replace("’", "'").rstrip(".")
        small = _SAME.get(small, small)
        if small[0].isdigit() or small in _NUMBERS or small in _POLAR or not small[0].isalnum():
            fixed.append(_mark(small))
        elif small in _NEGATIONS or small.endswith("n't"):
            fixed.append(_mark("not"))
        elif small.removesuffix("'s") not in _FILLERS:
            mark = _mark(_stem(small))
            words.append(mark)
            begins = not found.start() or _SENTENCE.search(plain, max(found.start() - 3, 0), found.start()) is not None
            if any(letter.isdigit() or letter in "+#." for letter in word) or (
                word[0].isupper() and (not begins or word[1:].isupper() > 0)
            ):
                names.add(mark)
    return Marks(tuple(words), frozenset(names), tuple(fixed)) if words else None


def differs(one: Marks, other: Marks) -> str:
    """Why one prompt's answer is not the other's; "" where nothing in the words says so."""
    if one.fixed != other.fixed:
        return "numbers, negations or opposites"
    mine, theirs = set(one.words), set(other.words)
    if not (one.names <= theirs and other.names <= mine):
        return "names"
    only_mine, only_theirs = mine - theirs, theirs - mine
    if bool(only_mine) != bool(only_theirs):
        return "one says more"
    if only_mine and min(len(only_mine), len(only_theirs)) <= _FEW:
        return "few words exchanged"
    shared = mine & theirs
    if [word for word in one.words if word in shared] != [word for word in other.words if word in shared]:
        return "order"
    return ""


def _stem(word: str) -> str:
    """Plural and genitive off; no more, for a root is no meaning."""
    word = word.removesuffix("'s")
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _mark(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=6).digest(), "big")
