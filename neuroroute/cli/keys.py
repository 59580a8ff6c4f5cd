"""`neuroroute keys`: make, list, change, rotate and revoke API keys without the API."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from neuroroute.cli.out import Fault, load, show, show_one, with_database

if TYPE_CHECKING:
    from neuroroute.store.api_keys import ApiKey
    from neuroroute.store.columns import Budget
    from neuroroute.store.postgres import Database
    from neuroroute.store.users import User

app = typer.Typer(help="API keys: create, list, change, rotate, revoke.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
UNSET: Final = {
    "models": "allowed_models", "routes": "allowed_routes", "ips": "allowed_ips", "days": "expires_at", "limits": "limits", "budget": "budget",
    "tags": "tags", "semantic-cache": "semantic_cache",
}  # fmt: skip
PERIODS: Final = ("day", "week", "month", "total")
ON_DISCONNECT: Final = ("cancel", "finish", "detach")
Models = Annotated[list[str] | None, typer.Option("--model", help="A model that it may use; may be given several times. Default: all.")]
Routes = Annotated[
    list[str] | None, typer.Option("--route", help="A path that it may use, as /v1/chat/completions or /v1/*; several times.")
]
Ips = Annotated[list[str] | None, typer.Option("--ip", help="An address or network that it may be used from; several times.")]
Days = Annotated[float | None, typer.Option(min=0.0, help="Days until it expires; default: never.")]
Rpm = Annotated[int | None, typer.Option(min=0, help="Its own limit; 0 = unlimited.")]
Tpm = Annotated[int | None, typer.Option(min=0, help="Its own limit; 0 = unlimited.")]
AtOnce = Annotated[int | None, typer.Option(min=0, help="Calls at once; 0 = unlimited.")]
BudgetUsd = Annotated[float | None, typer.Option(min=0.0, help="What it may spend in each period.")]
TagPairs = Annotated[list[str] | None, typer.Option("--tag", help="Kept with each of its calls, as team=search; several times.")]
Semantic = Annotated[
    bool | None,
    typer.Option("--semantic-cache/--no-semantic-cache", help="Whether answers to like questions serve; default: as configured."),
]
KeyId = Annotated[str, typer.Argument(help="Id of the key.")]
COLUMNS = ("id", "name", "user_id", "display", "status", "expires_at", "last_used_at")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    user: Annotated[str | None, typer.Option(help="Id or email of its user; default: the first admin.")] = None,
    models: Models = None,
    routes: Routes = None,
    ips: Ips = None,
    days: Days = None,
    requests_per_minute: Rpm = None,
    tokens_per_minute: Tpm = None,
    concurrency: AtOnce = None,
    budget_usd: BudgetUsd = None,
    budget_period: Annotated[str, typer.Option(help="day, week, month or total.")] = "month",
    when_spent: Annotated[str, typer.Option(help="refuse, or policy:NAME: auto goes on by that policy.")] = "refuse",
    tags: TagPairs = None,
    on_disconnect: Annotated[str, typer.Option(help="What a cut line does to its streams: cancel, finish or detach.")] = "cancel",
    semantic_cache: Semantic = None,
    store_prompts: Annotated[bool, typer.Option(help="Whether texts of its calls may be kept, where STORE_PROMPTS is on.")] = True,
    json: Json = False,
) -> None:
    """Make a key. It is printed once and never stored."""
    from neuroroute.core.clock import utcnow
    from neuroroute.core.types import Limits

    budget = _budget(budget_usd, budget_period, when_spent)
    told = _tags(tags)
    _known(on_disconnect)
    allowed_routes, allowed_ips = _gate(routes, ips)

    async def work(database: "Database") -> dict[str, Any]:
        from neuroroute.access.keys import create_key, key_facts

        owner = await find_user(database, user)
        made = await create_key(
            database,
            owner.id,
            name,
            allowed_models=models or None,
            allowed_routes=allowed_routes,
            allowed_ips=allowed_ips,
            limits=Limits(requests_per_minute, tokens_per_minute, concurrency),
            budget=budget,
            expires_at=None if days is None else utcnow() + timedelta(days=days),
            tags=told,
            on_disconnect=on_disconnect,
            semantic_cache=semantic_cache,
            store_prompts=store_prompts,
        )
        return {**key_facts(made.key), "key": made.secret}

    show_one(with_database(load(), work), as_json=json)


@app.command("list")
def _list(
    user: Annotated[str | None, typer.Option(help="Only those of this user (id or email).")] = None,
    revoked: Annotated[bool, typer.Option(help="Revoked ones too.")] = False,
    json: Json = False,
) -> None:
    """All keys, newest first. The keys themselves can not be shown."""

    async def work(database: "Database") -> list[dict[str, Any]]:
        from neuroroute.access.keys import key_facts
        from neuroroute.store.api_keys import ApiKeys

        user_id = None if user is None else (await find_user(database, user)).id
        rows: list[dict[str, Any]] = []
        while True:
            page, total = await ApiKeys(database).page(
                page=len(rows) // 200 + 1, limit=200, user_id=user_id, status=None if revoked else "active"
            )
            rows += [key_facts(key) for key in page]
            if not page or len(rows) >= total:
                return rows

    show(with_database(load(), work), COLUMNS, as_json=json)


@app.command()
def update(
    key_id: KeyId,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    models: Models = None,
    routes: Routes = None,
    ips: Ips = None,
    days: Days = None,
    requests_per_minute: Rpm = None,
    tokens_per_minute: Tpm = None,
    concurrency: AtOnce = None,
    budget_usd: BudgetUsd = None,
    budget_period: Annotated[str | None, typer.Option(help="day, week, month or total.")] = None,
    when_spent: Annotated[str | None, typer.Option(help="refuse, or policy:NAME.")] = None,
    tags: TagPairs = None,
    on_disconnect: Annotated[str | None, typer.Option(help="cancel, finish or detach.")] = None,
    semantic_cache: Semantic = None,
    store_prompts: Annotated[bool | None, typer.Option(help="Whether texts of its calls may be kept.")] = None,
    unset: Annotated[
        list[str] | None, typer.Option(help="A bound to take away: models, routes, ips, days, limits, budget, tags, semantic-cache.")
    ] = None,
    json: Json = False,
) -> None:
    """Change a key; what is not given stays. Lists are replaced whole."""
    from neuroroute.core.clock import utcnow
    from neuroroute.core.types import Limits

    _known(on_disconnect)
    if wrong := set(unset or ()) - set(UNSET):
        raise Fault(f"--unset is one of {', '.join(UNSET)}, not {min(wrong)!r}.")
    gone: dict[str, Any] = {UNSET[one]: Limits() if one == "limits" else {} if one == "tags" else None for one in unset or ()}
    allowed_routes, allowed_ips = _gate(routes, ips)
    given = {
        "name": name, "allowed_models": tuple(models) if models else None, "allowed_routes": allowed_routes, "allowed_ips": allowed_ips,
        "expires_at": None if days is None else utcnow() + timedelta(days=days), "tags": _tags(tags) or None, "on_disconnect": on_disconnect,
        "store_prompts": store_prompts, "semantic_cache": semantic_cache,
    }  # fmt: skip
    limits = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "concurrency": concurrency}

    async def work(database: "Database") -> dict[str, Any]:
        from neuroroute.access.keys import key_facts, update_key

        before = await _there(database, key_id)
        after = replace(before, **{**gone, **_said(given)})
        after = replace(after, limits=replace(after.limits, **_said(limits)))
        if (budget_usd, budget_period, when_spent) != (None, None, None):
            after = replace(after, budget=_changed_budget(after.budget, budget_usd, budget_period, when_spent))
        return key_facts(await update_key(database, before, after))

    show_one(with_database(load(), work), as_json=json)


def _said(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _changed_budget(before: "Budget | None", usd: float | None, period: str | None, when_spent: str | None) -> "Budget | None":
    if usd is None and before is None:
        raise Fault("--budget-usd is expected: this key has no budget yet.")
    usd = usd if usd is not None or before is None else before.usd
    return _budget(usd, period or (before.period if before else "month"), when_spent or (before.when_spent if before else "refuse"))


def _budget(usd: float | None, period: str, when_spent: str) -> "Budget | None":
    from neuroroute.store.columns import Budget

    if period not in PERIODS:
        raise Fault(f"--budget-period is one of {', '.join(PERIODS)}.")
    if when_spent != "refuse" and not re.fullmatch(r"policy:\S+", when_spent):
        raise Fault("--when-spent is refuse or policy:NAME.")
    if usd is None and when_spent != "refuse":
        raise Fault("--budget-usd is expected with --when-spent.")
    return None if usd is None else Budget(usd, period, when_spent)


def _tags(tags: list[str] | None) -> dict[str, str]:
    pairs = [tag.partition("=") for tag in tags or ()]
    if not all(name and equals for name, equals, _ in pairs):
        raise Fault("--tag is written name=value.")
    return {name: value for name, _, value in pairs}


def _known(on_disconnect: str | None) -> None:
    if on_disconnect is not None and on_disconnect not in ON_DISCONNECT:
        raise Fault(f"--on-disconnect is one of {', '.join(ON_DISCONNECT)}.")


def _gate(routes: list[str] | None, ips: list[str] | None) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    from neuroroute.core.gate import network, route, written

    try:
        named = tuple(map(route, routes)) if routes else None
        return named, tuple(written(network(ip)) for ip in ips) if ips else None
    except ValueError as fault:
        raise Fault(f"{fault}.") from fault


async def _there(database: "Database", key_id: str) -> "ApiKey":
    from neuroroute.store.api_keys import ApiKeys

    found = await ApiKeys(database).get(key_id)
    if found is None:
        raise Fault(f"There is no API key {key_id!r}; neuroroute keys list shows those that there are.")
    return found


@app.command()
def rotate(
    key_id: KeyId,
    overlap_h: Annotated[float, typer.Option("--overlap-hours", min=0.0, help="Hours that the old one still works.")] = 24.0,
    json: Json = False,
) -> None:
    """Give a key a new secret; the old one works on for a while. The new one is printed once."""

    async def work(database: "Database") -> dict[str, Any]:
        from neuroroute.access.keys import key_facts, rotate_key

        made = await rotate_key(database, key_id, overlap=timedelta(hours=overlap_h))
        return {**key_facts(made.key), "key": made.secret}

    show_one(with_database(load(), work), as_json=json)


@app.command()
def revoke(key_id: KeyId, json: Json = False) -> None:
    """End a key for good. Running gateways refuse it within a second."""

    async def work(database: "Database") -> dict[str, Any]:
        from neuroroute.access.keys import key_facts, revoke_key

        return key_facts(await revoke_key(database, key_id))

    show_one(with_database(load(), work), as_json=json)


async def find_user(database: "Database", user: str | None) -> "User":
    """By id or email; None: the first admin. Raises: Fault"""
    from neuroroute.store.users import Users

    users = Users(database)
    if user is None:
        found = await users.first_admin()
        if found is None:
            raise Fault("There is no user yet: neuroroute users create NAME --role admin makes one.")
        return found
    found = await (users.by_email(user) if "@" in user else users.get(user))
    if found is None:
        raise Fault(f"There is no user {user!r}; neuroroute users list shows those that there are.")
    return found
