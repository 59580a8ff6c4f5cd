"""The examples that the classifier learns from: open routing data from a folder, and the labelled prompts that the package carries itself."""

import gzip
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from neuroroute.classifier.labels import LABELS
from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import loads

CATEGORY_FILES: Final = ("categories_realistic", "categories_datasets")
OUTCOME_FILES: Final = ("outcomes_routellm_mmlu", "outcomes_routellm_gsm8k", "outcomes_mmlu_pro", "outcomes_llmrouter")
MEASURE_ONLY: Final = "nc/alpaca_eval"
"""Non-commercial data: evaluated on, never trained on."""

PAIRS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "routellm_mmlu": (("mixtral-8x7b-instruct-v0.1",), ("gpt-4-1106-preview",)),
    "routellm_gsm8k": (("mixtral-8x7b-instruct-v0.1",), ("gpt-4-1106-preview",)),
    "mmlu_pro": (
        (
            "Mistral-7B-Instruct-v0.2",
            "Mixtral-8x7B-Instruct-v0.1",
            "Meta-Llama-3-8B",
            "Yi-6b-Chat",
            "gemma-7b",
            "Llama-2-13b-hf",
            "Qwen1.5-7B-Chat",
        ),
        ("Meta-Llama-3_1-70B-Instruct", "Qwen1.5-110B", "Meta-Llama-3-70B", "jamba-1.5-large", "gemini-1.5-pro-002", "DeepSeek-Coder-V2"),
    ),
    "llmrouter": (
        ("mistral-7b-instruct-v0.3", "codegemma-7b", "gemma-2-9b-it", "llama-3.1-8b-instruct"),
        ("llama-3.1-nemotron-51b-instruct", "llama-3.3-nemotron-super-49b-v1"),
    ),
}
"""Per source of outcomes: the models taken as weak, and as strong."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, its label, where it comes from; with measured answers `failed` and `gained` in 0..1 and -1..1, `quality` per model."""

    id: str
    source: str
    group: str
    lang: str
    prompt: str
    label: str
    failed: float | None = None
    gained: float | None = None
    quality: Mapping[str, float] | None = None
    difficulty: float | None = None

    @property
    def fold_key(self) -> str:
        return f"{self.source}/{self.group}"


class DataMissing(Exception):
    """The folder of routing data, or a file of it, is not there."""


def _lines(raw: bytes) -> Iterator[dict[str, Any]]:
    for line in gzip.decompress(raw).splitlines():
        if line.strip():
            yield loads(line)


def read_file(folder: Path, name: str) -> list[Example]:
    """Raises: DataMissing."""
    path = folder / f"{name}.jsonl.gz"
    if not path.is_file():
        raise DataMissing(f"{path} is missing. Give the folder of the routing data with --data FOLDER or NEUROROUTE_ROUTING_DATA.")
    return [_example(row) for row in _lines(path.read_bytes()) if row["category"] in LABELS]


def read_corpus() -> list[Example]:
    """The package's own labelled prompts; none where it carries none."""
    folder = resources.files("neuroroute.classifier") / "corpus"
    if not folder.is_dir():
        return []
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".jsonl.gz")), key=lambda entry: entry.name)
    return [_example(row) for entry in files for row in _lines(entry.read_bytes()) if row["category"] in LABELS]


def _example(row: Mapping[str, Any]) -> Example:
    quality: Mapping[str, float] | None = row.get("q")
    failed = gained = None
    pair = PAIRS.get(row["source"])
    if quality and pair:
        weak = _mean(quality, pair[0])
        strong = _mean(quality, pair[1])
        if weak is not None and strong is not None:
            failed, gained = 1.0 - weak, strong - weak
    difficulty = row.get("difficulty")
    return Example(
        row["id"], row["source"], row["group"], row.get("lang", "en"), row["prompt"], row["category"], failed, gained, quality,
        float(difficulty) if isinstance(difficulty, int | float) else None,
    )  # fmt: skip


def _mean(quality: Mapping[str, float], models: tuple[str, ...]) -> float | None:
    known = [quality[model] for model in models if quality.get(model) is not None]
    return sum(known) / len(known) if known else None
