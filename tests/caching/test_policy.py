"""What is cached, by strategy and by the caller's word."""

from typing import Any

import pytest

from neuroroute.caching.policy import AGGRESSIVE_TTL_FACTOR, MAX_TTL_S, MINIMAL_PROMPT_CHARS, OFF, Directive, Plan, Strategy, plan
from neuroroute.core.types import Dialect

CHAT = Dialect.CHAT


def of(strategy: Strategy, body: dict[str, Any], dialect: Dialect = CHAT, **more: Any) -> Plan:
    return plan(strategy, 300, dialect, body, **more)


@pytest.mark.parametrize(
    ("body", "kept_by"),
    [
        ({}, {Strategy.DEFAULT, Strategy.AGGRESSIVE}),
        ({"temperature": 0}, {Strategy.DEFAULT, Strategy.AGGRESSIVE, Strategy.MINIMAL}),
        ({"temperature": 0.7}, {Strategy.AGGRESSIVE}),
        ({"temperature": 0, "n": 2}, {Strategy.AGGRESSIVE}),
        ({"temperature": 0, "n": 1}, {Strategy.DEFAULT, Strategy.AGGRESSIVE, Strategy.MINIMAL}),
        ({"background": True}, set()),
        ({"previous_response_id": "resp_1"}, set()),
    ],
)
def test_strategies(body: dict[str, Any], kept_by: set[Strategy]) -> None:
    assert {strategy for strategy in Strategy if of(strategy, body).read} == kept_by
    assert {strategy for strategy in Strategy if of(strategy, body).write} == kept_by


def test_minimal_keeps_short_prompts_only() -> None:
    assert of(Strategy.MINIMAL, {"temperature": 0}, prompt_chars=MINIMAL_PROMPT_CHARS).write
    assert not of(Strategy.MINIMAL, {"temperature": 0}, prompt_chars=MINIMAL_PROMPT_CHARS + 1).write
    assert of(Strategy.MINIMAL, {}, Dialect.EMBEDDINGS).write


def test_other_paths_are_never_cached() -> None:
    assert of(Strategy.AGGRESSIVE, {}, Dialect.PASS, directive=Directive.REFRESH) == OFF


def test_directives() -> None:
    hot = {"temperature": 1}
    assert of(Strategy.DEFAULT, {}, directive=Directive.NO_STORE) == OFF
    refresh = of(Strategy.DEFAULT, hot, directive=Directive.REFRESH)
    assert (refresh.read, refresh.write) == (False, True)
    only = of(Strategy.DEFAULT, hot, directive=Directive.ONLY)
    assert (only.read, only.write) == (True, False)
    assert of(Strategy.NONE, {}, directive=Directive.REFRESH) == OFF


def test_times_to_live() -> None:
    assert of(Strategy.DEFAULT, {}).ttl_s == 300
    assert of(Strategy.AGGRESSIVE, {}).ttl_s == 300 * AGGRESSIVE_TTL_FACTOR
    assert of(Strategy.DEFAULT, {"temperature": 1}, call_ttl_s=60).ttl_s == 60
    assert of(Strategy.DEFAULT, {}, call_ttl_s=10**9).ttl_s == MAX_TTL_S
    nothing = of(Strategy.DEFAULT, {}, call_ttl_s=0)
    assert nothing.read
    assert not nothing.write


@pytest.mark.parametrize(
    ("end", "by_default", "when_asked"),
    [
        ("stop", True, True), ("length", True, True), ("end_turn", True, True), ("tool_calls", False, True), ("tool_use", False, True),
        ("content_filter", False, False), ("", False, False), ("error", False, False),
    ],
)  # fmt: skip
def test_how_an_answer_ended_decides_whether_it_is_kept(end: str, by_default: bool, when_asked: bool) -> None:
    assert of(Strategy.DEFAULT, {}).keeps(end, CHAT) is by_default
    assert of(Strategy.DEFAULT, {}, directive=Directive.REFRESH).keeps(end, CHAT) is when_asked
    assert not of(Strategy.DEFAULT, {}, directive=Directive.ONLY).keeps(end, CHAT)


def test_embeddings_have_no_end_to_look_at() -> None:
    assert of(Strategy.DEFAULT, {}, Dialect.EMBEDDINGS).keeps("", Dialect.EMBEDDINGS)
