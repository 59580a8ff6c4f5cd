"""
The figures that rules judge: out of the numbers of a machine's workers, now and a while ago, and out of the reports of all machines together.

A `History` of one machine gives a report, plain data that travels through the database; `figures` adds the reports up.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import sub
from statistics import median
from typing import Any, Final

from neuroroute.core.dataclass import dataclass, field
from neuroroute.store.spend import Hour, Spent
from neuroroute.telemetry.alert_rules import Figure, Rule
from neuroroute.telemetry.machine import Busy
from neuroroute.telemetry.series import CALL_BOUNDS_S, OVERHEAD_BOUNDS_S, Histogram, Snapshot

LONG_S: Final = 3700.0
_DENSE_S: Final = 330.0
_SPARSE_S: Final = 60.0
"""Samples older than _DENSE_S are kept one a minute."""
_CPU_S: Final = 60.0
_PLACES: Final = 300
"""Of a report's models: the busiest ones."""
_PAST_MIN: Final = 3
"""Weeks on record below which no hour is called unusual."""
_MAD: Final = 1.4826  # makes the median deviation of a normal distribution its standard deviation

Place = tuple[str, str]
"""(model, provider)"""
Counts = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A machine's numbers at one moment, all growing. settled: usage records made, written: of them in the database (or refused by it)."""

    at_s: float
    calls: Mapping[Place, tuple[float, float]] = field(default_factory=dict)
    latency: Mapping[Place, Counts] = field(default_factory=dict)
    overhead: Counts = ()
    settled: float = 0.0
    written: float = 0.0
    full: float = 0.0
    down: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    memory: float | None = None
    busy: Busy = field(default_factory=Busy)


def sample(total: Snapshot, at_s: float, memory: float | None, busy: Busy) -> Sample:
    """What alerts need of all numbers."""
    calls: dict[Place, tuple[float, float]] = {}
    down: dict[str, list[str]] = {}
    for (name, labels), value in total.values.items():
        if name == "neuroroute_calls":
            place = labels[1], labels[2]
            made, failed = calls.get(place, (0.0, 0.0))
            calls[place] = made + value, failed
        elif name == "neuroroute_failures":
            made, failed = calls.get(labels, (0.0, 0.0))  # type: ignore[arg-type]
            calls[labels[0], labels[1]] = made, failed + value
        elif name == "neuroroute_breaker_open" and value:
            provider, _, model = labels[0].partition("/")
            down.setdefault(provider, []).append(model)
        elif name == "neuroroute_discovery_failing" and value:
            down.setdefault(labels[0], []).append("its list of models")
    one = {name: value for (name, labels), value in total.values.items() if not labels}
    latency = {
        (labels[0], labels[1]): spread.counts for (name, labels), spread in total.spreads.items() if name == "neuroroute_call_seconds"
    }
    overhead = total.spreads.get(("neuroroute_overhead_seconds", ()))
    written = sum(one.get(f"neuroroute_ledger_{part}", 0.0) for part in ("written", "rejected"))
    return Sample(
        at_s, calls, latency, overhead.counts if overhead is not None else (), written + one.get("neuroroute_ledger_waiting", 0.0), written,
        one.get("neuroroute_journal_full", 0.0), {name: tuple(sorted(what)) for name, what in down.items()}, memory, busy,
    )  # fmt: skip


class History:
    """The samples of one machine's last hour."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []

    def add(self, fresh: Sample) -> None:
        kept: list[Sample] = []
        for old in self._samples:
            age_s = fresh.at_s - old.at_s
            if age_s <= LONG_S and (age_s < _DENSE_S or not kept or old.at_s - kept[-1].at_s >= _SPARSE_S):
                kept.append(old)
        self._samples = [*kept, fresh]

    def _before(self, age_s: float) -> Sample:
        """The sample from which on `age_s` have passed; the oldest where there is none so old."""
        last = self._samples[-1]
        return next((old for old in reversed(self._samples) if last.at_s - old.at_s >= age_s - 0.5), self._samples[0])

    def lag_s(self) -> float:
        """How long the oldest record waits: since the moment at which more were made than are written now."""
        last = self._samples[-1]
        if last.settled <= last.written:
            return 0.0
        return last.at_s - next(old.at_s for old in self._samples if old.settled > last.written)

    def report(self, instance: str, windows: Iterable[float]) -> dict[str, Any]:
        """What this machine tells. windows: lengths in seconds, by which the calls are counted."""
        last = self._samples[-1]
        return {
            "instance": instance,
            "memory": last.memory,
            "cpu": last.busy.percent_since(self._before(_CPU_S).busy),
            "lag_s": self.lag_s(),
            "full": last.full,
            "down": {provider: list(models) for provider, models in last.down.items()},
            "windows": {f"{window_s:g}": _window(last, self._before(window_s)) for window_s in sorted(set(windows))},
        }


def _window(last: Sample, first: Sample) -> dict[str, Any]:
    rows: list[list[Any]] = []
    for place, (made, failed) in last.calls.items():
        made_then, failed_then = first.calls.get(place, (0.0, 0.0))
        if made > made_then:
            rows.append(
                [*place, made - made_then, max(failed - failed_then, 0.0), _less(last.latency.get(place), first.latency.get(place))]
            )
    rows.sort(key=lambda row: -row[2])
    return {"calls": rows[:_PLACES], "overhead": _less(last.overhead, first.overhead)}


def _less(now: Counts | None, then: Counts | None) -> list[int]:
    """Counts that came since then."""
    return [max(count, 0) for count in map(sub, now or (), then or (0,) * len(now or ()))]


@dataclass(frozen=True, slots=True)
class Books:
    """What the database says. None: it is away."""

    budgets: Sequence[Spent] | None = None
    hours: Mapping[str, Sequence[Hour]] | None = None


def figures(rules: Sequence[Rule], reports: Sequence[Mapping[str, Any]], books: Books) -> dict[str, dict[str, Figure] | None]:
    """By rule name: the figure of each subject; see alert_rules.Figures."""
    return {rule.name: _of(rule, reports, books) for rule in rules}


def _of(rule: Rule, reports: Sequence[Mapping[str, Any]], books: Books) -> dict[str, Figure] | None:
    match rule.kind.name:
        case "error_rate" | "response_ms":
            return _calls(rule, reports)
        case "overhead_ms":
            counts = [report["windows"].get(f"{rule.window_s:g}", {}).get("overhead", []) for report in reports]
            found = _quantile(OVERHEAD_BOUNDS_S, counts, rule.min_calls)
            return {} if found is None else {"": found}
        case "memory" | "cpu":
            said = {str(report["instance"]): report.get(rule.kind.name) for report in reports}
            return {instance: Figure(float(value)) for instance, value in said.items() if value is not None}
        case "provider_down":
            return _down(reports)
        case "journal_lag":
            return {"": Figure(max((float(report["lag_s"]) for report in reports), default=0.0))}
        case "journal_full":
            return {str(report["instance"]): Figure(float(report["full"])) for report in reports if report["full"]}
        case "budget":
            return None if books.budgets is None else _budgets(rule, books.budgets)
        case _:
            hours = None if books.hours is None else books.hours.get(rule.scope)
            return None if hours is None else _unusual(rule, hours)


def _calls(rule: Rule, reports: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    column = {"provider": 1, "model": 0}.get(rule.scope)
    groups: dict[str, list[Sequence[Any]]] = {}
    for report in reports:
        for row in report["windows"].get(f"{rule.window_s:g}", {}).get("calls", ()):
            subject = "" if column is None else str(row[column])
            if subject or column is None:
                groups.setdefault(subject, []).append(row)
    found: dict[str, Figure] = {}
    for subject, rows in groups.items():
        if rule.kind.name == "response_ms":
            figure = _quantile(CALL_BOUNDS_S, [row[4] for row in rows], rule.min_calls)
            if figure is not None:
                found[subject] = figure
            continue
        made, failed = sum(float(row[2]) for row in rows), sum(float(row[3]) for row in rows)
        if made >= rule.min_calls:
            found[subject] = Figure(100.0 * failed / made, f"{failed:.0f} of {made:.0f} calls")
    return found


def _quantile(bounds_s: tuple[float, ...], counts: Iterable[Sequence[int]], min_calls: int) -> Figure | None:
    """The 95th percentile in ms; None with too few calls."""
    spread = Histogram(bounds_s)
    for some in counts:
        if len(some) == len(spread.counts):
            spread.counts = [a + int(b) for a, b in zip(spread.counts, some, strict=True)]
    seconds = spread.quantile(0.95) if sum(spread.counts) >= min_calls else None
    return None if seconds is None else Figure(1000.0 * seconds, f"over {sum(spread.counts)} calls")


def _down(reports: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    down: dict[str, set[str]] = {}
    for report in reports:
        for provider, what in report["down"].items():
            down.setdefault(str(provider), set()).update(map(str, what))
    return {provider: Figure(float(len(what)), ", ".join(sorted(what)[:10])) for provider, what in down.items()}


def _budgets(rule: Rule, budgets: Sequence[Spent]) -> dict[str, Figure]:
    return {
        f"{one.scope} {one.subject}": Figure(one.percent, f"{one.name}: {_dollars(one.spent_usd)} of {one.limit_usd:g} USD, {one.period}")
        for one in budgets
        if rule.scope in ("all", one.scope)
    }


def _dollars(usd: float) -> str:
    return f"{usd:.2f}" if usd >= 1.0 else f"{usd:.6f}".rstrip("0").rstrip(".")


def _unusual(rule: Rule, hours: Sequence[Hour]) -> dict[str, Figure]:
    """
    Median and median absolute deviation: one past hour that was itself unusual changes neither.

    The deviation counts as at least a tenth of the median, and of `min_usd`: where every week cost the same, a cent more is no anomaly.
    """
    found: dict[str, Figure] = {}
    for hour in hours:
        if len(hour.past_usd) < _PAST_MIN or hour.usd < rule.min_usd:
            continue
        usual = median(hour.past_usd)
        deviation = max(_MAD * median([abs(past - usual) for past in hour.past_usd]), 0.1 * usual, 0.1 * rule.min_usd, 1e-9)
        found[hour.subject] = Figure((hour.usd - usual) / deviation, f"{hour.usd:.2f} USD in this hour so far, usually {usual:.2f}")
    return found
