"""What was learned: the arithmetic of posteriors, what it does to decisions and their explanations, and the trying of others."""

import collections
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroroute.core.types import LABELS
from neuroroute.routing.build import DeclaredModel, build_catalog
from neuroroute.routing.catalog import Catalog
from neuroroute.routing.decision import Question, Thread
from neuroroute.routing.explain import explain
from neuroroute.routing.forecast import MEAN_DIFFICULTY, UNSURE
from neuroroute.routing.health import Health
from neuroroute.routing.posteriors import PRIOR_WEIGHT, Knobs, Posteriors, cell_of, posterior_mean, tercile_of
from neuroroute.routing.router import Router
from neuroroute.store.learned import Cell, Counts
from tests.support.offers import CALLER, NOTHING_KNOWN, model, provider, seen

TWO = (model("small", 0.75, 1.0), model("large", 0.85, 5.0))


def catalog_of(*models: DeclaredModel) -> Catalog:
    return build_catalog({"one": provider("one")}, models or TWO, known=NOTHING_KNOWN)


def taught(counts: dict[Cell, Counts], knobs: Knobs | None = None, **priors: dict[str, float]) -> Posteriors:
    chosen = knobs or Knobs()
    made = Posteriors(lambda: chosen)
    made.load(3 if priors else 0, {f"one/{name}": quality for name, quality in priors.items()}, counts)
    return made


def quality_of(name: str, posteriors: Posteriors, difficulty: float = MEAN_DIFFICULTY, label: str = "code", **more: object) -> float:
    router = Router(Health(), posteriors=posteriors)
    decision = router.decide(Question("auto", CALLER), seen(label, difficulty=difficulty, confidence=1.0, **more), catalog_of())  # type: ignore[arg-type]
    return next(candidate.quality for candidate in decision.candidates if candidate.name == f"one/{name}")


def test_without_evidence_nothing_changes() -> None:
    assert quality_of("small", Posteriors()) == quality_of("small", taught({})) == pytest.approx(0.75)


def test_evidence_moves_its_own_cell_and_no_other() -> None:
    posteriors = taught({Cell("one/small", "code", 1): Counts(0.0, 50.0)})
    assert quality_of("small", posteriors) == pytest.approx(0.375), "as many bad answers as the prior is worth halve it"
    assert quality_of("large", posteriors) == pytest.approx(0.85)
    assert quality_of("small", posteriors, label="chat") == pytest.approx(0.75)
    assert quality_of("small", posteriors, difficulty=0.45) == quality_of("small", Posteriors(), difficulty=0.45)
    assert quality_of("small", posteriors, abstained=True) == quality_of("small", Posteriors(), abstained=True)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.03, 0.97), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 500))
def test_evidence_is_bounded_in_weight(prior: float, good: float, bad: float, most: float) -> None:
    mean = posterior_mean(prior, Counts(good, bad), most)
    pull = most / (PRIOR_WEIGHT + most)
    assert prior * (1 - pull) - 1e-9 <= mean <= prior + (1 - prior) * pull + 1e-9
    if good + bad > 1e-6:
        rate = good / (good + bad)
        assert min(prior, rate) - 1e-9 <= mean <= max(prior, rate) + 1e-9


def test_a_flood_of_bad_opinions_moves_a_model_no_further_than_configured() -> None:
    flood = {Cell("one/large", "code", 1): Counts(0.0, 1e9)}
    assert quality_of("large", taught(flood, Knobs(max_weight=25.0))) == pytest.approx(0.85 * 50 / 75)
    assert quality_of("large", taught(flood, Knobs(enabled=False))) == pytest.approx(0.85)
    assert quality_of("large", taught(flood, Knobs(max_weight=0.0))) == pytest.approx(0.85)


def test_harder_stays_harder_inside_a_cell() -> None:
    posteriors = taught({Cell("one/small", "code", 1): Counts(40.0, 10.0)})
    assert quality_of("small", posteriors, 0.34) > quality_of("small", posteriors, 0.35) > quality_of("small", posteriors, 0.36)


def test_terciles_and_cells() -> None:
    assert [tercile_of(difficulty, 0.5) for difficulty in (0.2, 0.485, 0.5, 0.515, 0.9)] == [0, 1, 1, 1, 2]
    assert cell_of("m", seen("math", difficulty=0.7), {"math": 0.6}) == Cell("m", "math", 2)
    assert cell_of("m", seen("math", difficulty=0.7, abstained=True), {"math": 0.7}) == Cell("m", UNSURE, 2)


def test_a_refit_stands_in_for_the_catalogue() -> None:
    posteriors = taught({}, small={"code": 0.5})
    assert quality_of("small", posteriors) == pytest.approx(0.5)
    assert quality_of("small", posteriors, label="chat") == pytest.approx(0.75)
    on_top = taught({Cell("one/small", "code", 1): Counts(50.0, 0.0)}, small={"code": 0.5})
    assert quality_of("small", on_top) == pytest.approx(0.75)


def test_what_was_learned_decides_and_is_explained() -> None:
    router = Router(Health(), posteriors=taught({Cell("one/small", "code", 1): Counts(30.0, 0.5)}, large={"math": 0.4}))
    before = Router(Health()).decide(Question("auto:best", CALLER), seen(), catalog_of())
    after = router.decide(Question("auto:best", CALLER), seen(), catalog_of())
    assert (before.chosen.model.name, after.chosen.model.name) == ("large", "large")
    flood = taught({Cell("one/small", "code", 1): Counts(300.0, 0.0)})
    moved = Router(Health(), posteriors=flood).decide(Question("auto:best", CALLER), seen(), catalog_of())
    assert moved.chosen.model.name == "small"
    sources = {one["model"]: one["quality_source"] for one in explain(after)["candidates"]}
    assert sources == {"small": "learned (n=30)", "large": "declared"} and explain(after)["learned_version"] == 3
    math = router.decide(Question("auto:best", CALLER), seen("math"), catalog_of())
    assert {one["model"]: one["quality_source"] for one in explain(math)["candidates"]}["large"] == "refit (version 3)"


def test_unknown_models_labels_and_terciles_are_left_out() -> None:
    posteriors = taught(
        {Cell("one/gone", "code", 1): Counts(1, 1), Cell("one/small", "poetry", 1): Counts(9, 9), Cell("small", "code", 1): Counts(9, 9)}
    )
    assert quality_of("small", posteriors) == pytest.approx(0.75)


def test_a_new_state_and_a_new_catalogue_take_effect_at_once() -> None:
    posteriors = taught({})
    assert quality_of("small", posteriors) == pytest.approx(0.75)
    posteriors.load(1, {}, {Cell("one/small", "code", 1): Counts(0.0, 50.0)})
    assert quality_of("small", posteriors) == pytest.approx(0.375)


def exploring(share: float, *models: DeclaredModel, seed: int = 1) -> tuple[Router, Catalog]:
    knobs = Knobs(exploration=share)
    return Router(Health(), posteriors=Posteriors(lambda: knobs), chance=random.Random(seed)), catalog_of(*models)


def test_nothing_is_tried_by_default() -> None:
    router, catalog = exploring(0.0, model("a", 0.80, 1.0), model("b", 0.80, 1.0))
    decisions = [router.decide(Question("auto", CALLER), seen(), catalog) for _ in range(200)]
    assert {decision.chosen.name for decision in decisions} == {"one/a"} and {decision.explored for decision in decisions} == {None}


def test_trying_others_is_rare_stays_above_the_floor_and_knows_its_propensity() -> None:
    router, catalog = exploring(0.1, model("a", 0.80, 1.0), model("b", 0.79, 1.0), model("c", 0.62, 0.9), model("bad", 0.2, 0.001))
    decisions = [router.decide(Question("auto:best", CALLER), seen(), catalog) for _ in range(6000)]
    tries = [decision for decision in decisions if decision.explored is not None]
    assert 0.08 < len(tries) / len(decisions) < 0.12
    chosen = collections.Counter(decision.chosen.name for decision in tries)
    assert chosen.keys() <= {"one/a", "one/b"} and chosen["one/b"] > 0.2 * len(tries), chosen
    assert all(0 < (decision.explored or 0) <= 1 for decision in tries)
    # weighed by their propensities, the tries of a model count as many as all tries: the estimate from them is without bias
    weighed = sum(1.0 / (decision.explored or 1) for decision in tries if decision.chosen.name == "one/b")
    assert weighed / len(tries) == pytest.approx(1.0, abs=0.15)
    assert {decision.reason for decision in tries if decision.chosen.name == "one/b"} == {"best: code, tries another"}


def test_conversations_are_not_tried_with() -> None:
    router, catalog = exploring(1.0, model("a", 0.80, 1.0), model("b", 0.80, 1.0))
    thread = Thread("one/a", 400)
    assert {router.decide(Question("auto", CALLER, thread=thread), seen(), catalog).explored for _ in range(50)} == {None}


def test_a_decision_with_learned_models_is_fast() -> None:
    models = [model(f"m{place}", 0.5 + place / 50, 1.0 + place) for place in range(20)]
    counts = {Cell(f"one/m{place}", label, tercile): Counts(5.0, 1.0) for place in range(20) for label in LABELS for tercile in range(3)}
    catalog, question, prompt = catalog_of(*models), Question("auto", CALLER), seen()

    def best_us(router: Router) -> float:
        took = []
        for _ in range(300):
            began = time.process_time_ns()
            router.decide(question, prompt, catalog)
            took.append((time.process_time_ns() - began) / 1000)
        return sorted(took)[len(took) // 10]

    plain, learned = best_us(Router(Health())), best_us(Router(Health(), posteriors=taught(counts)))
    assert learned < 1.5 * plain + 10, (plain, learned)
