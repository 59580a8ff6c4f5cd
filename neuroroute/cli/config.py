"""`neuroroute config`: what is in effect, whether a file is good, its schema."""

from pathlib import Path
from typing import Annotated

import typer

from neuroroute.cli.out import load, show

app = typer.Typer(help="The configuration: show what is in effect, check a file, print its JSON schema.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
File = Annotated[Path | None, typer.Option("--config", help="Configuration file [NEUROROUTE_CONFIG].")]


@app.command("show")
def _show(config: File = None, json: Json = False) -> None:
    """Every setting and every value of the configuration, with its source; credentials are masked."""
    from neuroroute.core.config import build, effective, from_environment, read
    from neuroroute.core.settings import table

    settings = load(neuroroute_config=config)
    rows: list[dict[str, object]] = [
        {"key": entry.variable, "value": entry.value, "source": "environment" if entry.is_set else "default"} for entry in table(settings)
    ]
    layers = [from_environment(settings)]
    if settings.neuroroute_config is not None:
        layers.append(read(settings.neuroroute_config))
    rows += [
        {"key": value.key, "value": value.value, "source": value.place or value.source} for value in effective(build(*layers), *layers)
    ]
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
