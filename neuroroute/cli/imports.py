"""`neuroroute import`: another gateway's configuration and keys, said in ours."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroroute.cli.out import Fault, load, show, with_database
from neuroroute.core import jsonbytes

if TYPE_CHECKING:
    from neuroroute.cli.moving.draft import Draft
    from neuroroute.cli.moving.litellm_keys import KeyPlan
    from neuroroute.store.postgres import Database

app = typer.Typer(help="Move in from LiteLLM or OpenRouter: their configuration and keys as ours.", no_args_is_help=True)
Write = Annotated[Path | None, typer.Option("--write", metavar="FILE", help="Write the configuration here. Without: only show it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, only show what would be done (as without --write and --apply).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def litellm(
    file: Annotated[Path, typer.Argument(help="The config.yaml of a LiteLLM proxy.")],
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", help="JSON of /key/list?return_full_object=true, or rows of its key table.")
    ] = None,
    write: Write = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Make or change the keys of --keys in the database; new ones are shown once.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Models, fallbacks, limits and keys of a LiteLLM proxy. Tells what can not be carried. Secrets become ${VARIABLES}."""
    from neuroroute.cli.moving.litellm import translate
    from neuroroute.cli.moving.litellm_keys import model_names, plans
    from neuroroute.core.clock import utcnow
    from neuroroute.core.config import read_foreign

    if apply and keys is None:
        raise Fault("--apply makes keys: --keys says from which file. The configuration is written by --write.")
    draft = translate(_mapping(read_foreign(file), file, "model_list"))
    planned = [] if keys is None else plans(read_foreign(keys), draft, utcnow())
    model_names(planned, {*draft.models, *draft.aliases}, draft)
    _finish("litellm", draft, planned, write=None if dry_run else write, apply=apply and not dry_run, as_json=json)


@app.command()
def openrouter(
    file: Annotated[Path, typer.Argument(help="JSON of https://openrouter.ai/api/v1/models, or a list of model names.")],
    preferences: Annotated[
        Path | None,
        typer.Option(
            "--preferences", metavar="FILE", help="YAML or JSON with `models`, `provider` and `presets`, as requests to it have them."
        ),
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--model", help="Only these models; * is allowed; several times.")] = None,
    write: Write = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Models of OpenRouter with their prices, fallbacks as aliases. Tells what can not be carried."""
    from neuroroute.cli.moving.openrouter import translate
    from neuroroute.core.config import read_foreign

    chosen = {} if preferences is None else _mapping(read_foreign(preferences), preferences, "models or provider")
    _finish(
        "openrouter", translate(read_foreign(file), chosen, only or []), [], write=None if dry_run else write, apply=False, as_json=json
    )


def _mapping(found: Any, file: Path, expected: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise Fault(f"{file}: a mapping with {expected} is expected.")
    return found


def _finish(origin: str, draft: "Draft", planned: list["KeyPlan"], *, write: Path | None, apply: bool, as_json: bool) -> None:
    text = draft.text(origin)
    wrote = None if write is None else _write(write, text, origin)
    done = [_shown(plan) for plan in planned]
    if apply:
        done = _apply(planned)
    report: dict[str, Any] = {
        "providers": len(draft.providers),
        "models": len(draft.models),
        "aliases": len(draft.aliases),
        "keys": done,
        "wrote": wrote,
        "set": draft.settings,
        "variables": draft.variables,
        "notes": draft.notes,
        "not_carried": draft.lost,
    }
    if as_json:
        print(jsonbytes.dumps_pretty({**report, "config": text}))
        return
    if write is None:
        print(text)
    print(f"{report['providers']} providers, {report['models']} models, {report['aliases']} aliases, {len(planned)} keys.")
    if wrote is not None:
        print(wrote)
    if done:
        print()
        show(done, ("name", "user", "done", "key"), as_json=False)
    _list("Set these variables before the start:", [f"{name}: {what}" for name, what in draft.variables.items()])
    _list("Settings of the gateway that say the same:", [f"{name}={value}" for name, value in draft.settings.items()])
    _list("Carried in another shape:", draft.notes)
    _list("Not carried:", draft.lost)


def _list(head: str, lines: list[str]) -> None:
    if lines:
        print("\n".join(["", head, *(f"  {line}" for line in lines)]))


def _shown(plan: "KeyPlan") -> dict[str, Any]:
    return {"name": plan.name, "user": plan.owner, "done": "would be taken over" if plan.secret else "would be made or changed"}


def _write(path: Path, text: str, origin: str) -> str:
    """Raises: Fault where a file stands there that no import wrote."""
    from neuroroute.cli.moving.draft import head

    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if before == text:
            return f"{path} is up to date."
        if before and not before.startswith(head(origin)):
            raise Fault(f"{path} is there and was not written by this import: choose another name.")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Fault(f"{path}: can not be written: {error.strerror}.") from error
    return f"{path} is written."


def _apply(planned: list["KeyPlan"]) -> list[dict[str, Any]]:
    async def work(database: "Database") -> list[dict[str, Any]]:
        from neuroroute.cli.moving.apply import apply_keys

        return await apply_keys(database, planned)

    return with_database(load(), work)
