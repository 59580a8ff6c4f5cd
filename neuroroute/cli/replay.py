"""`neuroroute replay`: past calls decided again under another policy, from the ledger's own rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from neuroroute.cli.out import Fault, load, show, with_database
from neuroroute.cli.usage import span
from neuroroute.core import jsonbytes

if TYPE_CHECKING:
    from neuroroute.routing.catalog import Catalog
    from neuroroute.routing.replay import Replay
    from neuroroute.store.postgres import Database
    from neuroroute.store.usage import UsageFilter

STEPS: Final = tuple(str(step) for step in range(11))
_MOVES: Final = ("from", "to", "calls", "cost_usd", "new_cost_usd", "quality", "new_quality")
_LABELS: Final = ("label", "calls", "moved", "cost_usd", "new_cost_usd", "quality", "new_quality")
_DIAL: Final = ("dial", "moved", "new_cost_usd", "difference_usd", "new_saved_usd", "new_quality")


def replay(
    policy: Annotated[str | None, typer.Option(help="cheap, balanced, best, fast, one of yours, or a number 0..10.")] = None,
    dial: Annotated[bool, typer.Option("--dial", help="Every setting of the dial, 0 to 10, beside each other.")] = False,
    since: Annotated[str, typer.Option(help="From when on: 30m, 24h, 7d, 2w, or a date (UTC).")] = "7d",
    until: Annotated[str | None, typer.Option(help="Until when, written likewise; default: now.")] = None,
    named: Annotated[bool, typer.Option("--named", help="Also what auto would have done with calls that named their model.")] = False,
    key: Annotated[str | None, typer.Option(help="Only calls of this key (its id).")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file [NEUROROUTE_CONFIG].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What another policy would have cost on the calls that were made: cost, expected quality, and which calls would move."""
    if dial == (policy is not None):
        raise Fault("One of --policy and --dial is expected.")
    from neuroroute.cli.offline import catalog_of

    settings = load(neuroroute_config=config)
    begin, end = span(since, until)
    catalog = catalog_of(settings)
    replays = [_replay(name, catalog, named=named) for name in (STEPS if policy is None else (policy,))]

    async def work(database: "Database") -> None:
        from neuroroute.store.usage import UsageFilter

        await run(database, UsageFilter(since=begin, until=end, key_id=key), replays)

    with_database(settings, work)
    reports = [one.report() for one in replays]
    if json:
        print(jsonbytes.dumps_pretty(reports[0] if policy is not None else {"data": reports}))
    elif policy is None:
        show([{**report, "dial": report["policy"]} for report in reports], _DIAL, as_json=False)
    else:
        _tell(reports[0])


async def run(database: "Database", chosen: "UsageFilter", replays: list["Replay"]) -> None:
    """Give every row of the time to every replay, in pages."""
    from neuroroute.store.usage import Usage

    async for page in Usage(database).walk(chosen):
        for row in page:
            for one in replays:
                one.add(row)


def _replay(name: str, catalog: "Catalog", *, named: bool) -> "Replay":
    from neuroroute.classifier import Classifier
    from neuroroute.routing.forecast import Lengths
    from neuroroute.routing.health import Health
    from neuroroute.routing.replay import Replay
    from neuroroute.routing.strategies import Present

    policy = catalog.policy(name)
    if policy is None:
        raise Fault(f"The policy {name} is not known; known are {', '.join(catalog.policies)}, or a number 0..10.")
    return Replay(policy, catalog, Present(Health(), Lengths(), 0.0, Classifier.load().mean_difficulty), named)


def _tell(report: dict[str, Any]) -> None:
    from neuroroute.routing.replay import decided

    print(decided(report))
    if not report["calls"]:
        return
    if report["untouched"]:
        told = ", ".join(f"{count} {reason}" for reason, count in report["untouched"].items())
        print(f"No policy changes: {told}.")
    print(f"Saved against the baseline: {report['saved_usd']:.6g} -> {report['new_saved_usd']:.6g} USD")
    if report["moves"]:
        print()
        show(report["moves"], _MOVES, as_json=False)
    if report["labels"]:
        print()
        show([{"label": label, **one} for label, one in report["labels"].items()], _LABELS, as_json=False)
