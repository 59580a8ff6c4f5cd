"""`neuroroute providers`: see, set, test and remove providers, and seal their credentials anew, without the API."""

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroroute.cli.config import change
from neuroroute.cli.out import Fault, load, show, show_one, with_versions

if TYPE_CHECKING:
    from neuroroute.chain.changes import Resealed
    from neuroroute.chain.versions import Versions

app = typer.Typer(help="Providers: list, set, test, remove; seal their credentials anew.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
File = Annotated[Path | None, typer.Option("--config", help="Configuration file [NEUROROUTE_CONFIG].")]
Name = Annotated[str, typer.Argument(help="Its name.")]
COLUMNS = ("name", "protocol", "base_url", "api_key", "enabled", "source", "credentials")


@app.command("list")
def _list(config: File = None, json: Json = False) -> None:
    """The providers of file, environment and database; of credentials the end alone."""

    async def work(versions: "Versions") -> list[dict[str, Any]]:
        return [versions.entry("providers", name) for name in sorted(versions.offer.config.providers)]

    rows = with_versions(load(neuroroute_config=config), work)
    if not json:
        rows = [{**row, "source": sorted({source.partition(":")[0] for source in row["sources"].values()})} for row in rows]
    show(rows, COLUMNS, as_json=json)


@app.command("set")
def _set(
    name: Name,
    assignments: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="As base_url=https://...; null takes back.")] = None,
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read its key from standard input, unseen at a terminal.")] = False,
    config: File = None,
    json: Json = False,
) -> None:
    """Add a provider or change it, in the database. Its key is kept encrypted and never shown again."""
    if not (assignments or key_stdin):
        raise Fault("KEY=VALUE or --key-stdin is expected, as: neuroroute providers set work base_url=https://llm.example/v1 --key-stdin")
    key = _key() if key_stdin else None

    async def work(versions: "Versions") -> dict[str, Any]:
        from neuroroute.chain import changes
        from neuroroute.cli.assignments import patch_of

        patch = patch_of(assignments or [], versions.offer.config.model_dump(mode="json"), ("providers", name))
        entry = patch.setdefault("providers", {}).setdefault(name, {})
        if key is not None:
            entry["api_key"] = key
        await change(versions, patch, changes.Cause("provider.put", name[:200], f"provider {name[:200]}"))
        return versions.entry("providers", name)

    show_one(with_versions(load(neuroroute_config=config), work), as_json=json)


def _key() -> str:
    key = (getpass.getpass("key of the provider: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    if not key:
        raise Fault("The key was expected on standard input.")
    return key


@app.command()
def test(name: Name, config: File = None, json: Json = False) -> None:
    """Ask a provider for its models and say what is wrong; exit status 1 if it can not be used."""
    settings = load(neuroroute_config=config)

    async def work(versions: "Versions") -> dict[str, Any]:
        from neuroroute.adapters.probe import probe
        from neuroroute.adapters.transport import Transport
        from neuroroute.chain import private_hosts
        from neuroroute.routing.offers import provider_of

        offer = versions.offer
        transport = Transport()
        transport.guard.origins = private_hosts.guarded(offer.config, offer.layers)
        try:
            return {"provider": name, **await probe(transport, provider_of(name, offer.config.providers[_there(versions, name)], settings))}
        finally:
            await transport.close()

    found = with_versions(settings, work)
    show_one(found, as_json=json)
    if not found["ok"]:
        raise typer.Exit(1)


@app.command()
def remove(name: Name, config: File = None, json: Json = False) -> None:
    """Take a provider away with its credentials, also where file or environment name it; `set` brings it back."""

    async def work(versions: "Versions") -> dict[str, Any]:
        from neuroroute.chain import changes

        cause = changes.Cause("provider.delete", name, f"provider {name} deleted")
        await change(versions, {"providers": {_there(versions, name): None}}, cause)
        return {"name": name, "deleted": True}

    show_one(with_versions(load(neuroroute_config=config), work), as_json=json)


@app.command()
def reseal(
    new_key: Annotated[bool, typer.Option("--new-key", help="First put a new key into `secret.key`.")] = False,
    forget_old: Annotated[bool, typer.Option("--forget-old", help="Then keep the newest key of `secret.key` alone.")] = False,
    json: Json = False,
) -> None:
    """
    Seal all credentials of providers by the newest key. Gateways may run meanwhile.

    With NEUROROUTE_SECRET_KEY put the new key in front (`new,old`), start the gateways with it, reseal, then take the old one away.
    """
    settings = load()
    if settings.neuroroute_secret_key is not None and (new_key or forget_old):
        raise Fault(
            "NEUROROUTE_SECRET_KEY is set, so `secret.key` is not used: put the new key in front of the old one there, with a comma between."
        )

    async def work(versions: "Versions") -> "Resealed":
        from neuroroute.chain import changes

        if new_key:
            versions.vault.renew()
        made = await changes.reseal(versions)
        if forget_old and not made.closed:
            versions.vault.forget_old()
        return made

    made = with_versions(settings, work)
    show_one({"sealed_anew": made.done, "fresh": made.fresh, "can_not_be_opened": made.closed}, as_json=json)
    if made.closed:
        if forget_old:
            print("The old keys are kept: some credentials can not be opened.", file=sys.stderr)
        raise typer.Exit(1)


def _there(versions: "Versions", name: str) -> str:
    if name not in versions.offer.config.providers:
        raise Fault(f"There is no provider {name!r}; neuroroute providers list shows those that there are.")
    return name
