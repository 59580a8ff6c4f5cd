"""The fit behind the quality priors, and the refresh of the facts from price lists."""

import math
import random
from datetime import date

import pytest

from neuroroute.core.jsonbytes import loads
from neuroroute.routing.priors import ANCHOR, MEASURED_OFFERS, Ability, Line, abilities, blend, lines_through, moe
from neuroroute.routing.refresh import OPEN, Sources, catalogue, written


def sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


def test_abilities_are_found_again() -> None:
    """Answers made from known abilities; not every model answered every source, as in the real data."""
    dice = random.Random(7)
    truth = {ANCHOR: 0.2, "weak": -0.8, "strong": 1.3, "coder": 0.5}
    ease = {("s1", "math"): -0.5, ("s1", "code"): 0.0, ("s2", "math"): 0.4, ("s2", "code"): 0.7}
    cells = {}
    for model, ability in truth.items():
        for (source, label), easy in ease.items():
            if model == "weak" and source == "s2":
                continue
            extra = 0.8 if model == "coder" and label == "code" else 0.0
            share = sum(dice.random() < sigmoid(ability + easy + extra) for _ in range(4000)) / 4000
            cells[model, source, label] = (4000.0, share)
    found = abilities(cells)
    assert sigmoid(found[ANCHOR].logit) == pytest.approx(0.65), "the scale is anchored"
    for model in ("weak", "strong"):
        assert found[model].logit - found[ANCHOR].logit == pytest.approx(truth[model] - truth[ANCHOR], abs=0.25)
    assert found["coder"].by_label["code"] - found["coder"].by_label["math"] == pytest.approx(0.8, abs=0.25)
    assert set(found["coder"].quality()) == {"default", "code", "math"}


def test_the_line_is_the_one_through_the_points() -> None:
    line = Line(0.5, 0.4, 1.0)
    exact = {
        name: Ability(0.5 + 0.4 * math.log10(blend(usd_in, usd_out)) + (year - 2024.0), {})
        for name, (year, usd_in, usd_out) in MEASURED_OFFERS.items()
    }
    found, _ = lines_through(exact)
    assert (found.base, found.per_decade, found.per_year) == pytest.approx((line.base, line.per_decade, line.per_year))
    assert line.quality(1.0, 2024.0)["default"] == pytest.approx(sigmoid(0.5), abs=0.001)
    later = [line.quality(1.0, year)["default"] for year in (2024.75, 2025.75, 2027.75)]
    assert later == sorted(later) and later[1] == pytest.approx(sigmoid(0.5 + 0.75 + 1 / 3), abs=0.001)


def test_sizes_and_prices() -> None:
    assert blend(1.0, 5.0) == 2.0 and moe(47, 13) == pytest.approx(24.7, abs=0.1)


HOST = {"mode": "chat", "max_input_tokens": 32768, "max_output_tokens": 4096, "input_cost_per_token": 1e-7, "output_cost_per_token": 2e-7}
PRICES = {
    "gpt-4o-mini": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 1.5e-7,
        "output_cost_per_token": 6e-7,
        "cache_read_input_token_cost": 7.5e-8,
        "max_input_tokens": 128000,
        "max_output_tokens": 16384,
        "supports_function_calling": True,
        "supports_vision": True,
    },
    "gpt-4o-mini-2024-07-18": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-7, "output_cost_per_token": 6e-7},
    "gpt-5": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-5,
        "max_input_tokens": 272000,
        "max_output_tokens": 128000,
        "deprecation_date": "2026-01-01",
    },
    "gpt-5.4": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-5,
        "max_input_tokens": 272000,
        "max_output_tokens": 128000,
    },
    "azure/gpt-4.1": {"litellm_provider": "azure", "mode": "chat"},
    "gpt-realtime": {"litellm_provider": "openai", "mode": "realtime"},
    **{key: HOST for key, _, _ in OPEN.values()},
}


def sources() -> Sources:
    line = Line(0.5, 0.4, 1.0)
    return Sources(PRICES, {"llama-3.1-8b-instruct": Ability(0.8, {"code": 0.3})}, line, line, date(2026, 11, 23))


def test_rows_hold_what_the_price_list_says() -> None:
    rows = catalogue(sources())
    mini = rows["gpt-4o-mini"]
    assert mini["price"] == [0.15, 0.6, 0.075] and mini["window"] == 128000 and mini["abilities"] == ["tools", "vision"] and mini["auto"]
    assert mini["quality"] == rows["gpt-4o-mini-2024-07-18"]["quality"] and mini["quality_source"] == "estimate"
    assert "auto" not in rows["gpt-4o-mini-2024-07-18"] and rows["gpt-4o-mini-2024-07-18"]["created"] == 1721260800
    assert "gpt-5" not in rows, "retired"
    assert rows["gpt-5.4"]["window"] == 400000, "the list gives its input alone"
    assert "gpt-4.1" not in rows and "gpt-realtime" not in rows
    llama = rows["llama-3.1-8b-instruct"]
    assert "price" not in llama and llama["quality_source"] == "outcomes" and llama["quality"]["code"] > llama["quality"]["default"]


def test_the_file_is_bounded_and_one_model_a_line() -> None:
    rows = catalogue(sources())
    data = written(rows, sources(), {"prices": "list-1"})
    document = loads(data)
    assert document["updated"] == "2026-11-23" and document["models"]["gpt-4o-mini"] == rows["gpt-4o-mini"]
    assert len(data.splitlines()) == len(rows) + 2
    with pytest.raises(ValueError, match="more than"):
        written({f"m{number}": rows["gpt-4o-mini"] for number in range(151)}, sources(), {})
