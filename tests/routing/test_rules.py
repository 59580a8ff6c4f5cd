"""Conditions of the operator's rules: what they accept, when they hold."""

import dataclasses
from datetime import UTC, datetime

import pytest

from neuroroute.routing.rules import Facts, first_fit, rule_of
from tests.support.offers import CALLER, seen

BASE = Facts(
    "gpt-4o-mini",
    dataclasses.replace(CALLER, tags={"team": "search"}),
    seen("code", tokens=1000, difficulty=0.5, language="fr"),
    {"env": "prod"},
    {"x-app": "batch-7"},
    "chat",
    True,
    datetime(2026, 11, 23, 9, 30, tzinfo=UTC),  # a Monday
)


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({}, True),
        ({"label": "code"}, True),
        ({"label": ["math", "code"]}, True),
        ({"label": "math"}, False),
        ({"label": "code", "language": "de"}, False),
        ({"language": ("de", "fr")}, True),
        ({"model": "gpt-*"}, True),
        ({"model": "gpt-4o"}, False),
        ({"key": "key_a"}, True),
        ({"key": "key_b"}, False),
        ({"user": "usr_a"}, True),
        ({"dialect": "messages"}, False),
        ({"tag.env": "prod"}, True),
        ({"tag.team": "search"}, True),
        ({"tag.none": "x"}, False),
        ({"header.X-App": "batch*"}, True),
        ({"header.x-none": "batch*"}, False),
        ({"tokens_above": 999}, True),
        ({"tokens_above": 1000}, False),
        ({"tokens_below": 1001}, True),
        ({"difficulty_above": 0.4, "difficulty_below": 0.6}, True),
        ({"stream": True}, True),
        ({"stream": False}, False),
        ({"time": "09:00-17:00"}, True),
        ({"time": "09:31-17:00"}, False),
        ({"time": "22:00-09:31"}, True),
        ({"time": "22:00-09:30"}, False),
        ({"weekday": "mon"}, True),
        ({"weekday": "tue-sun"}, False),
        ({"weekday": "fri-mon"}, True),
        ({"weekday": ["sat", "mon"]}, True),
    ],
)
def test_when(when: dict[str, object], holds: bool) -> None:
    assert rule_of(when, use="x").fits(BASE) is holds


@pytest.mark.parametrize(
    ("when", "word"),
    [
        ({"labels": "code"}, "labels"),
        ({"label": "coding"}, "coding"),
        ({"tag.": "x"}, "tag."),
        ({"tokens_above": "many"}, "number"),
        ({"tokens_above": True}, "number"),
        ({"time": "noon"}, "HH:MM"),
        ({"time": "25:00-26:00"}, "HH:MM"),
        ({"weekday": "monday"}, "weekday"),
        ({"weekday": "mon-"}, "weekday"),
        ({"stream": "yes"}, "true or false"),
        ({"label": []}, "word"),
        ({"key": {"a": 1}}, "word"),
    ],
)
def test_a_faulty_condition_is_named(when: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        rule_of(when, use="x")


def test_a_rule_has_one_consequence() -> None:
    for use, policy in (("", ""), ("x", "best")):
        with pytest.raises(ValueError, match="either"):
            rule_of({}, use=use, policy=policy)


def test_the_first_that_fits_and_named_models_only_by_rules_about_models() -> None:
    rules = [
        rule_of({"label": "math"}, use="a"),
        rule_of({"label": "code"}, use="b"),
        rule_of({"model": "gpt*"}, use="c"),
        rule_of({}, use="d"),
    ]
    fit = first_fit(rules, BASE, named=False)
    assert fit is not None and fit.use == "b" and fit.text == "label = code -> b"
    named = first_fit(rules, BASE, named=True)
    assert named is not None and named.use == "c"
    assert first_fit(rules[:2], BASE, named=True) is None
