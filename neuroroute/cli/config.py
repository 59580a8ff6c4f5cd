"""`neuroroute config`: what is in effect, whether a file is good, its schema; changes in the database, their versions, the way back."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroroute.cli.out import Fault, load, show, show_one, with_database, with_versions

if TYPE_CHECKING:
    from neuroroute.chain.changes import Draft
    from neuroroute.chain.versions import Versions
    from neuroroute.core.config import Change, Effective
    from neuroroute.store.postgres import Database

app = typer.Typer(help="The configuration: show, check and change it, look at its versions, go back.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
File = Annotated[Path | None, typer.Option("--config", help="Configuration file [NEUROROUTE_CONFIG].")]


@app.command("show")
def _show(
    config: File = None,
    database: Annotated[bool, typer.Option("--database", help="With what was changed by the API, pages or `config set`.")] = False,
    json: Json = False,
) -> None:
    """Every setting and every value of the configuration, with its source; credentials are masked."""
    from neuroroute.core.config import build, effective, from_environment, read
    from neuroroute.core.settings import table

    settings = load(neuroroute_config=config)
    rows: list[dict[str, object]] = [
        {"key": entry.variable, "value": entry.value, "source": "environment" if entry.is_set else "default"} for entry in table(settings)
    ]
    if database:

        async def work(versions: "Versions") -> "list[Effective]":
            return effective(versions.offer.config, *versions.offer.layers)

        values = with_versions(settings, work)
    else:
        layers = [from_environment(settings)]
        if settings.neuroroute_config is not None:
            layers.append(read(settings.neuroroute_config))
        values = effective(build(*layers), *layers)
    rows += [{"key": value.key, "value": value.value, "source": value.place or value.source} for value in values]
    show(rows, ("key", "value", "source"), as_json=json)


@app.command()
def check(file: Annotated[Path, typer.Argument(help="The file to check.")], json: Json = False) -> None:
    """Check a file without starting anything; exit status 2 and one line for each fault if it is not good."""
    from neuroroute.chain.offer import Found, Offer
    from neuroroute.core import jsonbytes
    from neuroroute.core.config import ConfigFaulty, read

    settings = load()
    try:
        offer = Offer(settings, [read(file)], Found({}))
    except ConfigFaulty as faulty:
        if not json:
            raise
        print(jsonbytes.dumps_pretty({"ok": False, "faults": faulty.faults}))
        raise typer.Exit(2) from faulty
    config = offer.config
    counts = {
        "providers": len(config.providers),
        "models": len(config.models),
        "aliases": len(config.aliases),
        "rules": len(config.routing.rules),
    }
    if json:
        print(jsonbytes.dumps_pretty({"ok": True, "faults": [], **counts}))
    else:
        print(f"{file} is good: " + ", ".join(f"{count} {name}" for name, count in counts.items()))


@app.command()
def schema() -> None:
    """Print the JSON schema of the file, for editors and checks."""
    from neuroroute.core import jsonbytes
    from neuroroute.core.config import json_schema

    print(jsonbytes.dumps_pretty(json_schema()))


Comment = Annotated[str, typer.Option(help="Kept with the version.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")]


@app.command()
def versions(
    page: Annotated[int, typer.Option(min=1, help="Which page.")] = 1,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many a page.")] = 50,
    json: Json = False,
) -> None:
    """What was changed by the API, the pages or here, newest first; the first one is in force."""

    async def work(database: "Database") -> list[dict[str, Any]]:
        from neuroroute.store.config import ConfigVersions

        rows, _ = await ConfigVersions(database).page(page=page, limit=limit)
        return [
            {"version": row.version, "created_at": row.created_at, "author": row.author, "comment": row.comment or None} for row in rows
        ]

    show(with_database(load(), work), ("version", "created_at", "author", "comment"), as_json=json)


@app.command()
def diff(
    version: Annotated[int | None, typer.Argument(min=0, help="Default: the one in force.")] = None,
    against: Annotated[int | None, typer.Argument(min=0, help="Default: the one before it; 0 = before the first change.")] = None,
    json: Json = False,
) -> None:
    """What a version changed, value by value; or what two versions hold differently."""

    async def work(versions: "Versions") -> "list[Change]":
        from neuroroute.chain import changes
        from neuroroute.store.config import ConfigVersions

        number = await ConfigVersions(versions.database).number() if version is None else version
        return await changes.differences(versions, number, max(number - 1, 0) if against is None else against)

    _show_changes(with_versions(load(), work), as_json=json)


@app.command()
def rollback(
    version: Annotated[int, typer.Argument(min=0, help="The version to go back to; 0 = before the first change.")],
    comment: Comment = "",
    json: Json = False,
) -> None:
    """Make a new version that holds what an older one held. Credentials of providers stay what they are."""

    async def work(versions: "Versions") -> "Draft":
        from neuroroute.chain import changes

        return await changes.rollback(versions, version, comment=comment)

    _tell(with_versions(load(), work), as_json=json)


@app.command("set")
def _set(
    assignments: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="As routing.policy=cheap; null takes back.")] = None,
    patch: Annotated[Path | None, typer.Option("--from", help="A merge patch as YAML or JSON; - = standard input.")] = None,
    config: File = None,
    comment: Comment = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Change the configuration in the database: a new version, over file and environment, in force in every gateway within 5 seconds."""
    if bool(assignments) == (patch is not None):
        raise Fault("Either KEY=VALUE or --from FILE is expected.")

    async def work(versions: "Versions") -> "Draft":
        from neuroroute.chain import changes

        return await change(versions, _patch(versions, assignments or [], patch), changes.Cause(comment=comment), dry_run=dry_run)

    _tell(with_versions(load(neuroroute_config=config), work), as_json=json, dry_run=dry_run)


def _patch(versions: "Versions", assignments: list[str], file: Path | None) -> dict[str, Any]:
    from neuroroute.cli.assignments import patch_of
    from neuroroute.core.config import parse, read

    if file is None:
        return patch_of(assignments, versions.offer.config.model_dump(mode="json"))
    return (parse(sys.stdin.read(), "standard input", {}) if str(file) == "-" else read(file, {})).values


async def change(versions: "Versions", patch: dict[str, Any], cause: Any, *, dry_run: bool = False) -> "Draft":
    """A patch put in force, or only looked at."""
    from neuroroute.chain import changes

    return await (changes.drafted(versions, patch) if dry_run else changes.put(versions, patch, cause=cause))


def _tell(draft: "Draft", *, as_json: bool, dry_run: bool = False) -> None:
    number = draft.state.number + (0 if draft.is_nothing else 1)
    if as_json:
        show_one({"version": number, "changed": not draft.is_nothing, "dry_run": dry_run, "changes": _plain(draft.changes)}, as_json=True)
        return
    if draft.changes:
        _show_changes(draft.changes, as_json=False)
    if draft.is_nothing:
        print(f"Nothing changes: version {number} stays in force.")
    elif dry_run:
        print(f"This would be version {number}. Nothing was changed.")
    else:
        print(f"Version {number} is in force; running gateways follow within 5 seconds.")


def _plain(changes: "list[Change]") -> list[dict[str, object]]:
    return [{"key": one.key, "before": one.before, "after": one.after} for one in changes]


def _show_changes(changes: "list[Change]", *, as_json: bool) -> None:
    show(_plain(changes), ("key", "before", "after"), as_json=as_json)
