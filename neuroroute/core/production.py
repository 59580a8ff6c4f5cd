"""What in the settings is fit for a trial and not for NODE_ENV=production. Nothing is refused: it is told at the start, and by `neuroroute doctor`."""

from neuroroute.core.settings import Settings


def risks(settings: Settings) -> list[tuple[str, str]]:
    """(what is found, what to do) for each; empty unless this is production."""
    if settings.node_env != "production":
        return []
    host = settings.api_url.partition("://")[2].partition("/")[0].partition(":")[0]
    looked_at = (
        (settings.database_url is None, "the embedded database", "Set DATABASE_URL to a server that is backed up."),
        (settings.neuroroute_secret_key is None, "no NEUROROUTE_SECRET_KEY", "Set it: the file secret.key is on this machine alone."),
        ("api_url" not in settings.model_fields_set or host == "localhost", "API_URL names this machine", "Set it to where clients reach the gateway."),
        (settings.enable_metrics and settings.metrics_token is None, "metrics that anybody may read", "Set METRICS_TOKEN, or close METRICS_PATH to the outside."),
        ("*" in settings.cors_origins, "CORS_ORIGINS=*", "Name the origins whose pages may call the API."),
        (settings.neuroroute_demo, "NEUROROUTE_DEMO=true", "Take it away: its answers are simulated."),
        (settings.store_prompts and not settings.store_prompts_masked, "STORE_PROMPTS_MASKED=false", "Mask what gives people away before it is kept."),
    )  # fmt: skip
    return [(found, remedy) for is_so, found, remedy in looked_at if is_so]
