"""`neuroroute refit`: new quality priors from feedback and outcomes, with a gate and a way back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from neuroroute.cli.out import Fault, load, show, show_one, with_database
from neuroroute.cli.usage import moment

if TYPE_CHECKING:
    from neuroroute.store.learned import LearnedVersion
    from neuroroute.store.postgres import Database

_CELLS: Final = ("model", "label", "before", "after", "weight")
_VERSIONS: Final = ("version", "origin", "created_at", "cells", "regret_before", "regret_after", "to")


def refit(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come of it.")] = False,
    since: Annotated[str, typer.Option(help="From when on: 24h, 30d, or a date (UTC); never further back than the last refit.")] = "30d",
    rollback: Annotated[int | None, typer.Option(min=0, help="Go back to this version; 0 forgets all that was learned.")] = None,
    versions: Annotated[bool, typer.Option("--versions", help="List the versions, newest first.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file [NEUROROUTE_CONFIG].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit the quality of models to what was observed. Put in force only if the regret on calls held back falls."""
    if [dry_run, rollback is not None, versions].count(True) > 1:
        raise Fault("Only one of --dry-run, --rollback and --versions is expected.")
    settings = load(neuroroute_config=config)
    if versions:
        show([_facts(one) for one in with_database(settings, _versions)], _VERSIONS, as_json=json)
        return
    if rollback is not None:
        made = with_database(settings, lambda database: _roll_back(database, rollback))
        show_one(_facts(made), as_json=json)
        return
    from neuroroute.classifier import Classifier
    from neuroroute.cli.offline import catalog_of

    catalog, means = catalog_of(settings), Classifier.load().mean_difficulty

    async def work(database: "Database") -> dict[str, Any]:
        from neuroroute.chain.refit import refit

        return await refit(database, catalog, means, moment(since, "--since"), dry_run=dry_run)

    report = with_database(settings, work)
    if json:
        show_one(report, as_json=True)
        return
    show_one({name: value for name, value in report.items() if name != "cells"}, as_json=False)
    if report["cells"]:
        print()
        show(report["cells"], _CELLS, as_json=False)


async def _versions(database: "Database") -> list["LearnedVersion"]:
    from neuroroute.store.learned import Learned

    return await Learned(database).versions()


async def _roll_back(database: "Database", to: int) -> "LearnedVersion":
    from neuroroute.store.learned import Learned

    try:
        return await Learned(database).roll_back(to)
    except LookupError as error:
        raise Fault(f"{error.args[0]} neuroroute refit --versions lists those that there are.") from error


def _facts(one: "LearnedVersion") -> dict[str, Any]:
    report = one.report
    return {
        "version": one.version,
        "origin": one.origin,
        "created_at": one.created_at,
        "cells": sum(len(labels) for labels in one.priors.values()),
        "regret_before": report.get("regret_before"),
        "regret_after": report.get("regret_after"),
        "to": report.get("to"),
        "priors": one.priors,
    }
