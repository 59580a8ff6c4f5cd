"""
LiteLLM's virtual keys -> ours, from the JSON of `/key/list?return_full_object=true`, of `/spend/keys`, or of its table of keys.

LiteLLM keeps a digest of each key that can not become ours, so a fresh one is made, unless the export has the key itself (`key`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from neuroroute.cli.moving.draft import Draft, number, whole
from neuroroute.core.dataclass import dataclass, field

OWNER: Final = "litellm"
"""The user who gets the keys that belong to nobody."""
_DAYS: Final = {"s": 1 / 86400, "m": 1 / 1440, "h": 1 / 24, "d": 1.0, "w": 7.0, "mo": 31.0, "y": 366.0}
_QUIET: Final = {
    "token", "key", "key_name", "key_alias", "alias", "user_id", "user_email", "team_id", "team_alias", "models", "max_budget", "budget_duration",
    "rpm_limit", "tpm_limit", "max_parallel_requests", "expires", "metadata", "tags", "blocked", "created_at", "updated_at", "created_by",
    "updated_by", "last_active", "budget_reset_at", "config", "spend", "user", "organization_id", "team", "budget_id", "key_type",
    "last_rotation_at", "rotation_count", "auto_rotate",
}  # fmt: skip
_WHY: Final = {
    "soft_budget": "ALERT_BUDGET_PERCENT tells of all budgets",
    "soft_budget_cooldown": "ALERT_BUDGET_PERCENT tells of all budgets",
    "aliases": "aliases are the same for all keys",
    "model_max_budget": "budgets are not by model",
    "model_spend": "budgets are not by model",
    "allowed_routes": "its groups of paths are other ones: neuroroute keys update ID --route PATH narrows a key",
    "permissions": "keys have no permissions of their own; users have roles",
}


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """
    A key to be made or changed. owner: email or name of its user. budget: (usd, period).

    secret: what clients send already, where the export has it.
    """

    name: str
    owner: str
    allowed_models: tuple[str, ...] | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    budget: tuple[float, str] | None = None
    expires_at: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    secret: str | None = field(default=None, repr=False)


def plans(exported: Any, draft: Draft, now: datetime) -> list[KeyPlan]:
    """The keys to make, and in `draft` a line for each thing that does not come along."""
    if isinstance(exported, Mapping):
        exported = exported.get("keys", exported.get("data", [exported]))
    rows = exported if isinstance(exported, list) else []
    found: list[KeyPlan] = []
    for place, row in enumerate(rows):
        if not isinstance(row, Mapping):
            draft.lose(f"keys[{place}]", "is a digest alone; export with return_full_object=true")
        elif (plan := _plan(place, row, draft, now)) is not None:
            found.append(plan)
    if any(isinstance(row, Mapping) and number(row.get("spend")) for row in rows):
        draft.lose("keys.spend", "what was spent stays on LiteLLM's books; budgets begin anew")
    return found


def _plan(place: int, row: Mapping[str, Any], draft: Draft, now: datetime) -> KeyPlan | None:
    digest = str(row.get("token") or "")
    name = str(
        row.get("key_alias") or row.get("alias") or (f"{OWNER} {digest[:10]}" if digest else row.get("key_name") or f"{OWNER} {place}")
    )
    where = f"keys[{place}] ({name})"
    expires_at = _moment(row.get("expires"))
    if row.get("blocked"):
        draft.lose(where, "is blocked, so it is not made")
        return None
    if expires_at is not None and expires_at <= now:
        draft.lose(where, f"ended on {expires_at:%Y-%m-%d}, so it is not made")
        return None
    limits = {
        "requests_per_minute": whole(row.get("rpm_limit")),
        "tokens_per_minute": whole(row.get("tpm_limit")),
        "concurrency": whole(row.get("max_parallel_requests")),
    }
    for other, value in row.items():
        if other not in _QUIET and value not in (None, False, 0, "", [], {}):
            draft.lose(f"{where}.{other}", _WHY.get(str(other), "has no counterpart"))
    secret = str(row.get("key") or "")
    return KeyPlan(
        name=name,
        owner=str(row.get("user_email") or row.get("user_id") or OWNER),
        allowed_models=_models(row.get("models")),
        limits={limit: value for limit, value in limits.items() if value is not None},
        budget=_budget(where, row, draft),
        expires_at=expires_at,
        tags=_tags(where, row, draft),
        secret=secret if len(secret) >= 16 and "..." not in secret else None,
    )


def _models(said: object) -> tuple[str, ...] | None:
    """None = all. LiteLLM: an empty list, and some words, mean all; `no-default-models` means none."""
    names = tuple(str(name) for name in said) if isinstance(said, list) else ()
    if not names or {"all-proxy-models", "all-team-models"} & set(names):
        return None
    return tuple(name for name in names if name != "no-default-models")


def _budget(where: str, row: Mapping[str, Any], draft: Draft) -> tuple[float, str] | None:
    """A period that we lack becomes the next longer one with the same amount: never more than was allowed before."""
    usd = number(row.get("max_budget"), -1e-9)
    if usd is None:
        return None
    said = str(row.get("budget_duration") or "")
    digits = said.rstrip("abcdefghijklmnopqrstuvwxyz")
    days = float(digits) * _DAYS.get(said[len(digits) :], 0.0) if digits.isdigit() else 0.0
    if not said:
        return usd, "total"
    period = "total" if not 0 < days <= 31 else "day" if days <= 1 else "week" if days <= 7 else "month"
    if days not in (1.0, 7.0, 30.0, 31.0):
        draft.note(f"{where}.budget_duration", f"{said} became {period}, with the same amount")
    return min(usd, 1_000_000.0), period


def _tags(where: str, row: Mapping[str, Any], draft: Draft) -> dict[str, str]:
    """Team, LiteLLM's own tags (`name=value` or `name:value`, else the word with `true`), and the plain values of the metadata."""
    metadata = row.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    tags: dict[str, str] = {}
    if team := row.get("team_alias") or row.get("team_id"):
        tags["team"] = str(team)
        draft.note(f"{where}.team", "became a tag; a team's budget is a budget of the tag: budgets: [{tag: team=NAME, usd, period}]")
    listed = [*(row.get("tags") or []), *(metadata.get("tags") or [])]
    for tag in map(str, listed):
        joint = "=" if "=" in tag else ":"
        name, _, value = tag.partition(joint)
        tags.setdefault(name.strip()[:64], value.strip()[:256] or "true")
    for name, value in metadata.items():
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and str(name) != "tags":
            tags.setdefault(str(name)[:64], str(value)[:256])
        elif name != "tags" and value not in (None, {}, []):
            draft.lose(f"{where}.metadata.{name}", "a tag is a name with one word")
    return tags


def _moment(said: object) -> datetime | None:
    try:
        found = said if isinstance(said, datetime) else datetime.fromisoformat(str(said)) if said else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


def model_names(found: list[KeyPlan], names: set[str], draft: Draft) -> None:
    """Tell which names in allow-lists nobody here answers to."""
    for plan in found:
        for name in plan.allowed_models or ():
            if "*" not in name and "/" not in name and name not in names:
                draft.lose(f"key {plan.name}.models", f"{name} is no model or alias of the configuration; the name stays in the key's list")
