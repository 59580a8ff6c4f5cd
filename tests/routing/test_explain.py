"""The explanation: complete, JSON, and true in what it says would change the choice."""

import dataclasses

import pytest

from neuroroute.core.errors import ConnectFailed
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.routing.build import build_catalog
from neuroroute.routing.decision import Candidate, Question
from neuroroute.routing.explain import explain, to_win
from neuroroute.routing.forecast import Lengths
from neuroroute.routing.health import Health
from neuroroute.routing.router import Router
from neuroroute.routing.strategies import Present, order
from tests.support.offers import CALLER, NOTHING_KNOWN, model, provider, seen

MODELS = [
    model("small", 0.70, 0.1),
    model("middle", 0.84, 1.0),
    model("large", 0.90, 10.0),
    model("unpriced", 0.80, None),
    model("down", 0.95, 0.1),
    model("blind", 0.7, 0.1, abilities=("json_schema",)),
]


def decided(policy: str, router: Router | None = None):  # type: ignore[no-untyped-def]
    catalog = build_catalog({"one": provider("one")}, MODELS, known=NOTHING_KNOWN)
    health = Health(failures=1, open_s=60.0)
    health.admit("one/down", 0.0).failed(ConnectFailed("down"), 0.0)
    router = router or Router(health, now_s=lambda: 1.0)
    return router.decide(Question(f"auto:{policy}", CALLER, max_output_tokens=900), seen(needs={"tools"}), catalog)


def test_everything_is_there_and_is_json() -> None:
    shown = loads(dumps(explain(decided("balanced"), {"version": "7", "metrics": {"apgr": 0.6}})))
    assert (shown["model"], shown["provider"], shown["policy"], shown["requested_model"]) == ("middle", "one", "balanced", "auto:balanced")
    assert shown["classification"]["label"] == "code" and len(shown["classification"]["posterior"]) == 3
    assert sum(shown["classification"]["posterior"].values()) <= 1.0
    assert shown["gates"]["closed"] == {"one/down": ["health"], "one/blind": ["tools"]}
    assert shown["gates"]["passed"][0] == "one/middle" and len(shown["gates"]["passed"]) == 4
    assert shown["fallbacks"] == shown["gates"]["passed"][1:]
    assert [one["chosen"] for one in shown["candidates"]] == [True, False, False, False, False, False]
    by_name = {one["model"]: one for one in shown["candidates"]}
    assert by_name["unpriced"]["expected_cost_usd"] is None and by_name["large"]["expected_cost_usd"] == pytest.approx(0.033)
    assert by_name["down"]["score"] is None and by_name["large"]["quality_source"] == "declared"
    assert shown["router"]["version"] == "7" and len(shown["catalog_version"]) == 8 and shown["max_output_tokens"] == 900
    assert shown["baseline"] == "one/down", "the best model there is, even while it is down"


def test_a_named_model_is_explained_too() -> None:
    catalog = build_catalog({"one": provider("one")}, MODELS, known=NOTHING_KNOWN)
    shown = explain(Router(Health()).decide(Question("small", CALLER), None, catalog))
    assert (shown["model"], shown["policy"], shown["reason"], shown["candidates"]) == ("small", None, "named", [])


def test_an_alias_shows_its_chain_and_what_closed_its_models() -> None:
    catalog = build_catalog({"one": provider("one")}, MODELS, aliases={"team": ["blind", "middle", "large"]}, known=NOTHING_KNOWN)
    shown = explain(Router(Health()).decide(Question("team", CALLER), seen(needs={"tools"}), catalog))
    assert [one["model"] for one in shown["candidates"]] == ["middle", "large", "blind"]
    assert shown["gates"]["closed"] == {"one/blind": ["tools"]} and shown["model"] == "middle"
    assert all(one["score"] is None and one["to_win"] is None for one in shown["candidates"])


@pytest.mark.parametrize("policy", ["cheap", "balanced", "best", "fast", "3", "7"])
def test_what_would_have_to_change_is_true(policy: str) -> None:
    """Each change that is named makes the runner-up win, and a little less of it does not."""
    decision = decided(policy)
    present = Present(Health(), Lengths(), 0.0)
    standing = [candidate for candidate in decision.candidates if not candidate.closed]
    told = 0

    def winner(place: int, **change: float) -> str:
        changed: list[Candidate] = [dataclasses.replace(candidate) for candidate in standing]
        changed[place] = dataclasses.replace(standing[place], **change)
        return order(changed, decision.aim, present)[0].name

    for place, candidate in enumerate(standing):
        changes = to_win(candidate, decision) or {}
        if place == 0:
            assert changes == {}
        for what, value in changes.items():
            told += 1
            name, scale, nudge = {
                "quality_at_least": ("quality", 1.0, 1e-4),
                "cost_usd_at_most": ("cost_nanousd", 1e9, -1e-4),
                "latency_ms_at_most": ("latency_ms", 1.0, -1e-4),
            }[what]
            now = getattr(candidate, name)
            assert winner(place, **{name: value * scale * (1.0 + nudge)}) == candidate.name
            assert winner(place, **{name: now + 0.98 * (value * scale - now)}) != candidate.name
    assert told >= 1
