"""
What is known of models without asking anyone: prices, windows, abilities and quality priors, from the package's data/catalog.json.

`facts()` reads the file once. `Facts.get` finds the entry of a model by the name that a server gives it: file names of local servers
("lmstudio-community/Meta-Llama-3.1-8B-Instruct-GGUF", "llama3.1:8b") are the same model as `llama-3.1-8b-instruct`.
Source: data/catalog.json names the source of every group of facts; `python -m neuroroute.routing.refresh` writes it.
"""

import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import loads
from neuroroute.core.types import Model, Price

CATALOG_FILE: Final = Path(__file__).with_name("data") / "catalog.json"

_YEARS: Final = 0.75  # since 2024: a model of unknown age is taken to be as old as the last measured one


@dataclass(frozen=True, slots=True)
class Fact:
    """
    A known model; `model.provider` is the family that makes or hosts it.

    auto: current and general enough to be chosen by `auto` unasked. quality_source: "outcomes", or "estimate" where nothing was measured.
    """

    model: Model
    auto: bool
    quality_source: str


@dataclass(frozen=True, slots=True)
class KnownModels:
    """All facts, by name and by what remains of a name without packaging."""

    by_name: Mapping[str, Fact]
    by_core: Mapping[str, Fact]
    updated: str
    size_line: tuple[float, float] = (0.0, 0.0)  # logit of quality at a billion parameters, and per tenfold of them

    def get(self, name: str) -> Fact | None:
        """The facts of a model, also where the name carries a vendor, a quantisation or a tag; None if it is not known."""
        return self.by_name.get(name) or self.by_core.get(core_name(name))

    def estimate(self, name: str) -> Mapping[str, float]:
        """A quality prior for a model of which only the name is known, by its size; empty without one. Source: priors.py, the line by size."""
        size = size_in_billions(name)
        if size is None:
            return {}
        logit = self.size_line[0] + self.size_line[1] * math.log10(max(size, 0.1))
        return {"default": round(1.0 / (1.0 + math.exp(-logit)), 3)}

    def of_provider(self, provider: str) -> tuple[Fact, ...]:
        return tuple(fact for fact in self.by_name.values() if fact.model.provider == provider)


_PACKAGING: Final = re.compile(
    r"(?:[-_.@:](?:gguf|mlx|awq|gptq|bnb|fp8|fp16|bf16|int4|int8|[2-8]bit|q[2-8](?:_[0-9k](?:_[sml])?)?|iq[1-4]_\w+"
    r"|latest|instruct|it|chat|hf|turbo))+$"
)
_SIZE: Final = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z0-9])")


def core_name(name: str) -> str:
    """A name without vendor, packaging and punctuation: "TheOrg/Meta-Llama-3.1-8B-Instruct-GGUF" -> "llama318b"."""
    core = name.lower().rsplit("/", 1)[-1].removeprefix("meta-")
    core = _PACKAGING.sub("", core.removesuffix(".gguf"))
    return re.sub(r"[^a-z0-9]", "", core)


def size_in_billions(name: str) -> float | None:
    """Parameters as the name gives them: "qwen2.5-7b-instruct" -> 7.0, "mixtral-8x7b" -> 56.0; None without."""
    found = _SIZE.search(name.lower())
    return float(found[2]) * int(found[1] or 1) if found else None


def facts_of(data: bytes) -> KnownModels:
    """Facts from the bytes of a catalogue file."""
    document = loads(data)
    by_name = {name: _fact(name, row) for name, row in document["models"].items()}
    by_core: dict[str, Fact] = {}
    for name, fact in by_name.items():
        by_core.setdefault(core_name(name), fact)
    base, per_decade, per_year = document.get("by_size", (0.0, 0.0, 0.0))
    return KnownModels(by_name, by_core, document["updated"], (base + _YEARS * per_year, per_decade))


@cache
def facts() -> KnownModels:
    """The facts that came with the package."""
    return facts_of(CATALOG_FILE.read_bytes())


def _fact(name: str, row: Mapping[str, Any]) -> Fact:
    price = row.get("price")
    model = Model(
        name=name,
        provider=row["provider"],
        upstream_model=name,
        kind=row.get("kind", "chat"),
        price=None if price is None else Price.of(*price),
        context_window_tokens=row.get("window"),
        max_output_tokens=row.get("max_output"),
        abilities=frozenset(row.get("abilities", ())),
        quality=row.get("quality", {}),
        created=row.get("created", 0),
    )
    return Fact(model, row.get("auto", False), row.get("quality_source", "estimate"))
