"""When an alert begins and when it ends: bounds, durations, hysteresis; and which rules are in effect."""

import pytest

from neuroroute.core import settings
from neuroroute.core.config import ConfigFaulty, build, parse
from neuroroute.telemetry.alert_rules import KINDS, Board, Figure, Rule, rules_of

RULE = Rule("errors", KINDS["error_rate"], above=5.0, below=4.0, for_s=60.0)


def judged(board: Board, value: float | None, now_s: float, rule: Rule = RULE) -> list[tuple[str, bool]]:
    found = {} if value is None else {"": Figure(value)}
    return [(change.subject, change.fires) for change in board.judge([rule], {rule.name: found}, now_s)]


def test_it_fires_only_after_it_lasted() -> None:
    board = Board()
    assert judged(board, 9.0, 0) == []
    assert judged(board, 9.0, 59) == []
    assert board.firing == []
    assert judged(board, 9.0, 60) == [("", True)]
    assert judged(board, 9.0, 65) == []
    assert [one.subject for one in board.firing] == [""]


def test_a_figure_that_falls_back_in_time_begins_anew() -> None:
    board = Board()
    judged(board, 9.0, 0)
    judged(board, 5.0, 30)  # not above
    assert judged(board, 9.0, 60) == []
    assert judged(board, 9.0, 119) == []
    assert judged(board, 9.0, 120) == [("", True)]


def test_trembling_around_the_bound_is_one_alert() -> None:
    board = Board()
    judged(board, 9.0, 0)
    judged(board, 9.0, 60)
    for step in range(10):
        assert judged(board, 4.5 if step % 2 else 5.5, 70 + step) == []
    assert judged(board, 4.0, 90) == [("", False)]
    assert judged(board, 4.0, 95) == []


def test_what_is_not_known_changes_nothing_and_what_is_gone_ends() -> None:
    board = Board()
    judged(board, 9.0, 0)
    judged(board, 9.0, 60)
    assert board.judge([RULE], {"errors": None}, 70) == []
    assert len(board.firing) == 1
    assert judged(board, None, 80) == [("", False)]
    assert board.firing == []


def test_each_subject_stands_for_itself_and_a_rule_that_is_taken_out_ends() -> None:
    board, rule = Board(), Rule("down", KINDS["provider_down"], 0.0, 0.0, 0.0)
    changes = board.judge([rule], {"down": {"a": Figure(1.0, "m1"), "b": Figure(0.0)}}, 0)
    assert [(change.subject, change.fires, change.detail) for change in changes] == [("a", True, "m1")]
    [told] = board.as_data([rule], 7.0)
    assert told["state"] == "firing" and [row["subject"] for row in told["subjects"]] == ["a", "b"]
    assert told["subjects"][0]["since_s"] == 7.0
    assert [(change.subject, change.fires) for change in board.judge([], {}, 9)] == [("a", False)]


def rules(text: str, **environ: str) -> dict[str, Rule]:
    found = rules_of(build(parse(text)).alerts, settings.read({name.upper(): value for name, value in environ.items()}))
    return {rule.name: rule for rule in found}


def test_the_settings_give_the_bounds_of_the_built_in_rules() -> None:
    found = rules("{}", alert_error_percent="7", alert_overhead_ms="50", alert_memory_percent="80")
    assert set(found) == {*KINDS, "budget spent"}
    assert (found["error_rate"].above, found["overhead_ms"].above, found["memory"].above) == (7.0, 50.0, 80.0)
    assert (found["response_ms"].above, found["cpu"].above, found["budget"].above) == (30_000.0, 90.0, 80.0)
    assert found["budget spent"].above == 100.0 and "budget spent" not in rules("{}", alert_budget_percent="100")
    assert "budget spent" not in rules("alerts: [{rule: budget, above: 50}]")
    assert found["memory"].below == pytest.approx(72.0) and found["budget"].below == 80.0


def test_rules_of_the_file_replace_those_of_their_kind() -> None:
    found = rules("""
alerts:
  - {rule: error_rate, above: 20, below: 10, for_s: 0, window_s: 60, scope: provider}
  - {rule: error_rate, name: any errors, above: 1, min_calls: 1}
  - {rule: cpu, enabled: false}
  - {rule: spend_anomaly, above: 3, scope: key, min_usd: 5}
""")
    assert "error_rate" not in found and "cpu" not in found and "memory" in found
    one = found["error_rate by provider"]
    assert (one.above, one.below, one.for_s, one.window_s, one.scope) == (20, 10, 0, 60, "provider")
    assert found["any errors"].min_calls == 1
    assert (found["spend_anomaly by key"].above, found["spend_anomaly by key"].min_usd) == (3, 5)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{rule: errors}", "alerts[0].rule: one of error_rate, overhead_ms"),
        ("{rule: memory, scope: provider}", "alerts[0].scope: one of all is expected for memory"),
        ("{rule: cpu, above: 5, below: 6}", "alerts[0].below: at most 5"),
        ("{rule: cpu, above: -1}", "alerts[0].above: at least 0"),
        ("{rule: cpu, more: 1}", "alerts[0].more: not known"),
        ("{rule: cpu, name: x}\n  - {rule: memory, name: x}", "alerts[1].name: a name of its own"),
    ],
)
def test_faults_name_the_place_and_what_is_allowed(entry: str, told: str) -> None:
    with pytest.raises(ConfigFaulty) as caught:
        build(parse(f"alerts:\n  - {entry}\n", "gateway.yaml"))
    assert told in str(caught.value) and "gateway.yaml:" in str(caught.value)


def test_the_webhook_of_the_file_shows_no_secret() -> None:
    from neuroroute.core.config import effective

    layer = parse("alert_webhook: {url: 'https://hooks.slack.com/services/T/B/x', secret: very-secret}")
    shown = {entry.key: entry.value for entry in effective(build(layer), layer)}
    assert shown["alert_webhook.url"] == shown["alert_webhook.secret"] == "***"
    assert shown["alert_webhook.shape"] == "auto"
