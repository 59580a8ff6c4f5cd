"""
Renew data/catalog.json: `python -m neuroroute.routing.refresh [--litellm WHEEL] [--genai-prices WHEEL] [--outcomes FOLDER] [--write]`.

Facts come from the price list inside the litellm wheel, which is read as a zip and never installed; prices are held against those of
genai-prices, and every disagreement is reported. Quality priors come from `priors`: from outcomes where a model has some, else an estimate
by price and generation, marked as such. Without --write nothing is changed. A maintainer's tool: the gateway never runs it.
"""

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from neuroroute.core import clock
from neuroroute.core.dataclass import dataclass
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.routing.facts import CATALOG_FILE
from neuroroute.routing.priors import Ability, Line, blend, lines_through, measure, moe

PRICE_LIST: Final = "litellm/model_prices_and_context_window_backup.json"
MOST_MODELS: Final = 150
MOST_BYTES: Final = 120_000
_AUTO_FOR_DAYS: Final = 90  # what retires sooner is not offered to `auto`

HOSTED: Final[Mapping[str, tuple[str, str]]] = {
    "openai": (
        "openai",
        r"gpt-(4o(-mini)?(-20\d\d-\d\d-\d\d)?|4\.1(-mini|-nano)?|5(\.\d)?(-mini|-nano|-pro|-codex)?|5\.6-(sol|terra|luna)|6(\.\d)?-(sol|terra|luna|astra))"
        + r"|o[134](-mini|-pro)?|gpt-image-2|gpt-4o(-mini)?-transcribe|text-embedding-(3-small|3-large|ada-002)"
        + r"|omni-moderation-latest|tts-1|whisper-1",
    ),
    "anthropic": ("anthropic", r"claude-(haiku|sonnet|opus|fable)-\d(-\d)?(-2025\d{4})?"),
    "google": ("gemini", r"gemini-(2\.5|3\.\d)-(pro|flash|flash-lite)(-preview)?|gemini-4-\w+|gemini-embedding-\d+"),
    "mistral": (
        "mistral",
        r"(mistral-(large|medium|small)|codestral|devstral-(small|medium)|magistral-(medium|small)|ministral-(3b|8b|14b))-latest"
        + r"|mistral-large-4|open-mistral-nemo|mistral-embed|codestral-embed",
    ),
    "deepseek": ("deepseek", r"deepseek-(v4-flash|v4-pro|v3\.2)"),
    "xai": ("xai", r"grok-(4\.\d+|build-0\.1)"),
}
"""provider: (its name in the price list, the models that are taken)."""

AUTO: Final = re.compile(
    r"gpt-(4o-mini|4\.1|4\.1-mini|5\.4-mini|5\.4-nano|5\.6-(terra|luna)|6-(luna|astra)|6\.1-(sol|terra))"
    r"|claude-(haiku-4-5|haiku-5-5|sonnet-5-5|opus-5-5|fable-5-1)"
    r"|gemini-(2\.5-flash-lite|2\.5-pro|3\.5-flash-lite|3\.8-flash|4-argon)"
    r"|mistral-large-4|(mistral-medium|mistral-small|ministral-8b|codestral)-latest"
    r"|deepseek-v4-(flash|pro)|grok-4\.(3|7)|text-embedding-3-(small|large)|gemini-embedding-2|mistral-embed"
)
"""Current and general: what `auto` may choose unasked. Dated names, special and limited models are there for those who name them."""

OPEN: Final[Mapping[str, tuple[str, float | None, float | None]]] = {
    # name: (entry of the price list at a common host, year of release, billions of parameters); None = not known
    "llama-3.1-8b-instruct": ("deepinfra/meta-llama/Meta-Llama-3.1-8B-Instruct", 2024.56, 8),
    "llama-3.1-70b-instruct": ("deepinfra/meta-llama/Meta-Llama-3.1-70B-Instruct", 2024.56, 70),
    "llama-3.1-405b-instruct": ("together_ai/meta-llama/Llama-3.1-405B-Instruct", 2024.56, 405),
    "llama-3.2-1b-instruct": ("novita/meta-llama/llama-3.2-1b-instruct", 2024.73, 1.2),
    "llama-3.2-3b-instruct": ("novita/meta-llama/llama-3.2-3b-instruct", 2024.73, 3.2),
    "llama-3.3-70b-instruct": ("deepinfra/meta-llama/Llama-3.3-70B-Instruct", 2024.93, 70),
    "llama-4-scout": ("deepinfra/meta-llama/Llama-4-Scout-17B-16E-Instruct", 2025.26, moe(109, 17)),
    "llama-4-maverick": ("deepinfra/meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", 2025.26, moe(400, 17)),
    "qwen2.5-7b-instruct": ("deepinfra/Qwen/Qwen2.5-7B-Instruct", 2024.72, 7.6),
    "qwen2.5-14b-instruct": ("together_ai/Qwen/Qwen2.5-14B-Instruct", 2024.72, 14),
    "qwen2.5-72b-instruct": ("deepinfra/Qwen/Qwen2.5-72B-Instruct", 2024.72, 72),
    "qwen2.5-coder-32b-instruct": ("together_ai/Qwen/Qwen2.5-Coder-32B-Instruct", 2024.87, 32),
    "qwq-32b": ("deepinfra/Qwen/QwQ-32B", 2025.18, 32),
    "qwen3-4b": ("novita/qwen/qwen3-4b-fp8", 2025.32, 4),
    "qwen3-8b": ("novita/qwen/qwen3-8b-fp8", 2025.32, 8),
    "qwen3-14b": ("deepinfra/Qwen/Qwen3-14B", 2025.32, 14),
    "qwen3-32b": ("deepinfra/Qwen/Qwen3-32B", 2025.32, 32),
    "qwen3-30b-a3b": ("deepinfra/Qwen/Qwen3-30B-A3B", 2025.32, moe(30, 3)),
    "qwen3-235b-a22b": ("deepinfra/Qwen/Qwen3-235B-A22B-Instruct-2507", 2025.55, moe(235, 22)),
    "qwen3-coder-30b-a3b": ("novita/qwen/qwen3-coder-30b-a3b-instruct", 2025.58, moe(30, 3)),
    "qwen3-next-80b-a3b-instruct": ("deepinfra/Qwen/Qwen3-Next-80B-A3B-Instruct", 2025.69, moe(80, 3)),
    "qwen3-vl-8b-instruct": ("novita/qwen/qwen3-vl-8b-instruct", None, 8),
    "qwen3.5-9b": ("deepinfra/Qwen/Qwen3.5-9B", None, 9),
    "qwen3.5-35b-a3b": ("deepinfra/Qwen/Qwen3.5-35B-A3B", None, moe(35, 3)),
    "qwen3.6-27b": ("deepinfra/Qwen/Qwen3.6-27B", None, 27),
    "gemma-2-9b-it": ("gemini/gemini-gemma-2-9b-it", 2024.49, 9.2),
    "gemma-2-27b-it": ("together_ai/google/gemma-2-27b-it", 2024.49, 27),
    "gemma-3-4b-it": ("deepinfra/google/gemma-3-4b-it", 2025.20, 4),
    "gemma-3-12b-it": ("deepinfra/google/gemma-3-12b-it", 2025.20, 12),
    "gemma-3-27b-it": ("deepinfra/google/gemma-3-27b-it", 2025.20, 27),
    "gemma-4-e4b-it": ("deepinfra/google/gemma-4-E4B-it", None, 4),
    "gemma-4-26b-a4b-it": ("deepinfra/google/gemma-4-26B-A4B-it", None, moe(26, 4)),
    "gemma-4-31b-it": ("deepinfra/google/gemma-4-31B-it", None, 31),
    "mistral-7b-instruct-v0.3": ("together_ai/mistralai/Mistral-7B-Instruct-v0.3", 2024.39, 7.2),
    "mixtral-8x7b-instruct-v0.1": ("deepinfra/mistralai/Mixtral-8x7B-Instruct-v0.1", 2023.94, moe(47, 13)),
    "mistral-nemo-instruct-2407": ("deepinfra/mistralai/Mistral-Nemo-Instruct-2407", 2024.55, 12),
    "mistral-small-24b-instruct-2501": ("deepinfra/mistralai/Mistral-Small-24B-Instruct-2501", 2025.08, 24),
    "mistral-small-3.2-24b-instruct-2506": ("deepinfra/mistralai/Mistral-Small-3.2-24B-Instruct-2506", 2025.47, 24),
    "gpt-oss-20b": ("deepinfra/openai/gpt-oss-20b", 2025.60, moe(21, 3.6)),
    "gpt-oss-120b": ("deepinfra/openai/gpt-oss-120b", 2025.60, moe(117, 5.1)),
    "deepseek-r1": ("deepinfra/deepseek-ai/DeepSeek-R1-0528", 2025.40, moe(671, 37)),
    "deepseek-v3": ("deepinfra/deepseek-ai/DeepSeek-V3-0324", 2025.23, moe(671, 37)),
    "deepseek-r1-distill-qwen-1.5b": ("together_ai/deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 2025.05, 1.5),
    "deepseek-r1-distill-qwen-14b": ("novita/deepseek/deepseek-r1-distill-qwen-14b", 2025.05, 14),
    "deepseek-r1-distill-qwen-32b": ("deepinfra/deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", 2025.05, 32),
    "deepseek-r1-distill-llama-70b": ("deepinfra/deepseek-ai/DeepSeek-R1-Distill-Llama-70B", 2025.05, 70),
    "phi-4": ("deepinfra/microsoft/phi-4", 2024.95, 14),
    "nemotron-nano-9b-v2": ("deepinfra/nvidia/NVIDIA-Nemotron-Nano-9B-v2", 2025.63, 9),
    "glm-4.7-flash": ("deepinfra/zai-org/GLM-4.7-Flash", None, None),
    "glm-5.3": ("together_ai/zai-org/GLM-5.3", None, None),
    "kimi-k3": ("together_ai/moonshotai/Kimi-K3", None, None),
    "minimax-m3": ("deepinfra/MiniMaxAI/MiniMax-M3", None, None),
    "bge-m3": ("novita/baai/bge-m3", None, None),
    "qwen3-embedding-0.6b": ("novita/qwen/qwen3-embedding-0.6b", None, None),
    "qwen3-embedding-8b": ("novita/qwen/qwen3-embedding-8b", None, None),
}
"""Open weights: window and abilities are the host's, the price is nobody's (each host asks its own), so it stays unknown."""

RELEASED: Final[Mapping[str, float]] = {
    "gemini-2.5-pro": 2025.46, "gemini-2.5-flash": 2025.46, "gemini-2.5-flash-lite": 2025.55, "open-mistral-nemo": 2024.55,
    "deepseek-v3.2": 2025.92, 
}  # fmt: skip
"""Years of release that no dated name tells. Source: the makers' announcements."""

_KINDS: Final = {
    "chat": "chat",
    "responses": "responses",
    "embedding": "embedding",
    "moderation": "moderation",
    "image_generation": "image",
    "audio_transcription": "audio",
    "audio_speech": "audio",
}
_ABILITIES: Final = {
    "tools": "supports_function_calling",
    "vision": "supports_vision",
    "audio": "supports_audio_input",
    "files": "supports_pdf_input",
    "json_schema": "supports_response_schema",
    "reasoning": "supports_reasoning",
}
_INPUT_ONLY: Final = frozenset({272_000, 922_000})
"""Windows that the price list gives without the output: 128,000 of 400,000 and 1,050,000. Source: OpenAI's model pages, 2026-11."""
_DATED: Final = re.compile(r"-(20\d\d)-?(\d\d)-?(\d\d)(?!\d)|-(2\d)(\d\d)$")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """What a refresh reads. today: retired models are left out by it."""

    prices: Mapping[str, Mapping[str, Any]]
    measured: Mapping[str, Ability]
    by_price: Line
    by_size: Line
    today: date


def catalogue(sources: Sources) -> dict[str, Row]:
    """Every model that is taken, by name: the rows of data/catalog.json."""
    rows: dict[str, Row] = {}
    released = dict(_releases(sources))
    for provider, (family, pattern) in HOSTED.items():
        taken = re.compile(pattern)
        for key, entry in sources.prices.items():
            name = key.rsplit("/", 1)[-1]
            if (
                entry.get("litellm_provider") == family
                and taken.fullmatch(name)
                and name not in rows
                and not _retired(entry, sources.today)
            ):
                rows[name] = _row(
                    provider, name, entry, sources, released.get(_DATED.sub("", name)) or _between(provider, released, sources)
                )
    for name, (key, year, size) in OPEN.items():
        if name not in rows:
            rows[name] = _row("open", name, sources.prices[key], sources, year or _between("open", {}, sources), size)
    return dict(sorted(rows.items(), key=lambda item: (item[1]["provider"], item[0])))


def _row(provider: str, name: str, entry: Mapping[str, Any], sources: Sources, year: float, size: float | None = None) -> Row:
    kind = _KINDS[entry.get("mode") or "chat"]
    usd = [_per_million(entry, f"{part}_cost_per_token") for part in ("input", "output")]
    cached, written = (_per_million(entry, f"cache_{part}_input_token_cost") for part in ("read", "creation"))
    row: Row = {"provider": provider, "kind": kind}
    if provider != "open" and usd[0] is not None and (usd[1] is not None or kind == "embedding"):
        price = [usd[0], usd[1] or 0.0, cached, written]
        while price[-1] is None:
            price.pop()
        row["price"] = price
    window, most = entry.get("max_input_tokens"), entry.get("max_output_tokens") if kind != "embedding" else None
    row |= {"window": window + most if window in _INPUT_ONLY and most else window, "max_output": most}
    if kind in ("chat", "responses"):
        row["abilities"] = [ability for ability, flag in _ABILITIES.items() if entry.get(flag)]
        row |= _quality(name, usd, sources, year, size)
    if AUTO.fullmatch(name) and not _retired(entry, sources.today, _AUTO_FOR_DAYS):
        row["auto"] = True
    if day := _day(name):
        row["created"] = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return {key: value for key, value in row.items() if value not in (None, [])}


def _quality(name: str, usd: list[float | None], sources: Sources, year: float, size: float | None) -> Row:
    if (ability := sources.measured.get(name)) is not None:
        return {"quality": ability.quality(), "quality_source": "outcomes"}
    if size is not None:
        return {"quality": sources.by_size.quality(size, year), "quality_source": "estimate"}
    if usd[0] is None or usd[1] is None:
        return {}
    return {"quality": sources.by_price.quality(blend(usd[0], usd[1]), year), "quality_source": "estimate"}


def _per_million(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    return None if value is None else round(float(value) * 1e6, 6)


def _retired(entry: Mapping[str, Any], today: date, days: int = 0) -> bool:
    ends = str(entry.get("deprecation_date") or "")
    return bool(ends) and (date.fromisoformat(ends) - today).days <= days


def _day(name: str) -> date | None:
    """The date that a dated name carries: -2024-08-06, -20251001, -2512."""
    found = _DATED.search(name)
    if found is None:
        return None
    year, month, day = (int(found[1]), int(found[2]), int(found[3])) if found[1] else (2000 + int(found[4]), int(found[5]), 1)
    return date(year, month, day) if 1 <= month <= 12 and 1 <= day <= 31 else None


def _releases(sources: Sources) -> Iterator[tuple[str, float]]:
    """Year of release of every model that the price list also has under a dated name: the earliest such date; of a `-latest` name the last."""
    years: dict[str, float] = dict(RELEASED)
    for key in sources.prices:
        name = key.rsplit("/", 1)[-1]
        if (day := _day(name)) is not None:
            year = day.year + (day.timetuple().tm_yday - 1) / 365
            for plain in (name, _DATED.sub("", name)):
                years[plain] = min(year, years.get(plain, year))
            newest = _DATED.sub("-latest", name)
            years[newest] = max(year, years.get(newest, year))
    yield from years.items()


def _between(provider: str, released: Mapping[str, float], sources: Sources) -> float:
    """The year of a model without a date: midway between the provider's newest dated model and today."""
    now = sources.today.year + (sources.today.timetuple().tm_yday - 1) / 365
    taken = re.compile(HOSTED[provider][1]) if provider in HOSTED else None
    known = [year for name, year in released.items() if taken and taken.fullmatch(name)]
    known += [year for _, year, _ in OPEN.values() if provider == "open" and year]
    return (max(known) + now) / 2 if known else now


def disagreements(rows: Mapping[str, Row], providers: Any) -> tuple[int, list[str]]:
    """(models that both lists price, one line per difference). providers: `genai_prices.data.providers`."""
    theirs = {provider.id: provider for provider in providers}
    compared, lines = 0, []
    for name, row in rows.items():
        provider = theirs.get({"xai": "x-ai"}.get(row["provider"], row["provider"]))
        model = provider.find_model(name) if provider is not None and "price" in row else None
        if model is None:
            continue
        prices = model.get_prices(clock.utcnow())
        pairs = list(
            zip(("input", "output", "cached"), row["price"], (prices.input_mtok, prices.output_mtok, prices.cache_read_mtok), strict=False)
        )
        compared += 1
        for part, ours, other in pairs:
            other_usd = None if other is None else float(getattr(other, "base", other))
            if ours is not None and other_usd is not None and abs(ours - other_usd) > 1e-6 + 0.001 * other_usd:
                lines.append(f"{row['provider']}/{name}: {part} {ours} here, {other_usd} in genai-prices ({model.id})")
    return compared, lines


def written(rows: Mapping[str, Row], sources: Sources, versions: Mapping[str, str]) -> bytes:
    """The file: one model per line. Raises: ValueError where it outgrows its bounds."""
    head = {
        "updated": sources.today.isoformat(),
        "sources": dict(versions),
        "by_price": _line(sources.by_price),
        "by_size": _line(sources.by_size),
    }
    lines = [f"{dumps(name).decode()}: {dumps(row).decode()}" for name, row in rows.items()]
    data = (dumps(head).decode()[:-1] + ',"models":{\n' + ",\n".join(lines) + "\n}}\n").encode()
    if len(rows) > MOST_MODELS or len(data) > MOST_BYTES:
        raise ValueError(f"{len(rows)} models, {len(data)} bytes: more than {MOST_MODELS} or {MOST_BYTES}")
    return data


def _line(line: Line) -> list[float]:
    return [round(value, 4) for value in (line.base, line.per_decade, line.per_year)]


def _wheel(package: str, given: Path | None, folder: Path) -> Path:
    if given is not None:
        return given
    subprocess.run([sys.executable, "-m", "pip", "download", package, "--no-deps", "-q", "-d", str(folder)], check=True)
    return next(folder.glob(f"{package.replace('-', '_')}-*.whl"))


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 = done. Prints what changes and every disagreement."""
    parser = argparse.ArgumentParser(prog="python -m neuroroute.routing.refresh")
    parser.add_argument("--litellm", type=Path, help="the wheel; default: downloaded")
    parser.add_argument("--genai-prices", type=Path, help="the wheel; default: downloaded")
    parser.add_argument("--outcomes", type=Path, required=True, help="folder of outcomes_*.jsonl.gz")
    parser.add_argument("--write", action="store_true", help="replace the package's file")
    options = parser.parse_args(arguments)
    say = sys.stdout.write
    with tempfile.TemporaryDirectory() as name:
        wheels = [
            _wheel(package, given, Path(name)) for package, given in (("litellm", options.litellm), ("genai-prices", options.genai_prices))
        ]
        with zipfile.ZipFile(wheels[0]) as wheel:
            prices = loads(wheel.read(PRICE_LIST))
        sys.path.insert(0, str(wheels[1]))
        theirs = importlib.import_module("genai_prices.data").providers
        measured = measure(options.outcomes)
        sources = Sources(prices, measured, *lines_through(measured), clock.utcnow().date())
        rows = catalogue(sources)
        versions = {
            "prices": "-".join(wheels[0].name.split("-")[:2]),
            "checked": "-".join(wheels[1].name.split("-")[:2]),
            "quality": "priors.py",
        }
        data = written(rows, sources, versions)
        compared, lines = disagreements(rows, theirs)
    say(f"{len(rows)} models, {len(data)} bytes; {compared} priced by both lists, {len(lines)} differences\n")
    say("".join(f"  {line}\n" for line in lines))
    before = loads(CATALOG_FILE.read_bytes())["models"] if CATALOG_FILE.exists() else {}
    changed = sorted(name for name in before.keys() & rows.keys() if before[name] != rows[name])
    for word, names in (("new", sorted(rows.keys() - before.keys())), ("gone", sorted(before.keys() - rows.keys())), ("changed", changed)):
        say(f"{word}: {', '.join(names) or 'none'}\n")
    if options.write:
        CATALOG_FILE.write_bytes(data)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
