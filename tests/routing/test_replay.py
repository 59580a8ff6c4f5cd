"""Past calls decided again: the policy of the time moves nothing, the dial is monotonic, and rows stay small."""

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuroroute.core.errors import UpstreamLimited
from neuroroute.core.jsonbytes import dumps, loads
from neuroroute.core.types import LABELS, Classification
from neuroroute.core.value import AIMS, aim_of_dial
from neuroroute.routing import trail
from neuroroute.routing.build import DeclaredModel, build_catalog
from neuroroute.routing.catalog import Catalog, Policy
from neuroroute.routing.decision import Bounds, Decision, Question, Thread
from neuroroute.routing.forecast import Lengths
from neuroroute.routing.health import Health
from neuroroute.routing.posteriors import Knobs, Posteriors
from neuroroute.routing.replay import Replay, decided
from neuroroute.routing.router import Router
from neuroroute.routing.strategies import Present
from neuroroute.store.usage import UsageRecord
from tests.support.offers import CALLER, NOTHING_KNOWN, model, provider, seen

PROPERTY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
THREE = (model("small", 0.70, 0.1), model("middle", 0.84, 1.0), model("large", 0.90, 10.0))


def catalog_of(models: Sequence[DeclaredModel] = THREE) -> Catalog:
    return build_catalog({"one": provider("one")}, models, known=NOTHING_KNOWN)


def row_of(made: Decision, *, cost: int | None = 1_000_000, baseline: int | None = 9_000_000, **fields: object) -> UsageRecord:
    """As the ledger would have it, the decision through JSON and back."""
    prompt = made.classification
    assert prompt is not None
    kept = trail.of(made, exploration=0.5)
    given = {
        "request_id": "req_1", "created_at": datetime(2026, 11, 23, tzinfo=UTC), "key_id": "key_a", "user_id": "usr_a",
        "requested_model": made.requested, "model": made.chosen.model.name, "provider": made.chosen.provider.name,
        "label": prompt.label, "difficulty": prompt.difficulty, "policy": made.policy or None, "prompt_tokens": prompt.prompt_tokens,
        "cost_nanousd": cost, "baseline_cost_nanousd": baseline, "cache": "miss", "decision": None if kept is None else loads(dumps(kept)),
    }  # fmt: skip
    return UsageRecord(**{**given, **fields})  # type: ignore[arg-type]


def policy(name: str) -> Policy:
    return Policy(name, AIMS[name]) if name in AIMS else Policy(name, aim_of_dial(float(name)))


@st.composite
def catalogs(draw: st.DrawFn, priced: bool = False) -> list[DeclaredModel]:
    usd = st.floats(0.01, 60.0) if priced else st.one_of(st.none(), st.floats(0.01, 60.0), st.just(0.0))
    return [model(f"m{place}", draw(st.floats(0.05, 0.97)), draw(usd), window=None, most=None) for place in range(draw(st.integers(1, 12)))]


@st.composite
def prompts(draw: st.DrawFn) -> Classification:
    return seen(
        draw(st.sampled_from(LABELS)),
        difficulty=draw(st.floats(0.0, 1.0)),
        confidence=draw(st.floats(0.1, 1.0)),
        tokens=draw(st.integers(1, 50_000)),
        abstained=draw(st.booleans()),
    )


NAMES = st.one_of(st.sampled_from(sorted(AIMS)), st.floats(0, 10).map(lambda turn: f"{turn:.1f}"))


@PROPERTY
@given(catalogs(), prompts(), NAMES, st.integers(0, 2**32), st.booleans(), st.sampled_from(["", "thread", "tool_loop", "avoided"]))
def test_the_policy_of_the_time_moves_nothing(
    models: list[DeclaredModel], prompt: Classification, name: str, seed: int, tries: bool, kept: str
) -> None:
    catalog, chance = catalog_of(models), random.Random(seed)
    health = Health()
    if kept == "avoided":
        for place in range(0, len(models), 2):
            health.admit(f"one/m{place}", 99.0).failed(UpstreamLimited("slow down", retry_after_s=5.0), 99.0)
    thread = Thread(f"one/m{chance.randrange(len(models))}", 100, kept == "tool_loop") if kept in ("thread", "tool_loop") else Thread()
    knobs = Knobs(exploration=0.5 if tries else 0.0)
    router = Router(health, posteriors=Posteriors(lambda: knobs), chance=chance, now_s=lambda: 99.1)
    decision = router.decide(Question(f"auto:{name}", CALLER, thread=thread), prompt, catalog)
    replay = Replay(policy(name), catalog)
    row = row_of(decision)
    choice = replay.add(row)
    assert choice is not None and choice.was == choice.now == decision.chosen.name, (choice, row.decision)
    report = replay.report()
    assert (report["moved"], report["difference_usd"], report["new_cost_usd"]) == (0, 0.0, 0.001)
    assert report["quality"] == report["new_quality"] and report["moves"] == []


@PROPERTY
@given(st.lists(st.tuples(catalogs(priced=True), prompts(), NAMES), min_size=1, max_size=5))
def test_the_dial_is_monotonic_in_cost_and_in_quality(calls: list[tuple[list[DeclaredModel], Classification, str]]) -> None:
    rows = []
    for models, prompt, name in calls:
        catalog = catalog_of(models)
        decision = Router(Health()).decide(Question(f"auto:{name}", CALLER), prompt, catalog)
        chosen = decision.candidates[0]
        rows.append((row_of(decision, cost=round(chosen.cost_nanousd or 0.0)), catalog))
    costs, qualities = [], []
    for step in range(21):
        cost = quality = 0.0
        for row, catalog in rows:
            choice = Replay(policy(str(step / 2)), catalog).add(row)
            assert choice is not None and choice.new_cost is not None and choice.new_quality is not None
            cost, quality = cost + choice.new_cost, quality + choice.new_quality
        costs.append(cost)
        qualities.append(quality)
    # equal within the digits that a row keeps and the rounding of a cost to whole nano-dollars
    assert all(after >= before * (1 - 1e-4) - 5 for before, after in itertools.pairwise(costs)), costs
    assert all(after >= before - 1e-4 for before, after in itertools.pairwise(qualities)), qualities


@PROPERTY
@given(st.integers(1, 60), st.integers(1, 150), st.text(min_size=1, max_size=20))
def test_a_row_keeps_less_than_600_bytes(count: int, length: int, flavour: str) -> None:
    flavour = "".join(char for char in flavour if char.isalnum()) or "x"
    models = [
        model(
            f"{place:02d}{(flavour * length)[:length]}",
            0.9 - place / 100,
            20.0 * 0.8**place,
            abilities=("tools", "json_schema", "reasoning"),
        )
        for place in range(count)
    ]
    knobs = Knobs(exploration=1.0)
    router = Router(Health(), posteriors=Posteriors(lambda: knobs))
    prompt = seen(needs={"tools", "json_schema", "reasoning"}, abstained=True, tokens=67_890)
    decision = (
        router.decide(
            Question("auto:best", CALLER, max_output_tokens=8_000),
            prompt,
            build_catalog({"one": provider("one")}, models, known=NOTHING_KNOWN),
        )
        if count
        else None
    )
    assert decision is not None
    kept = trail.of(decision, outcome="broken_schema", exploration=0.0123456789)
    assert kept is not None and kept["candidates"][0][0] == decision.chosen.name
    size = len(dumps(kept))
    assert size < 600 or (len(kept["candidates"]) == 1 and size < 600 + len(decision.chosen.name.encode())), size
    if length < 30 and count > 8 and flavour.isascii():
        assert len(kept["candidates"]) >= 4


def test_a_dearer_policy_moves_calls_and_says_what_it_costs() -> None:
    catalog = catalog_of()
    rows = [
        row_of(Router(Health()).decide(Question("auto:cheap", CALLER), seen(label, difficulty=0.2), catalog))
        for label in ("code", "chat", "chat")
    ]
    replay = Replay(policy("best"), catalog)
    choices = [replay.add(row) for row in rows]
    assert [(one.was, one.now) for one in choices if one] == [("one/small", "one/large")] * 3
    report = replay.report()
    assert (report["calls"], report["decided"], report["moved"], report["untouched"]) == (3, 3, 3, {})
    assert report["cost_usd"] == 0.003 and report["new_cost_usd"] == pytest.approx(0.3), "a hundred times the price for the same tokens"
    assert report["new_quality"] > report["quality"] and report["saved_usd"] == 0.024 and report["new_saved_usd"] == pytest.approx(-0.273)
    assert report["labels"]["chat"]["moved"] == 2 and report["moves"][0] | {"calls": 3} == report["moves"][0]
    assert loads(dumps(report)) == report
    assert decided(report).startswith("3 of 3 calls would move: 0.003 -> 0.3 USD (9900.0 % more), expected quality 0.")


def test_what_no_policy_changes_is_counted_and_costs_the_same() -> None:
    catalog = catalog_of()
    decision = Router(Health()).decide(Question("auto:cheap", CALLER), seen(), catalog)
    named = Router(Health()).decide(Question("large", CALLER), seen(), catalog)
    replay = Replay(policy("best"), catalog)
    for row in (
        row_of(decision, cache="hit", cost=0),
        row_of(decision, status="error", cost=None),
        row_of(decision, decision=None),
        row_of(decision, decision={"v": 99}),
        row_of(named),
    ):
        assert replay.add(row) is None
    report = replay.report()
    assert report["untouched"] == {"cache hit": 1, "error": 1, "named model": 1, "not on record": 2}
    assert (report["calls"], report["decided"], report["moved"], report["quality"]) == (5, 0, 0, None)
    assert report["cost_usd"] == report["new_cost_usd"] == 0.003


def test_what_auto_would_have_done_with_named_calls() -> None:
    catalog = catalog_of()
    row = row_of(Router(Health()).decide(Question("large", CALLER), seen("chat", difficulty=0.1), catalog))
    assert row.policy is None and row.decision == {"v": 1}
    replay = Replay(policy("cheap"), catalog, Present(Health(), Lengths(), 0.0), named=True)
    choice = replay.add(row)
    assert choice is not None and (choice.was, choice.now) == ("one/large", "one/small")
    assert choice.new_cost == pytest.approx(10_000.0) and replay.report()["new_cost_usd"] == pytest.approx(0.00001)


def test_the_policys_own_lists_hold() -> None:
    catalog = catalog_of()
    row = row_of(Router(Health()).decide(Question("auto:best", CALLER), seen(), catalog))
    only = Policy("own", AIMS["best"], allow=frozenset({"small"}))
    choice = Replay(only, catalog).add(row)
    assert choice is not None and choice.now == "one/small"
    none = Policy("own", AIMS["best"], allow=frozenset({"elsewhere"}))
    replay = Replay(none, catalog)
    assert replay.add(row) is None and replay.report()["untouched"] == {"no model left": 1}


def test_a_confined_policy_is_asked_of_all_that_it_leaves_not_of_what_rows_keep() -> None:
    """A row has no model that another beats in everything; where that other is not open, it is the choice."""
    catalog = catalog_of((model("star", 0.90, 1.0), model("second", 0.86, 1.1), model("dull", 0.80, 1.2), model("dim", 0.30, 0.05)))
    only = Policy("only", AIMS["balanced"], allow=frozenset({"one/d*"}))
    row = row_of(Router(Health()).decide(Question("auto", CALLER), seen(), catalog))
    assert row.model == "star" and row.decision is not None and "one/dull" not in str(row.decision)
    choice = Replay(only, catalog, Present(Health(), Lengths(), 0.0)).add(row)
    assert choice is not None and (choice.was, choice.now) == ("one/star", "one/dull")
    assert choice.new_cost is not None and choice.new_cost > 1_000_000
    without = Policy("without", AIMS["balanced"], deny=frozenset({"star", "second"}))
    choice = Replay(without, catalog, Present(Health(), Lengths(), 0.0)).add(row)
    assert choice is not None and choice.now == "one/dull"


def test_nothing_to_decide_is_told_as_that() -> None:
    assert decided(Replay(policy("best"), catalog_of()).report()) == "There was no call in this time."


def test_bounds_of_the_call_hold_in_the_replay() -> None:
    catalog = catalog_of()
    question = Question("auto:cheap", CALLER, bounds=Bounds(deny=("large",)))
    choice = Replay(policy("best"), catalog).add(row_of(Router(Health()).decide(question, seen(), catalog)))
    assert choice is not None and choice.now == "one/middle"


def test_a_call_without_a_price_is_counted_apart() -> None:
    catalog = catalog_of((model("free", 0.8, None), model("dear", 0.9, 5.0)))
    row = row_of(Router(Health()).decide(Question("auto:best", CALLER), seen(), catalog), cost=None)
    replay = Replay(policy("cheap"), catalog)
    replay.add(row)
    report = replay.report()
    assert (report["unpriced"], report["cost_usd"], report["new_cost_usd"]) == (1, 0.0, 0.0)
