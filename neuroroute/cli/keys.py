"""`neuroroute keys`: make, list, rotate and revoke API keys without the API."""

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from neuroroute.cli.out import Fault, load, show, show_one, with_database

if TYPE_CHECKING:
    from neuroroute.store.postgres import Database
    from neuroroute.store.users import User

app = typer.Typer(help="API keys: create, list, rotate, revoke.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PERIODS: Final = ("day", "week", "month", "total")
ON_DISCONNECT: Final = ("cancel", "finish", "detach")
COLUMNS = ("id", "name", "user_id", "display", "status", "expires_at", "last_used_at")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    user: Annotated[str | None, typer.Option(help="Id or email of its user; default: the first admin.")] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model that it may use; may be given several times. Default: all.")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.0, help="Days until it expires; default: never.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=0, help="Its own limit; 0 = unlimited.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=0, help="Its own limit; 0 = unlimited.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=0, help="Calls at once; 0 = unlimited.")] = None,
    budget_usd: Annotated[float | None, typer.Option(min=0.0, help="What it may spend in each period.")] = None,
    budget_period: Annotated[str, typer.Option(help="day, week, month or total.")] = "month",
    when_spent: Annotated[str, typer.Option(help="refuse, or policy:NAME: auto goes on by that policy.")] = "refuse",
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Kept with each of its calls, as team=search; several times.")] = None,
    on_disconnect: Annotated[str, typer.Option(help="What a cut line does to its streams: cancel, finish or detach.")] = "cancel",
    json: Json = False,
) -> None:
    """Make a key. It is printed once and never stored."""
    from neuroroute.core.clock import utcnow
    from neuroroute.core.types import Limits
    from neuroroute.store.columns import Budget

    if budget_period not in PERIODS:
        raise Fault(f"--budget-period is one of {', '.join(PERIODS)}.")
    if when_spent != "refuse" and not re.fullmatch(r"policy:\S+", when_spent):
        raise Fault("--when-spent is refuse or policy:NAME.")
    if on_disconnect not in ON_DISCONNECT:
        raise Fault(f"--on-disconnect is one of {', '.join(ON_DISCONNECT)}.")
    pairs = [tag.partition("=") for tag in tags or ()]
    if not all(name and equals for name, equals, _ in pairs):
        raise Fault("--tag is written name=value.")

    async def work(database: "Database") -> dict[str, Any]:
        from neuroroute.access.keys import create_key, key_facts

        owner = await find_user(database, user)
        made = await create_key(
            database,
            owner.id,
            name,
            allowed_models=models or None,
            limits=Limits(requests_per_minute, tokens_per_minute, concurrency),
            budget=None if budget_usd is None else Budget(budget_usd, budget_period, when_spent),
            expires_at=None if days is None else utcnow() + timedelta(days=days),
            tags={name: value for name, _, value in pairs},
            on_disconnect=on_disconnect,
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
def rotate(
    key_id: Annotated[str, typer.Argument(help="Id of the key.")],
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
def revoke(key_id: Annotated[str, typer.Argument(help="Id of the key.")], json: Json = False) -> None:
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
