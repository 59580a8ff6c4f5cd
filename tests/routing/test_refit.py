"""The refit: it finds what was observed, and its gate lets through only what loses less on calls held back."""

import random
from collections.abc import Callable

import pytest

from neuroroute.core.jsonbytes import dumps
from neuroroute.core.value import AIMS
from neuroroute.routing.build import build_catalog
from neuroroute.routing.catalog import Catalog
from neuroroute.routing.forecast import MEAN_DIFFICULTY
from neuroroute.routing.posteriors import PRIOR_WEIGHT
from neuroroute.routing.refit import MOST_OF_A_USER, Fit, Observation, refit
from neuroroute.routing.trail import Kept
from tests.support.offers import NOTHING_KNOWN, model, provider

PRICES = {"small": 1.0, "large": 6.0}
BELIEVED = {"small": 0.75, "large": 0.85}


def catalog_of() -> Catalog:
    return build_catalog({"one": provider("one")}, [model(name, BELIEVED[name], PRICES[name]) for name in PRICES], known=NOTHING_KNOWN)


def field(chosen: str) -> tuple[Kept, ...]:
    names = sorted(PRICES, key=lambda name: name != chosen)
    return tuple(Kept(f"one/{name}", BELIEVED[name], PRICES[name] * 1e6, 1000.0) for name in names)


def observed(true: Callable[[str], float], count: int = 400, seed: int = 1, users: int = 50, label: str = "code") -> list[Observation]:
    """Answers of both models, judged good as often as they truly are."""
    chance = random.Random(seed)
    made = []
    for place in range(count):
        name = chance.choice(sorted(PRICES))
        good = chance.random() < true(name)
        made.append(
            Observation(place, f"usr_{place % users}", f"one/{name}", label, MEAN_DIFFICULTY, float(good), float(not good), field(name))
        )
    return made


def fitted(observations: list[Observation], policy: str = "balanced", before: dict[str, dict[str, float]] | None = None) -> Fit:
    return refit(observations, before or {}, catalog_of(), AIMS[policy], {})


def test_a_model_that_is_far_better_than_believed_is_found_and_promoted() -> None:
    fit = fitted(observed(lambda name: {"small": 0.97, "large": 0.6}[name]), "best")
    assert fit.promoted, fit.report
    report = fit.report
    assert report["regret_after"] < report["regret_before"] and report["log_loss_after"] < report["log_loss_before"]
    assert fit.priors["one/small"]["code"] > 0.9 and fit.priors["one/large"]["code"] < 0.75
    assert {(cell["model"], cell["before"]) for cell in report["cells"]} == {("one/small", 0.75), ("one/large", 0.85)}
    dumps(report)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("policy", ["best", "balanced", "cheap"])
def test_what_is_as_believed_is_not_promoted(seed: int, policy: str) -> None:
    fit = fitted(observed(lambda name: BELIEVED[name], seed=seed), policy)
    assert not fit.promoted and fit.report["reason"] == "the regret on calls held back does not fall", fit.report


def test_a_change_of_the_world_is_not_promoted_by_the_past() -> None:
    """What was true of the older calls is false of those held back."""
    old = observed(lambda name: {"small": 0.97, "large": 0.5}[name], 300)
    new = [
        Observation(1000 + one.at_s, one.user_id, one.model, one.label, one.difficulty, one.bad, one.good, one.candidates)
        for one in old[:128]
    ]
    fit = fitted(old + new, "best")
    assert not fit.promoted, fit.report


def test_too_little_is_told_as_such() -> None:
    for few in ([], observed(lambda name: 0.5, 10)):
        fit = fitted(few)
        assert not fit.promoted and fit.report["reason"].startswith("too little to judge by")


def test_one_user_steers_nobody_elses_model() -> None:
    flood = [Observation(place, "usr_evil", "one/large", "code", MEAN_DIFFICULTY, 0.0, 1.0, field("large")) for place in range(5000)]
    fit = fitted(flood, "best")
    assert fit.priors["one/large"]["code"] == pytest.approx(0.85 * PRIOR_WEIGHT / (PRIOR_WEIGHT + MOST_OF_A_USER), abs=0.01)
    assert fit.report["weight"] == MOST_OF_A_USER


def test_difficulty_is_taken_into_account() -> None:
    """Half of the answers to hard questions being good says that the model is better than half."""
    hard = [
        Observation(place, f"usr_{place}", "one/small", "code", MEAN_DIFFICULTY + 0.25, float(place % 2), float(1 - place % 2))
        for place in range(400)
    ]
    quality = fitted(hard).priors["one/small"]["code"]
    assert 0.70 < quality < 0.74, "1 / (1 + exp(-1)) = .73, and a little of the prior"


def test_a_refit_builds_on_the_one_before_and_leaves_what_it_knows_nothing_of() -> None:
    before = {"one/small": {"code": 0.6, "math": 0.3}, "one/gone": {"code": 0.5}}
    fit = fitted(observed(lambda name: 0.9, 100), before=before)
    assert fit.priors["one/small"]["math"] == 0.3 and fit.priors["one/gone"] == {"code": 0.5} and fit.priors["one/small"]["code"] > 0.6
    assert before == {"one/small": {"code": 0.6, "math": 0.3}, "one/gone": {"code": 0.5}}
    strange = [Observation(0, "u", "one/gone", "code", 0.3, 1.0, 0.0)]
    assert fitted(strange).report["observations"] == 0
