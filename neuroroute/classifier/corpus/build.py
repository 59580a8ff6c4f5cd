"""
Put the corpus together: `python -m neuroroute.classifier.corpus.build` writes `prompts.jsonl.gz` and says what is in it.

The same material gives the same prompts: every draw is seeded by the name of the family it belongs to, so that a new prompt changes only
its own rows.
"""

import gzip
import hashlib
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from neuroroute.classifier.corpus import material, styles
from neuroroute.core import jsonbytes
from neuroroute.core.dataclass import dataclass

PROMPTS_PATH: Final = material.ROOT / "prompts.jsonl.gz"
SEED: Final = "nr-corpus-1"
MAX_FAMILY: Final = 12
"""Prompts of one family at most, so that no template floods the corpus."""
_SLOT: Final = re.compile(r"\{\{([^{}]*\|[^{}]*)\}\}")
_DOC_SLOT: Final = re.compile(r"\{(doc|docs)(?::([\w,]+))?\}")
_LONG_DOC: Final = 1200
"""Characters from which a text makes the job on it a level harder."""
_RESTYLED: Final = {"en": (1, 1, 2), "zh": (1, 1, 1)}
"""How many restyled copies a prompt gets, drawn from these; other languages share the rest of the corpus and get fewer."""
_RESTYLED_ELSE: Final = (0, 1)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One labelled prompt; the fields are the columns of the file."""

    id: str
    source: str
    group: str
    lang: str
    prompt: str
    category: str
    difficulty: float
    license: str


def build() -> list[Prompt]:
    """The whole corpus, without exact repeats (white space, case and punctuation aside)."""
    texts: dict[str, list[material.Doc]] = defaultdict(list)
    for doc in material.docs():
        texts[doc.lang].append(doc)
    seen: set[str] = set()
    rows: list[Prompt] = []
    for entry in material.written("base"):
        rows += _family(entry, _with_styles(entry, _filled(entry, entry.text)), seen)
    for entry in material.written("asks"):
        rows += _family(entry, _asked(entry, texts[entry.lang]), seen)
    return rows


def write(rows: Iterable[Prompt], path: Path) -> None:
    """JSON lines, compressed without a time stamp so that equal rows give equal bytes."""
    lines = b"".join(jsonbytes.dumps(row) + b"\n" for row in rows)
    path.write_bytes(gzip.compress(lines, 9, mtime=0))


def _family(entry: material.Written, prompts: Iterable[tuple[str, int]], seen: set[str]) -> Iterator[Prompt]:
    kept = 0
    for text, level in prompts:
        key = re.sub(r"[\W_]+", "", text.lower()) or text
        if key in seen or kept == MAX_FAMILY:
            continue
        seen.add(key)
        kept += 1
        digest = hashlib.sha256(text.encode()).hexdigest()[:14]
        yield Prompt(f"nr-{digest}", "nr_corpus", entry.name, entry.lang, text, entry.label, (2 * level - 1) / 10, "CC0")


def _rng(entry: material.Written, salt: str) -> random.Random:
    # Text rather than a number as the seed: Python hashes it with SHA-512, the same everywhere.
    return random.Random(f"{SEED}:{entry.name}:{salt}")


def _filled(entry: material.Written, text: str) -> list[str]:
    """The text with its `{{a|b}}` slots filled: three times at most for one slot, eight for several, each choice at least tried in turn."""
    slots = [slot.split("|") for slot in _SLOT.findall(text)]
    if not slots:
        return [text]
    rng = _rng(entry, "slots")
    for slot in slots:
        rng.shuffle(slot)
    times = min(3 if len(slots) == 1 and len(slots[0]) < 5 else 8, max(map(len, slots)) + (len(slots) > 1))
    return [_fill(text, slots, index) for index in range(times)]


def _fill(text: str, slots: list[list[str]], index: int) -> str:
    parts = _SLOT.split(text)[::2]
    # A step of its own for every slot, so that neither the first nor the second choices always meet.
    picked = [slot[(index + place * (index // len(slot))) % len(slot)] for place, slot in enumerate(slots)]
    return "".join(part + choice for part, choice in zip(parts, [*picked, ""], strict=True)).strip()


def _with_styles(entry: material.Written, prompts: list[str]) -> Iterator[tuple[str, int]]:
    for prompt in prompts:
        yield prompt, entry.level
    for number, prompt in enumerate(prompts[:2] if len(prompts) > 3 else prompts):
        rng = _rng(entry, f"style{number}")
        copies = 1 if len(prompts) > 3 else rng.choice(_RESTYLED.get(entry.lang, _RESTYLED_ELSE))
        for _ in range(copies):
            yield styles.restyled(prompt, entry.lang, entry.label, rng), entry.level


def _asked(entry: material.Written, texts: list[material.Doc]) -> Iterator[tuple[str, int]]:
    """The instruction with texts put in, some of them restyled; `{q}` is a question that the text answers."""
    slot = _DOC_SLOT.search(entry.text)
    if slot is None:
        raise ValueError(f"{entry.name}: an instruction without {{doc}}")
    rng = _rng(entry, "docs")
    kinds = set(slot[2].split(",")) if slot[2] else set()
    fitting = [doc for doc in texts if not kinds or doc.kind in kinds]
    if "{q}" in entry.text:
        fitting = [doc for doc in fitting if doc.questions]
    rng.shuffle(fitting)
    asks = _filled(entry, entry.text)
    for number, doc in enumerate(fitting[: 6 if entry.lang == "en" else 4]):
        body = doc.text if slot[1] == "doc" else _several(doc, texts, rng)
        ask = asks[number % len(asks)]
        if number % 3 == 1 and split_prose(ask):
            ask = styles.restyled(ask, entry.lang, entry.label, rng)
        ask = ask.replace("{q}", rng.choice(doc.questions) if doc.questions else "")
        yield ask.replace(slot[0], body), min(5, entry.level + (len(body) >= _LONG_DOC))


def split_prose(ask: str) -> bool:
    """Whether a style can change the instruction without touching its slots."""
    head, _ = styles.split_head(ask.replace("{", "").replace("}", ""))
    return bool(head) and "{" not in ask.partition("\n")[0]


def _several(doc: material.Doc, texts: list[material.Doc], rng: random.Random) -> str:
    """The text among others of its language, numbered as retrieval puts them in a prompt."""
    others = [other for other in texts if other is not doc and other.kind != "code"]
    picked = [doc, *rng.sample(others, min(len(others), rng.randrange(1, 4)))]
    rng.shuffle(picked)
    return "\n\n".join(f"[{number}] {one.text}" for number, one in enumerate(picked, 1))


def main() -> None:
    """Build, write and count."""
    rows = build()
    write(rows, PROMPTS_PATH)
    lines = [f"{len(rows)} prompts, {len({row.group for row in rows})} families, {PROMPTS_PATH.stat().st_size} bytes"]
    for column in ("category", "lang", "difficulty"):
        counts = Counter(str(getattr(row, column)) for row in rows)
        lines.append(f"{column}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
