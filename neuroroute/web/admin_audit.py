"""/admin/audit-log: who changed what."""

from typing import Any

from aiohttp import web

from neuroroute.store.audit import AuditEntry, AuditLog
from neuroroute.web.bodies import listed, paging, plain
from neuroroute.web.identity import operator
from neuroroute.web.state import DATABASE
from neuroroute.web.usage import moment_of


def shown(entry: AuditEntry) -> dict[str, Any]:
    """A line as the API shows it."""
    return {
        "object": "audit_entry",
        "id": entry.id,
        "created_at": entry.created_at,
        "actor_key_id": entry.actor_key_id,
        "actor_user_id": entry.actor_user_id,
        "action": entry.action,
        "target": entry.target,
        "before": entry.before,
        "after": entry.after,
        "address": entry.address,
        "request_id": entry.request_id,
    }


async def list_entries(request: web.Request) -> web.Response:
    """GET /admin/audit-log?user_id=&action=&target=&from=&to=&page=&limit=: changes, newest first. No actor: the command line, or the start."""
    await operator(request)
    page, limit = paging(request)
    rows, total = await AuditLog(request.app[DATABASE]).page(
        page=page,
        limit=limit,
        actor_user_id=plain(request, "user_id", 64),
        action=plain(request, "action", 64),
        target=plain(request, "target"),
        since=moment_of(request, "from"),
        until=moment_of(request, "to"),
    )
    return listed([shown(row) for row in rows], total, page, limit)
