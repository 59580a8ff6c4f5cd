"""`neuroroute users`: make, list and change users without the API."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroroute.cli.keys import find_user
from neuroroute.cli.out import Fault, load, show, show_one, with_database
from neuroroute.core.types import Role

if TYPE_CHECKING:
    from neuroroute.store.postgres import Database

app = typer.Typer(help="Users: create, list, change, delete.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
UserId = Annotated[str, typer.Argument(help="Id or email.")]
COLUMNS = ("id", "name", "email", "role", "status", "created_at")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Their name.")],
    email: Annotated[str | None, typer.Option(help="Their address.")] = None,
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.USER,
    json: Json = False,
) -> None:
    """Make a user."""

    async def work(database: "Database") -> dict[str, Any]:
        from neuroroute.access.keys import NOBODY, note, user_facts
        from neuroroute.store.users import Users

        async with database.transaction() as transaction:
            user = await Users(transaction).create(name, email=email, role=role)
            await note(transaction, NOBODY, "user.create", user.id, after=user_facts(user))
        return user_facts(user)

    show_one(with_database(load(), work), as_json=json)


@app.command("list")
def _list(json: Json = False) -> None:
    """All users, newest first."""

    async def work(database: "Database") -> list[dict[str, Any]]:
        from neuroroute.access.keys import user_facts
        from neuroroute.store.users import Users

        rows: list[dict[str, Any]] = []
        while True:
            page, total = await Users(database).page(page=len(rows) // 200 + 1, limit=200)
            rows += [user_facts(user) for user in page]
            if not page or len(rows) >= total:
                return rows

    show(with_database(load(), work), COLUMNS, as_json=json)


@app.command()
def update(
    user: UserId,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    email: Annotated[str | None, typer.Option(help="Another address.")] = None,
    role: Annotated[Role | None, typer.Option(help="Another role.")] = None,
    status: Annotated[str | None, typer.Option(help="active, or disabled: all their keys stop.")] = None,
    json: Json = False,
) -> None:
    """Change a user; what is not given stays."""
    if status not in (None, "active", "disabled"):
        raise Fault("--status is active or disabled.")

    async def work(database: "Database") -> dict[str, Any]:
        from dataclasses import replace

        from neuroroute.access.keys import NOBODY, note, user_facts
        from neuroroute.store.users import Users

        before = await find_user(database, user)
        given = {"name": name, "email": email, "role": role, "status": status}
        async with database.transaction() as transaction:
            after = await Users(transaction).update(replace(before, **{key: value for key, value in given.items() if value is not None}))  # type: ignore[arg-type]
            await note(transaction, NOBODY, "user.update", after.id, before=user_facts(before), after=user_facts(after))
        return user_facts(after)

    show_one(with_database(load(), work), as_json=json)


@app.command()
def delete(user: UserId, json: Json = False) -> None:
    """Remove a user and all their keys; their usage stays on the books."""

    async def work(database: "Database") -> dict[str, Any]:
        from neuroroute.access.keys import NOBODY, note, user_facts
        from neuroroute.store.users import Users

        found = await find_user(database, user)
        async with database.transaction() as transaction:
            await Users(transaction).delete(found.id)
            await note(transaction, NOBODY, "user.delete", found.id, before=user_facts(found))
        return {"id": found.id, "deleted": True}

    show_one(with_database(load(), work), as_json=json)
