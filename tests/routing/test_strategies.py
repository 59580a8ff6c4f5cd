"""Gates, policies, order and stickiness: the properties that define them, over arbitrary catalogues and prompts."""

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from neuroroute.core.errors import UpstreamLimited
from neuroroute.core.types import ABILITIES, LABELS, Classification
from neuroroute.core.value import AIMS, aim_of_dial
from neuroroute.routing.build import DeclaredModel, build_catalog
from neuroroute.routing.catalog import Catalog
from neuroroute.routing.decision import Bounds, Candidate, Gate, Thread
from neuroroute.routing.forecast import Lengths
from neuroroute.routing.health import Health
from neuroroute.routing.strategies import STRATEGIES, VOICE, Field, Present, escalate, order, stick, weigh
from tests.support.offers import NOTHING_KNOWN, model, provider, seen

PROPERTY = settings(max_examples=60, deadline=None)  # no deadline: the machine may be busy
SHARE = st.floats(0.05, 0.97)
USD = st.one_of(st.none(), st.floats(0.01, 60.0))


def catalog_of(*models: DeclaredModel) -> Catalog:
    return build_catalog({"one": provider("one"), "two": provider("two")}, models, known=NOTHING_KNOWN)


def ranked(
    models: Sequence[DeclaredModel], what: Field, policy: str = "balanced", health: Health | None = None, lengths: Lengths | None = None
) -> list[Candidate]:
    present = Present(health or Health(), lengths or Lengths(), 100.0)
    return order(weigh(catalog_of(*models).candidates(what.kind), what, present), STRATEGIES[policy][0], present)


@st.composite
def offers(draw: st.DrawFn, priced: bool = False) -> list[DeclaredModel]:
    count = draw(st.integers(1, 8))
    return [
        model(
            f"m{place}",
            draw(SHARE),
            draw(st.floats(0.01, 60.0) if priced else USD),
            abilities=draw(st.sets(st.sampled_from(ABILITIES))),
            window=draw(st.one_of(st.none(), st.integers(100, 200_000))),
            most=draw(st.one_of(st.none(), st.integers(10, 50_000))),
        )
        for place in range(count)
    ]


@st.composite
def prompts(draw: st.DrawFn) -> Classification:
    return seen(
        draw(st.sampled_from(LABELS)),
        difficulty=draw(st.floats(0.0, 1.0)),
        confidence=draw(st.floats(0.1, 1.0)),
        needs=draw(st.sets(st.sampled_from(ABILITIES), max_size=2)),
        tokens=draw(st.integers(1, 100_000)),
        abstained=draw(st.booleans()),
    )


@PROPERTY
@given(
    offers(),
    prompts(),
    st.builds(Bounds, st.none(), st.none() | SHARE, st.none() | st.floats(0.00001, 1.0), st.none() | st.floats(100.0, 60_000.0)),
    st.none() | st.integers(1, 20_000),
    st.sampled_from(list(STRATEGIES)),
)
def test_what_a_gate_closes_is_never_chosen(
    models: list[DeclaredModel], prompt: Classification, bounds: Bounds, asked: int | None, policy: str
) -> None:
    """Each gate is stated again here, from the declared models, so that the code under test does not vouch for itself."""
    result = ranked(models, Field(prompt, bounds, max_output_tokens=asked), policy)
    declared = {one.name: one for one in models}
    assert sorted(candidate.target.model.name for candidate in result) == sorted(declared)
    for candidate in result:
        one = declared[candidate.target.model.name]
        abilities, least_output = one.abilities or frozenset(), asked or candidate.output_tokens
        blind = not abilities  # nothing known: text abilities get the benefit of the doubt
        lacking = {need for need in prompt.abilities - abilities if not (blind and need in ("tools", "json_schema", "reasoning"))}
        shut = {
            *lacking,
            *(["context_window"] if one.context_window_tokens and prompt.prompt_tokens + least_output > one.context_window_tokens else []),
            *(["max_output"] if asked and one.max_output_tokens and asked > one.max_output_tokens else []),
            *(["price_unknown"] if bounds.max_cost_usd is not None and one.price is None else []),
            *(["quality_floor"] if bounds.quality_floor is not None and candidate.quality < bounds.quality_floor else []),
            *(["max_latency_ms"] if bounds.max_latency_ms is not None and candidate.latency_ms > bounds.max_latency_ms else []),
        }
        if bounds.max_cost_usd is not None and one.price is not None and candidate.cost_nanousd is not None:
            dear = candidate.cost_nanousd > bounds.max_cost_usd * 1e9
            shut |= {"max_cost_usd"} if dear else set()
        assert {str(gate) for gate in candidate.closed} == shut
    still_open = [bool(candidate.closed) for candidate in result]
    assert still_open == sorted(still_open), "an open model stands behind a closed one"


@PROPERTY
@given(offers(priced=True), prompts())
def test_best_takes_the_most_quality(models: list[DeclaredModel], prompt: Classification) -> None:
    result = [candidate for candidate in ranked(models, Field(prompt, Bounds()), "best") if not candidate.closed]
    assume(result)
    assert result[0].quality >= max(candidate.quality for candidate in result) - 0.001


@PROPERTY
@given(offers(priced=True), prompts())
def test_balanced_gives_up_quality_only_for_its_price(models: list[DeclaredModel], prompt: Classification) -> None:
    result = [candidate for candidate in ranked(models, Field(prompt, Bounds()), "balanced") if not candidate.closed]
    assume(result)
    best = max(result, key=lambda candidate: candidate.quality)
    price = AIMS["balanced"].cost_weight
    assert AIMS["balanced"] == aim_of_dial(5)
    assert result[0].quality >= best.quality - price, "not even a free model may promise less"
    for other in result:
        saved = min((other.cost_nanousd or 0.0) / (best.cost_nanousd or 1.0), 100.0) - (result[0].cost_nanousd or 0.0) / (
            best.cost_nanousd or 1.0
        )
        assert result[0].quality - other.quality >= -price * saved - 1e-9


@PROPERTY
@given(offers(priced=True), prompts())
def test_cheap_takes_the_least_cost_above_the_floor(models: list[DeclaredModel], prompt: Classification) -> None:
    result = [candidate for candidate in ranked(models, Field(prompt, Bounds()), "cheap") if not candidate.closed]
    assume(result)
    best = max(result, key=lambda candidate: candidate.quality)
    floor = min(AIMS["cheap"].quality_floor, best.quality)
    assert result[0].quality >= floor
    cheapest = min(candidate.cost_nanousd or 0.0 for candidate in result if candidate.quality >= floor)
    assert (result[0].cost_nanousd or 0.0) <= cheapest + 0.001 * (best.cost_nanousd or 0.0) or _capped(result, best)


@PROPERTY
@given(offers(priced=True), prompts())
def test_fast_takes_the_least_latency_above_the_floor(models: list[DeclaredModel], prompt: Classification) -> None:
    result = [candidate for candidate in ranked(models, Field(prompt, Bounds()), "fast") if not candidate.closed]
    assume(result)
    best = max(result, key=lambda candidate: candidate.quality)
    floor = min(AIMS["fast"].quality_floor, best.quality)
    assert result[0].quality >= floor
    quickest = min(candidate.latency_ms for candidate in result if candidate.quality >= floor)
    costs = [candidate.cost_nanousd or 0.0 for candidate in result]
    slack = 0.01 + 0.001 * min(max(costs) / max(best.cost_nanousd or 0.0, 1e-9), 100.0)
    assert result[0].latency_ms <= quickest + slack * best.latency_ms


def _capped(result: Sequence[Candidate], best: Candidate) -> bool:
    """Costs above a hundred times the best model's count alike; then the order among them is by quality."""
    return any((candidate.cost_nanousd or 0.0) >= 100.0 * (best.cost_nanousd or 0.0) for candidate in result)


@PROPERTY
@given(offers(priced=True), prompts())
def test_turning_the_dial_up_never_makes_a_call_cheaper_or_worse(models: list[DeclaredModel], prompt: Classification) -> None:
    present = Present(Health(), Lengths(), 0.0)
    weighed = weigh(catalog_of(*models).candidates(), Field(prompt, Bounds()), present)
    open_ones = [candidate for candidate in weighed if not candidate.closed]
    assume(open_ones)
    best = max(open_ones, key=lambda candidate: candidate.quality)
    assume(not _capped(open_ones, best))
    chosen = [order(weighed, aim_of_dial(dial / 2), present)[0] for dial in range(21)]
    costs = [candidate.cost_nanousd or 0.0 for candidate in chosen]
    qualities = [candidate.quality for candidate in chosen]
    assert costs == sorted(costs) and qualities == sorted(qualities)


@PROPERTY
@given(offers(), prompts(), st.sampled_from(list(STRATEGIES)))
def test_the_same_question_gives_the_same_answer(models: list[DeclaredModel], prompt: Classification, policy: str) -> None:
    first, second = (ranked(models, Field(prompt, Bounds()), policy) for _ in range(2))
    assert first == second


@PROPERTY
@given(offers(), prompts(), st.floats(0.0, 0.5))
def test_a_harder_prompt_promises_less_of_every_model(models: list[DeclaredModel], prompt: Classification, more: float) -> None:
    harder = dataclasses.replace(prompt, difficulty=prompt.difficulty + more)
    easy, hard = (
        weigh(catalog_of(*models).candidates(), Field(one, Bounds()), Present(Health(), Lengths(), 0.0)) for one in (prompt, harder)
    )
    assert all(0.0 < low.quality <= high.quality < 1.0 for low, high in zip(hard, easy, strict=True))


def test_a_price_that_is_not_known_counts_as_the_dearest() -> None:
    models = [model("cheap", 0.8, 0.1), model("dear", 0.8, 10.0), model("unknown", 0.8, None)]
    assert ranked(models, Field(seen(), Bounds()), "cheap")[0].target.model.name == "cheap"
    unpriced = ranked([model("a", 0.7, None), model("b", 0.9, None)], Field(seen(), Bounds()), "cheap")
    assert unpriced[0].target.model.name == "b", "without any price the better one"


def test_an_abstaining_classifier_leads_to_the_safer_model() -> None:
    models = [model("small", 0.62, 0.1), model("large", 0.9, 5.0)]
    assert ranked(models, Field(seen(difficulty=0.3), Bounds()), "cheap")[0].target.model.name == "small"
    assert ranked(models, Field(seen(difficulty=0.3, abstained=True), Bounds()), "cheap")[0].target.model.name == "large"


def test_soft_labels_mix_the_priors() -> None:
    coder = dataclasses.replace(model("coder"), quality={"default": 0.4, "code": 0.9})
    sure, torn = seen("code", confidence=1.0), seen("code", confidence=0.5)
    torn = dataclasses.replace(torn, posterior=tuple(0.5 if label in ("code", "chat") else 0.0 for label in LABELS))
    quality = [ranked([coder], Field(one, Bounds()))[0].quality for one in (sure, torn)]
    assert quality[0] == pytest.approx(0.9) and quality[1] == pytest.approx(0.65)


def test_the_cached_prefix_makes_the_old_model_cheaper() -> None:
    models = [model("old", 0.8, 1.0, cached_usd=0.1), model("new", 0.8, 0.9)]
    fresh = Field(seen("classification", tokens=50_000), Bounds())
    assert ranked(models, fresh, "cheap")[0].target.model.name == "new"
    warm = dataclasses.replace(fresh, cached_target="one/old", cached_tokens=48_000)
    first = ranked(models, warm, "cheap")[0]
    assert first.target.model.name == "old"
    assert first.cost_nanousd == pytest.approx((2_000 * 1.0 + 48_000 * 0.1 + 40 * 4.0) * 1000)


def test_live_latency_replaces_the_guess() -> None:
    models = [model("a", 0.8, 1.0), model("b", 0.8, 1.0)]
    health = Health()
    for step in range(20):
        for name, first_s in (("one/a", 3.0), ("one/b", 0.2)):
            attempt = health.admit(name, float(step))
            attempt.first_byte(step + first_s)
            attempt.succeeded(step + first_s + 1.0, output_tokens=100)
    assert ranked(models, Field(seen(), Bounds()), "fast", health)[0].target.model.name == "b"


def test_lengths_are_learned() -> None:
    lengths = Lengths()
    for _ in range(300):
        lengths.observe("code", "one/wordy", 2_000)
        lengths.observe("code", "one/terse", 500)
    wordy, terse = weigh(
        catalog_of(model("wordy", most=None), model("terse", most=None)).candidates(),
        Field(seen(), Bounds()),
        Present(Health(), lengths, 0.0),
    )
    assert wordy.output_tokens == pytest.approx(2_000, rel=0.25) and terse.output_tokens == pytest.approx(500, rel=0.25)
    assert Lengths().of_label("code") == 700 and Lengths().of_label("no such label") > 0


@PROPERTY
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from("abc"), st.integers(-5, 10**9)), max_size=200))
def test_lengths_stay_finite_and_positive(events: list[tuple[str, str, int]]) -> None:
    lengths = Lengths()
    for label, target, tokens in events:
        lengths.observe(label, target, tokens)
    assert all(0.0 < lengths.of_label(label) < 1e12 for label in LABELS)
    assert all(0.0 < lengths.ratio(target) <= 20.0 for target in "abc")


def test_a_limited_model_comes_last_but_stays() -> None:
    models = [model("first", 0.9, 1.0), model("second", 0.9, 2.0)]
    health = Health()
    health.admit("one/first", 99.0).failed(UpstreamLimited("slow down", retry_after_s=20.0), 99.0)
    assert [candidate.target.model.name for candidate in ranked(models, Field(seen(), Bounds()), "balanced", health)] == ["second", "first"]


def _three() -> list[Candidate]:
    models = [model("small", 0.7, 0.1), model("middle", 0.8, 1.0), model("large", 0.9, 9.0)]
    return ranked(models, Field(seen(), Bounds()), "cheap")


def test_a_conversation_keeps_its_model_while_the_gain_is_small() -> None:
    result = _three()
    names = [candidate.target.model.name for candidate in result]
    aim = AIMS["cheap"]
    near = dataclasses.replace(result[1], score=result[0].score - VOICE * 0.9 * (aim.quality_weight + aim.cost_weight))
    far = dataclasses.replace(result[1], score=result[0].score - VOICE * 1.1 * (aim.quality_weight + aim.cost_weight))
    stays = Thread(f"one/{names[1]}")
    assert stick([result[0], near, result[2]], stays, aim) == 1
    assert stick([result[0], far, result[2]], stays, aim) == 0
    assert stick([result[0], far, result[2]], dataclasses.replace(stays, tool_loop=True), aim) == 1, "a tool loop stays"
    shut = dataclasses.replace(near, closed=(Gate.HEALTH,))
    assert stick([result[0], shut, result[2]], dataclasses.replace(stays, tool_loop=True), aim) == 0
    below = dataclasses.replace(near, admitted=False)
    assert stick([result[0], below, result[2]], stays, aim) == 0, "below the floor nothing stays"
    assert stick(result, Thread(), aim) == 0 and stick(result, Thread("one/gone"), aim) == 0


def test_a_model_that_stalled_gives_way_to_a_better_one() -> None:
    result = _three()
    assert escalate(result, Thread("one/middle", stalled=True))
    assert {candidate.target.model.name for candidate in result if not candidate.closed} == {"large"}
    fresh = _three()
    assert not escalate(fresh, Thread("one/large", stalled=True)), "nothing better: ask again"
    assert not any(candidate.closed for candidate in fresh)
    assert not escalate(fresh, Thread("one/small")) and not escalate(fresh, Thread("one/gone", stalled=True))
