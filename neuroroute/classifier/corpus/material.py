"""
The hand-written material: base prompts, texts to work on, and instructions for them.

Files are named by language (`de.txt`, `en_code.txt`). In `base/` and `asks/` a line `#label` opens a label and a line `3|text` a prompt of
difficulty level 3 of 5; lines without such a head continue the prompt above. In `docs/` a line `=== kind` opens a text and the lines
`?? question` under it are answered by that text.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from neuroroute.classifier.labels import LABELS
from neuroroute.core.dataclass import dataclass, field

ROOT: Final = Path(__file__).parent
_LABEL_LINE: Final = re.compile(r"#(" + "|".join(LABELS) + r")$")
_PROMPT_LINE: Final = re.compile(r"([1-5])\|(.*)$")
_DOC_LINE: Final = re.compile(r"=== (\w+)$")


@dataclass(frozen=True, slots=True)
class Written:
    """One hand-written prompt or instruction; `name` is unique over all files."""

    name: str
    lang: str
    label: str
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Doc:
    """A text that prompts can be about."""

    lang: str
    kind: str
    text: str
    questions: tuple[str, ...]


@dataclass(slots=True)
class _Open:
    """A doc that is still being read."""

    kind: str
    lines: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)


def written(folder: str) -> list[Written]:
    """All prompts of `base` or `asks`, in the order of files and lines. Raises: ValueError where a line belongs to nothing."""
    return [entry for path in _files(folder) for entry in _read_prompts(path)]


def docs() -> list[Doc]:
    """All texts to work on. Raises: ValueError where a line belongs to nothing."""
    return [doc for path in _files("docs") for doc in _read_docs(path)]


def _files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("*.txt"))


def _lang(path: Path) -> str:
    return path.stem.split("_")[0]


def _read_prompts(path: Path) -> Iterator[Written]:
    label, level, lines, counts = "", 0, list[str](), dict[str, int]()

    def close() -> Iterator[Written]:
        if lines:
            counts[label] = counts.get(label, 0) + 1
            name = f"{path.parent.name}.{path.stem}.{label}.{counts[label]:03}"
            yield Written(name, _lang(path), label, level, "\n".join(lines).strip("\n"))

    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if head := _LABEL_LINE.match(line):
            yield from close()
            label, lines = head[1], []
        elif head := _PROMPT_LINE.match(line):
            if not label:
                raise ValueError(f"{path.name}:{number}: a prompt before any label")
            yield from close()
            level, lines = int(head[1]), [head[2]]
        elif lines:
            lines.append(line)
        elif line.strip():
            raise ValueError(f"{path.name}:{number}: neither a label nor a prompt")
    yield from close()


def _read_docs(path: Path) -> Iterator[Doc]:
    now: _Open | None = None
    for number, line in enumerate([*path.read_text("utf-8").splitlines(), "=== end"], 1):
        if head := _DOC_LINE.match(line):
            if now is not None:
                yield Doc(_lang(path), now.kind, "\n".join(now.lines).strip("\n"), tuple(now.questions))
            now = _Open(head[1])
        elif now is None:
            raise ValueError(f"{path.name}:{number}: text before any '=== kind'")
        elif line.startswith("?? "):
            now.questions.append(line[3:])
        else:
            now.lines.append(line)
