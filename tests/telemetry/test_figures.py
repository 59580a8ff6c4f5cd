"""From numbers to figures: windows, machines added up, lag, unusual spend, memory and CPU."""

from dataclasses import replace
from pathlib import Path

import pytest

from neuroroute.store.spend import Hour, Spent
from neuroroute.telemetry.alert_rules import KINDS, Figure, Rule
from neuroroute.telemetry.figures import Books, History, Sample, figures, sample
from neuroroute.telemetry.machine import Busy, Machine
from neuroroute.telemetry.metrics import Metrics
from tests.telemetry.test_metrics import CALL


def rule(kind: str, **fields: object) -> Rule:
    return replace(Rule(kind, KINDS[kind], 1.0, 1.0, 0.0, min_calls=1), **fields)  # type: ignore[arg-type]


def of(one: Rule, *reports: dict[str, object], books: Books | None = None) -> dict[str, Figure] | None:
    return figures([one], reports, books or Books())[one.name]


def take(metrics: Metrics, at_s: float) -> Sample:
    return sample(metrics.total(), at_s, None, Busy())


def test_only_the_calls_of_the_window_count_and_machines_add_up() -> None:
    metrics, history = Metrics(), History()
    history.add(take(metrics, 0.0))
    for _ in range(100):
        metrics.observe(replace(CALL, status="error", http_status=502, error_code="x"))
    history.add(take(metrics, 100.0))
    for _ in range(30):
        metrics.observe(replace(CALL, overhead_ms=8.0, latency_ms=4000.0))
    for _ in range(10):
        metrics.observe(replace(CALL, provider="other", model="m", status="error", http_status=502, error_code="x", overhead_ms=8.0))
    history.add(take(metrics, 400.0))
    one = history.report("a", [300.0, 3600.0])
    errors = rule("error_rate")
    assert of(errors, one) == {"": Figure(25.0, "10 of 40 calls")}
    assert of(errors, one, {**one, "instance": "b"}) == {"": Figure(25.0, "20 of 80 calls")}
    assert of(replace(errors, window_s=3600.0), one) == {"": Figure(pytest.approx(110 / 140 * 100), "110 of 140 calls")}
    by_provider = of(replace(errors, scope="provider"), one)
    assert by_provider is not None and {name: figure.value for name, figure in by_provider.items()} == {"openai": 0.0, "other": 100.0}
    assert of(replace(errors, min_calls=41), one) == {}
    overhead, latency = of(rule("overhead_ms"), one), of(replace(rule("response_ms"), scope="model"), one)
    assert overhead is not None and 5 < overhead[""].value <= 10
    assert latency is not None and 2500 < latency["gpt-4o-mini"].value <= 5000 and latency["m"].value <= 1000


def test_an_hour_of_history_is_kept_and_no_more() -> None:
    history = History()
    for step in range(0, 8000, 5):
        history.add(Sample(float(step), {("m", "p"): (float(step), 0.0)}))
    assert len(history._samples) < 140
    row = history.report("a", [3600.0, 300.0])["windows"]
    assert 3600 <= row["3600"]["calls"][0][2] <= 3665 and row["300"]["calls"][0][2] == 300


def test_the_lag_is_the_age_of_the_oldest_record_that_waits() -> None:
    history = History()
    for at_s, settled, written in ((0.0, 10, 10), (5.0, 30, 10), (10.0, 50, 10), (15.0, 50, 30)):
        history.add(Sample(at_s, settled=settled, written=written))
    assert history.lag_s() == 5.0  # 30 are written: the 31st was made by the third look
    assert of(rule("journal_lag"), history.report("a", [])) == {"": Figure(5.0)}
    history.add(Sample(20.0, settled=50, written=50))
    assert history.lag_s() == 0.0


def test_open_breakers_and_silent_lists_are_a_provider_that_is_down() -> None:
    metrics, history = Metrics(), History()
    metrics.source(
        lambda: [
            ("neuroroute_breaker_open", ("openai/gpt-4o",), 2), ("neuroroute_breaker_open", ("openai/ok",), 0),
            ("neuroroute_discovery_failing", ("vllm",), 1), ("neuroroute_journal_full", (), 1),
        ]
    )  # fmt: skip
    history.add(take(metrics, 0.0))
    report = history.report("box", [])
    assert of(rule("provider_down"), report, report) == {"openai": Figure(1.0, "gpt-4o"), "vllm": Figure(1.0, "its list of models")}
    assert of(rule("journal_full"), report) == {"box": Figure(1.0)}


def test_spend_is_unusual_only_against_what_is_usual() -> None:
    def score(usd: float, past: tuple[float, ...], **fields: object) -> float | None:
        one = rule("spend_anomaly", **fields)
        found = of(one, books=Books(hours={"all": [Hour("", usd, past)]}))
        return found[""].value if found else None

    steady = (10.0, 11.0, 9.0, 10.0, 10.5, 9.5, 10.0, 80.0)  # one past hour was itself unusual
    assert score(12.0, steady) is not None and (score(12.0, steady) or 0) < 3
    assert (score(40.0, steady) or 0) > 20
    assert score(40.0, (1.0, 2.0)) is None  # two weeks tell nothing
    assert score(0.5, (0.0, 0.0, 0.0)) is None  # below min_usd
    assert (score(3.0, (0.0, 0.0, 0.0)) or 0) > 6
    assert (score(10.4, (10.0,) * 8) or 0) < 1  # a little more than always the same
    assert of(rule("spend_anomaly"), books=Books()) is None  # the database is away: nothing is known


def test_budgets_by_scope() -> None:
    books = Books(budgets=[Spent("key", "key_1", "ci", "day", 10.0, 8.5), Spent("tag", "team=a", "team=a", "month", 0.0, 1.0)])
    both = of(rule("budget"), books=books)
    assert both == {
        "key key_1": Figure(85.0, "ci: 8.50 of 10 USD, day"),
        "tag team=a": Figure(100.0, "team=a: 1.00 of 0 USD, month"),
    }
    small = Books(budgets=[Spent("key", "key_2", "tiny", "day", 0.003, 0.00243)])
    assert (of(rule("budget"), books=small) or {})["key key_2"].detail == "tiny: 0.00243 of 0.003 USD, day"
    assert list(of(rule("budget", scope="tag"), books=books) or {}) == ["tag team=a"]
    assert of(rule("budget")) is None


def test_memory_and_cpu_of_the_machine_and_of_the_container(tmp_path: Path) -> None:
    group = tmp_path / "sys" / "fs" / "cgroup"
    (tmp_path / "proc").mkdir()
    group.mkdir(parents=True)
    machine = Machine(tmp_path)
    assert machine.memory_percent() is None and machine.busy(1.0).percent_since(machine.busy(0.5)) is None
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:   600 kB\n")
    (tmp_path / "proc" / "stat").write_text("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1\n")
    before = machine.busy(10.0)
    assert machine.memory_percent() == 40.0
    (tmp_path / "proc" / "stat").write_text("cpu  130 0 130 730 110 0 0 0 0 0\n")
    assert machine.busy(20.0).percent_since(before) == pytest.approx(60.0)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("500\n")
    assert machine.memory_percent() == 40.0
    (group / "memory.max").write_text("1000\n")
    (group / "memory.current").write_text("900\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 100\n")
    assert machine.memory_percent() == 80.0
    (group / "cpu.max").write_text("200000 100000\n")
    (group / "cpu.stat").write_text("usage_usec 4000000\nuser_usec 1\n")
    before = machine.busy(100.0)
    (group / "cpu.stat").write_text("usage_usec 22000000\n")
    assert machine.busy(110.0).percent_since(before) == pytest.approx(90.0)  # 18 of 20 seconds


def test_this_machine_has_figures() -> None:
    machine = Machine()
    memory = machine.memory_percent()
    assert memory is not None and 0 < memory <= 100
    before = machine.busy(0.0)
    sum(range(2_000_000))
    share = machine.busy(10.0).percent_since(before)
    assert share is None or 0 <= share <= 100
