"""
The refit of quality priors from the books: feedback and the outcomes that rows keep, the gate, and the new version.

Meant to run once a night, or whenever somebody looks: `neuroroute refit`.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from neuroroute.chain.learning import opinions
from neuroroute.routing import trail
from neuroroute.routing.catalog import Catalog, is_auto
from neuroroute.routing.evidence import Complaints, Signal
from neuroroute.routing.forecast import MEAN_DIFFICULTY, UNSURE
from neuroroute.routing.refit import Observation
from neuroroute.routing.refit import refit as fit
from neuroroute.store.feedback import Feedback, FeedbackRow
from neuroroute.store.learned import Learned
from neuroroute.store.postgres import Database
from neuroroute.store.usage import Usage, UsageFilter, UsageRecord

MOST_ROWS: Final = 200_000
"""Rows whose outcomes are looked at, the newest: bounds memory to some hundred MB."""
_PAGE: Final = 1000


async def refit(
    database: Database, catalog: Catalog, means: Mapping[str, float], since: datetime, *, dry_run: bool = False
) -> dict[str, Any]:
    """
    The report of a refit; where its gate lets it pass and this is no dry run, the new priors are in force: `version` says which.

    Only what came since the version in force began counts: what is older is in its priors already.
    Raises: LearnedChanged, DatabaseAway
    """
    learned = Learned(database)
    now, _ = await learned.current()
    begin = since if now is None or now.origin != "refit" else max(since, now.created_at)
    before = {} if now is None else now.priors
    observations = [one async for one in _observed(database, catalog, means, begin)]
    policy = catalog.policy(catalog.default_policy)
    assert policy is not None  # the catalogue checks it
    result = fit(observations, before, catalog, policy.aim, means)
    report: dict[str, Any] = {"since": begin, "dry_run": dry_run, "version": None, **result.report}
    if result.promoted and not dry_run:
        made = await learned.promote(result.priors, result.report, after=0 if now is None else now.version)
        report["version"] = made.version
    return report


async def _observed(database: Database, catalog: Catalog, means: Mapping[str, float], since: datetime) -> AsyncIterator[Observation]:
    said: dict[str, list[FeedbackRow]] = {}
    feedback, number = Feedback(database), 1
    while True:
        page, _ = await feedback.page(page=number, limit=_PAGE, since=since)
        for one in page:
            said.setdefault(one.request_id, []).append(one)
        if len(page) < _PAGE:
            break
        number += 1
    complaints, rows = Complaints(), 0
    async for records in Usage(database).walk(UsageFilter(since=since), size=_PAGE):
        for record in records:
            for seen in _of_row(record, said.pop(record.request_id, []), catalog, means, complaints):
                yield seen
        rows += len(records)
        if rows >= MOST_ROWS:
            break
    for request_id, opinions_of in said.items():  # on calls from before: the row is older than the opinion
        older = await Usage(database).get(request_id)
        if older is not None:
            for seen in _of_row(older, opinions_of, catalog, means, None):
                yield seen


def _of_row(
    row: UsageRecord, said: list[FeedbackRow], catalog: Catalog, means: Mapping[str, float], complaints: Complaints | None
) -> Iterator[Observation]:
    """What one call teaches. complaints: None where its outcome was counted by an earlier refit."""
    kept = trail.read(row.decision)
    if row.label is None or row.model is None or row.provider is None or row.cache in ("hit", "joined"):
        return
    candidates = kept.candidates if kept is not None and is_auto(row.requested_model) else ()
    at_s = row.created_at.timestamp()
    for one in said:
        for cell, counts in opinions(row, one, catalog, means):
            difficulty = means.get(cell.label, MEAN_DIFFICULTY) if row.difficulty is None else row.difficulty
            yield Observation(at_s, one.user_id, cell.model, cell.label, difficulty, counts.good, counts.bad, candidates)
    entry = catalog.entry(f"{row.provider}/{row.model}")
    if complaints is None or kept is None or entry is None or row.status not in ("ok", "client_gone") or row.difficulty is None:
        return
    label = UNSURE if kept.unsure else row.label
    quality = next((one.quality for one in candidates if one.name == entry.key), None)
    signal = Signal(kept.outcome) if kept.outcome in set(Signal) else None
    counts = complaints.weigh(0.75 if quality is None else quality, signal)
    yield Observation(at_s, row.user_id, entry.key, label, row.difficulty, counts.good, counts.bad, candidates)
