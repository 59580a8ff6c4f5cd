"""Bring imported keys into the database: each made once, and changed where it is there already."""

from dataclasses import replace
from typing import Any

from neuroroute.access.keys import NOBODY, create_key, key_facts, note, user_facts
from neuroroute.cli.moving.litellm_keys import KeyPlan
from neuroroute.core.types import Limits
from neuroroute.store.api_keys import ApiKey, ApiKeys
from neuroroute.store.columns import Budget
from neuroroute.store.postgres import Database, Duplicate
from neuroroute.store.users import User, Users


async def apply_keys(database: Database, plans: list[KeyPlan]) -> list[dict[str, Any]]:
    """
    What was done, key by key: `made` (with the key, this once), `changed`, `unchanged`.

    A key is known again by its name and user. Users are found by email or name; a new one has the role `user`.
    """
    done = []
    for plan in plans:
        owner = await _owner(database, plan.owner)
        there = await _there(database, owner.id, plan.name)
        if there is not None:
            done.append(await _change(database, there, plan))
            continue
        budget = None if plan.budget is None else Budget(*plan.budget)
        try:
            made = await create_key(
                database, owner.id, plan.name, allowed_models=plan.allowed_models, limits=Limits(**plan.limits), budget=budget,
                expires_at=plan.expires_at, tags=plan.tags, secret=plan.secret,
            )  # fmt: skip
        except Duplicate:
            done.append({"name": plan.name, "user": owner.name, "done": "left out: another key is this very one"})
            continue
        shown = {"key": made.secret} if plan.secret is None else {}
        done.append({"name": plan.name, "user": owner.name, "done": "made" if shown else "taken over", "id": made.key.id, **shown})
    return done


async def _owner(database: Database, owner: str) -> User:
    users = Users(database)
    if "@" in owner:
        found = await users.by_email(owner)
    else:
        page, _ = await users.page(limit=200, search=owner)
        found = next((user for user in page if user.name == owner), None)
    if found is not None:
        return found
    async with database.transaction() as change:
        made = await Users(change).create(owner, email=owner if "@" in owner else None)
        await note(change, NOBODY, "user.create", made.id, after=user_facts(made))
    return made


async def _there(database: Database, user_id: str, name: str) -> ApiKey | None:
    page, _ = await ApiKeys(database).page(limit=200, user_id=user_id, status="active", search=name)
    return next((key for key in page if key.name == name), None)


async def _change(database: Database, there: ApiKey, plan: KeyPlan) -> dict[str, Any]:
    wanted = replace(
        there, allowed_models=plan.allowed_models, limits=Limits(**plan.limits), budget=None if plan.budget is None else Budget(*plan.budget),
        expires_at=plan.expires_at, tags=dict(plan.tags),
    )  # fmt: skip
    if wanted != there:
        async with database.transaction() as change:
            await ApiKeys(change).update(wanted)
            await note(change, NOBODY, "api_key.update", there.id, before=key_facts(there), after=key_facts(wanted))
    return {"name": plan.name, "user": plan.owner, "done": "unchanged" if wanted == there else "changed", "id": there.id}
