"""The table of endpoints, and nothing else."""

from typing import Final

from aiohttp import web

from neuroroute.core.settings import Settings
from neuroroute.web import (
    admin_alerts,
    admin_audit,
    admin_cache,
    admin_catalog,
    admin_config,
    admin_keys,
    admin_users,
    count_tokens,
    dashboard,
    dashboard_alerts,
    dashboard_call,
    dashboard_config,
    dashboard_keys,
    dashboard_routing,
    dashboard_tools,
    feedback,
    inference,
    llms,
    models,
    openapi,
    ops,
    pages,
    prompt,
    route,
    stored,
    streams,
)

PASSED_ON: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""HEAD comes with GET. No TRACE: its answer would show our own key."""


def table(settings: Settings) -> list[web.RouteDef]:
    """Every route, the specific ones first: `/v1/{tail}` takes what is left and passes it on."""
    return [
        web.get("/health", ops.health),
        web.get("/health/live", ops.live),
        web.get("/health/ready", ops.ready),
        web.get(settings.metrics_path, ops.metrics),
        web.get("/openapi.json", openapi.openapi),
        web.get("/llms.txt", llms.guide),
        web.get(settings.swagger_route, openapi.page),
        web.get(settings.swagger_route + "/{name}", openapi.asset),
        web.post("/v1/chat/completions", inference.chat_completions),
        web.post("/v1/responses", inference.responses),
        web.get("/v1/responses/{id}", stored.get),
        web.delete("/v1/responses/{id}", stored.delete),
        web.post("/v1/responses/{id}/cancel", stored.cancel),
        web.get("/v1/responses/{id}/input_items", stored.input_items),
        web.post("/v1/messages", inference.messages),
        web.post("/v1/messages/count_tokens", count_tokens.count_tokens),
        web.post("/v1/completions", inference.completions),
        web.post("/v1/embeddings", inference.embeddings),
        web.get("/v1/models", models.list_v1),
        web.get("/v1/models/{id:.+}", models.get_v1),
        web.post("/v1/route", route.route),
        web.post("/v1/feedback", feedback.feedback),
        web.post("/prompt", prompt.prompt),
        web.get("/models", models.list_all),
        web.get("/models/{id:.+}", models.get_one),
        web.get("/admin/users", admin_users.list_users),
        web.post("/admin/users", admin_users.create_user),
        web.get("/admin/users/{id}", admin_users.get_user),
        web.put("/admin/users/{id}", admin_users.update_user),
        web.delete("/admin/users/{id}", admin_users.delete_user),
        web.get("/admin/api-keys", admin_keys.list_keys),
        web.post("/admin/api-keys", admin_keys.create_key),
        web.get("/admin/api-keys/{id}", admin_keys.get_key),
        web.put("/admin/api-keys/{id}", admin_keys.update_key),
        web.delete("/admin/api-keys/{id}", admin_keys.revoke_key),
        web.post("/admin/api-keys/{id}/rotate", admin_keys.rotate_key),
        *_dashboard(),
        web.delete("/admin/cache", admin_cache.drop),
        web.get("/admin/alerts", admin_alerts.list_alerts),
        web.post("/admin/alerts/{id}/acknowledge", admin_alerts.acknowledge),
        *_configuration(),
        web.get("/v1/streams/{id}", streams.resume),
        web.delete("/v1/streams/{id}", streams.stop),
        *(web.route(method, "/v1/responses/{id}{tail:.*}", stored.below) for method in PASSED_ON),
        *(web.route(method, "/v1/{tail:.*}", inference.pass_through) for method in PASSED_ON),
    ]


def _configuration() -> list[web.RouteDef]:
    """What admins change of the configuration, and who changed what."""
    return [
        web.get("/admin/config", admin_config.get_config),
        web.put("/admin/config", admin_config.put_config),
        web.get("/admin/config/versions", admin_config.list_versions),
        web.get("/admin/config/versions/{version}", admin_config.get_version),
        web.post("/admin/config/rollback", admin_config.rollback),
        web.get("/admin/providers", admin_catalog.list_providers),
        web.put("/admin/providers", admin_catalog.put_providers),
        web.post("/admin/providers/{name:.+}/test", admin_catalog.test_provider),
        web.get("/admin/providers/{name:.+}", admin_catalog.get_provider),
        web.put("/admin/providers/{name:.+}", admin_catalog.put_provider),
        web.delete("/admin/providers/{name:.+}", admin_catalog.delete_provider),
        web.get("/admin/models", admin_catalog.list_models),
        web.put("/admin/models", admin_catalog.put_models),
        web.get("/admin/models/{name:.+}", admin_catalog.get_model),
        web.put("/admin/models/{name:.+}", admin_catalog.put_model),
        web.delete("/admin/models/{name:.+}", admin_catalog.delete_model),
        web.get("/admin/audit-log", admin_audit.list_entries),
    ]


def _dashboard() -> list[web.RouteDef]:
    """The pages, and their figures as JSON for programs."""
    return [
        web.get("/dashboard", dashboard.overview),
        web.get("/dashboard/stats", dashboard.stats),
        web.get("/dashboard/usage", dashboard.sums),
        web.get("/dashboard/models", dashboard.models),
        web.get("/dashboard/requests", dashboard.requests),
        web.get("/dashboard/requests/{id}", dashboard.one_request),
        web.post("/dashboard/requests/{id}/feedback", dashboard_call.say),
        web.get("/dashboard/sign-in", dashboard.sign_in_page),
        web.post("/dashboard/sign-in", dashboard.sign_in),
        web.post("/dashboard/sign-out", dashboard.sign_out),
        web.get("/dashboard/keys", dashboard_keys.keys_page),
        web.post("/dashboard/keys", dashboard_keys.create_key),
        web.post("/dashboard/keys/{id}", dashboard_keys.change_key),
        web.post("/dashboard/keys/{id}/rotate", dashboard_keys.rotate_key),
        web.post("/dashboard/keys/{id}/revoke", dashboard_keys.revoke_key),
        web.get("/dashboard/users", dashboard_keys.users_page),
        web.post("/dashboard/users", dashboard_keys.create_user),
        web.post("/dashboard/users/{id}", dashboard_keys.update_user),
        web.get("/dashboard/alerts", dashboard_alerts.alerts_page),
        web.post("/dashboard/alerts/{id}/acknowledge", dashboard_alerts.acknowledge),
        web.get("/dashboard/routing", dashboard_routing.routing_page),
        web.post("/dashboard/routing", dashboard_routing.change),
        web.get("/dashboard/playground", dashboard_tools.playground_page),
        web.post("/dashboard/playground/chat", dashboard_tools.playground_chat),
        web.get("/dashboard/settings", dashboard_config.settings_page),
        web.post("/dashboard/settings", dashboard_config.change),
        web.get("/dashboard/settings/history", dashboard_config.history_page),
        web.get("/dashboard/settings/history/{version}", dashboard_config.version_page),
        web.post("/dashboard/settings/history/{version}/rollback", dashboard_config.roll_back),
        web.get("/dashboard/settings/providers", dashboard_config.providers_page),
        web.post("/dashboard/settings/providers", dashboard_config.put_provider),
        web.post("/dashboard/settings/providers/{name}/delete", dashboard_config.delete_provider),
        web.post("/dashboard/settings/providers/{name}/test", dashboard_config.test_provider),
        web.get("/dashboard/static/{name}", pages.static),
        web.get("/dashboard/{tail:.*}", dashboard.missing),
    ]
