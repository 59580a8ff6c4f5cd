"""`neuroroute models`: what would be offered, without a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroroute.cli.out import load, show

if TYPE_CHECKING:
    from neuroroute.core.types import Price

app = typer.Typer(help="The models that the configuration and the catalogue give.", no_args_is_help=True)
COLUMNS = ("name", "provider", "input_usd", "output_usd", "context_window_tokens", "abilities", "quality")


@app.callback()
def _root() -> None:
    """So that `list` is a verb of its own."""


@app.command("list")
def _list(
    config: Annotated[Path | None, typer.Option("--config", help="Configuration file [NEUROROUTE_CONFIG].")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Models with price (USD per million tokens), window, abilities and quality; those found by asking servers are not among them."""
    from neuroroute.adapters.demo import MODELS as DEMO_MODELS
    from neuroroute.chain.offer import Found, Offer
    from neuroroute.core.config import read

    settings = load(neuroroute_config=config)
    layers = [read(settings.neuroroute_config)] if settings.neuroroute_config is not None else []
    catalog = Offer(settings, layers, Found({"demo": DEMO_MODELS})).holder.current
    rows: list[dict[str, Any]] = []
    for name, entry in catalog.entries.items():
        model = entry.target.model
        rows.append(
            {
                "name": name,
                "provider": entry.target.provider.name,
                "upstream_model": model.upstream_model,
                "kind": model.kind,
                **_usd(model.price),
                "context_window_tokens": model.context_window_tokens,
                "max_output_tokens": model.max_output_tokens,
                "abilities": sorted(model.abilities),
                "quality": model.quality.get("default"),
            }
        )
    show(rows, COLUMNS, as_json=json)


def _usd(price: "Price | None") -> dict[str, float | None]:
    return {
        "input_usd": None if price is None else price.input_nanousd / 1e9,
        "output_usd": None if price is None else price.output_nanousd / 1e9,
    }
