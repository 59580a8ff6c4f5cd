"""The facts that come with the package, and how a server's name for a model finds them."""

import pytest

from neuroroute.core.jsonbytes import loads
from neuroroute.core.types import ABILITIES, LABELS
from neuroroute.routing.facts import CATALOG_FILE, core_name, facts, size_in_billions
from neuroroute.routing.forecast import odds_against, prior_speed

KINDS = {"chat", "responses", "embedding", "moderation", "image", "audio"}


def test_the_file_is_whole_and_within_its_bounds() -> None:
    data = CATALOG_FILE.read_bytes()
    document = loads(data)
    assert len(data) <= 120_000 and 60 <= len(document["models"]) <= 150
    assert {row["provider"] for row in document["models"].values()} == {
        "openai",
        "anthropic",
        "google",
        "mistral",
        "deepseek",
        "xai",
        "open",
    }
    for name, row in document["models"].items():
        model = facts().by_name[name].model
        assert model.kind in KINDS and model.abilities <= set(ABILITIES), name
        assert set(model.quality) <= {"default", *LABELS} and all(0.0 < share < 1.0 for share in model.quality.values()), name
        assert row.get("quality_source") in (("outcomes", "estimate") if "quality" in row else (None,)), name
        if model.kind == "chat":
            assert "default" in model.quality and model.context_window_tokens, name
            assert (model.price is None) == (row["provider"] == "open"), f"{name}: an unknown price is unknown, a known one is there"
        if model.price is not None and model.price.cached_input_nanousd is not None:
            assert model.price.cached_input_nanousd <= model.price.input_nanousd, name


def test_auto_has_a_range_to_choose_from_at_each_hosted_provider() -> None:
    for provider in ("openai", "anthropic", "google", "mistral", "deepseek", "xai"):
        chosen = [fact for fact in facts().of_provider(provider) if fact.auto and fact.model.kind == "chat"]
        assert len(chosen) >= 2, provider
        assert all(fact.model.price is not None for fact in chosen)
    prices = sorted(fact.model.price.output_nanousd for fact in facts().of_provider("openai") if fact.auto and fact.model.price)
    assert prices[-1] >= 20 * prices[0]


@pytest.mark.parametrize(
    ("served", "known"),
    [
        ("lmstudio-community/Meta-Llama-3.1-8B-Instruct-GGUF", "llama-3.1-8b-instruct"),
        ("llama3.1:8b", "llama-3.1-8b-instruct"),
        ("llama3.1:8b-instruct-q4_K_M", "llama-3.1-8b-instruct"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "qwen2.5-7b-instruct"),
        ("gemma-2-9b-it-Q4_K_M.gguf", "gemma-2-9b-it"),
        ("openai/gpt-oss-20b", "gpt-oss-20b"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b-instruct-v0.1"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("some-finetune-8b", None),
        ("", None),
        ("gpt-4o-mini-2030-01-01", None),
    ],
)
def test_names_of_servers(served: str, known: str | None) -> None:
    fact = facts().get(served)
    assert (fact.model.name if fact else None) == known


def test_core_names_do_not_collide_between_different_models() -> None:
    by_core: dict[str, list[str]] = {}
    for name in facts().by_name:
        by_core.setdefault(core_name(name), []).append(name)
    assert {core: names for core, names in by_core.items() if len(names) > 1} == {}


@pytest.mark.parametrize(
    ("name", "billions"),
    [("qwen2.5-7b-instruct", 7.0), ("Mixtral-8x7B", 56.0), ("smollm-1.7b", 1.7), ("gpt-4o", None), ("model-8bit", None), ("a7b", None)],
)
def test_sizes_from_names(name: str, billions: float | None) -> None:
    assert size_in_billions(name) == billions


def test_larger_is_taken_to_be_better_and_dearer_to_be_slower() -> None:
    estimates = [facts().estimate(f"unheard-of-{size}b")["default"] for size in (1, 7, 70)]
    assert estimates == sorted(estimates) and 0.4 < estimates[0] < estimates[-1] < 0.9
    assert facts().estimate("unheard-of") == {}
    small, large = facts().by_name["gpt-4o-mini"].model, facts().by_name["claude-fable-5"].model
    assert prior_speed(small)[1] > prior_speed(large)[1]


def test_odds_are_bounded_and_fall_back() -> None:
    assert odds_against({})[0] == 1.0, "nothing known: even odds"
    assert odds_against({"code": 0.8})[-1] == pytest.approx(0.25)
    assert max(odds_against({"default": 0.0})) < 100 and min(odds_against({"default": 1.0})) > 0.0
