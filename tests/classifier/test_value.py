"""The arithmetic that ranks offers."""

import pytest

from neuroroute.core.value import AIMS, BALANCED, BEST, CHEAP, FAST, MAX_RATIO, Aim, Offer, aim_of_dial, best_of, rank

SMALL = Offer(0.62, 100.0, 300.0)
MIDDLE = Offer(0.80, 400.0, 900.0)
LARGE = Offer(0.83, 2000.0, 1500.0)
FIELD = (SMALL, MIDDLE, LARGE)


def choice(aim: Aim, field: tuple[Offer, ...] = FIELD) -> Offer:
    return field[best_of(rank(field, aim))]


def test_each_named_aim_takes_what_its_name_says() -> None:
    assert choice(BEST) is LARGE
    assert choice(BALANCED) is MIDDLE
    assert choice(CHEAP) is SMALL
    assert choice(FAST) is SMALL
    assert set(AIMS) == {"best", "balanced", "cheap", "fast"}


def test_a_slack_admits_what_is_near_the_best_and_nothing_else() -> None:
    near, far = Offer(0.951, 10.0), Offer(0.949, 1.0)
    assert choice(Aim(0.0, 1.0, quality_slack=0.05), (Offer(1.0, 100.0), near, far)) is near


def test_the_middle_of_the_dial_is_balanced() -> None:
    assert aim_of_dial(5.0) == BALANCED


def test_a_floor_that_nothing_reaches_falls_back_to_the_best_quality() -> None:
    assert choice(Aim(0.0, 1.0, quality_floor=0.99)) is LARGE


def test_turning_the_dial_up_never_lowers_quality_or_cost() -> None:
    chosen = [choice(aim_of_dial(setting / 4)) for setting in range(41)]
    assert chosen[0] is SMALL
    assert chosen[-1] is LARGE
    assert [offer.quality for offer in chosen] == sorted(offer.quality for offer in chosen)
    assert len({id(offer) for offer in chosen}) == 3


def test_only_ratios_of_cost_matter() -> None:
    dear = tuple(Offer(offer.quality, (offer.cost_nanousd or 0.0) * 1000.0) for offer in FIELD)
    for setting in range(11):
        aim = aim_of_dial(setting)
        assert best_of(rank(FIELD, aim)) == best_of(rank(dear, aim))


def test_an_unknown_price_counts_as_dear_as_the_best_offer_and_a_free_best_does_not_divide_by_zero() -> None:
    assert choice(BALANCED, (LARGE, Offer(0.82, None))) is LARGE
    scores = rank((Offer(0.9, 0.0), Offer(0.5, 5.0)), BEST)
    assert scores[1].utility == pytest.approx(0.5 - 0.001 * MAX_RATIO)


def test_equal_offers_go_to_the_first_and_no_offers_are_no_choice() -> None:
    assert best_of(rank((LARGE, LARGE), BALANCED)) == 0
    assert rank((), BEST) == []
    with pytest.raises(ValueError):
        best_of([])
