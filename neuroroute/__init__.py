"""
NeuroRoute: an OpenAI-compatible proxy that sends each request to the model that suits it best.

THE MAP. A floor imports only floors below it; packages on one floor do not know each other; what they share stands in `core`, and what
joins them in `chain`.

    __main__   `python -m neuroroute`, and the nursery of a supervisor
    cli        the commands (line): keys users models providers config (assignments) migrate alerts doctor usage launch (coding tools) route (offline expect) replay refit, docs
               (the README's tables) | backup, imports (moving: apply deployments draft litellm litellm_keys litellm_settings openrouter services)
               | out: how they print
    serve      run a process: run process supervisor nursery worker listener database banner
    app        the composition root: Settings -> Services -> web.Application
    web        the aiohttp edge: routes (the table) | server (drain) connection (deadlines) errors (the root middleware) sink whole state lifecycle
               identity bodies peers paths cors | inference straight streams stored count_tokens prompt route feedback models usage | admin_users
               admin_keys admin_cache admin_config admin_catalog admin_audit admin_alerts admin_silences schemas | session forms dashboard dashboard_alerts
               dashboard_call dashboard_config dashboard_keys dashboard_routing dashboard_tools pages pages_chart | ops openapi llms
    chain      the life of a call: life (READ FIRST) call services | one stage each: auth overload parse rate_limit cache classify plan reserve
               dispatch hedge settle answer | shapes steering conversation replies stored owned tapes tapes_shared (resumable) texts semantic flight flight_shared (joined) repeats
               meter trace gauges allowance | limit_rules budget_rules offer | versions changes private_hosts | learning judging refit
    access     whose key is it: keyring snapshot keys
    adapters   between dialects: base, relay (relay_chat relay_choices relay_events) pass_through, chat_to_anthropic (chat_messages prompt_cache anthropic_answers),
               over_chat: messages_to_openai (messages_answers) responses_to_chat (responses_answers responses_items) completions_to_chat |
               streams template refusals families tokens_used stops naming upstream shapes | the network: transport, lane (lane_base
               lane_connection lane_coding), discovery probe, demo (demo_text demo_schema)
    routing    which model: facts catalog build offers | decision rules forecast strategies router threads explain | health | what is
               learned: evidence posteriors explore trail replay refit judge | refresh priors (made by hand)
    classifier what kind of prompt: features lexicon language difficulty model table labels success batch | train evaluate recipe fit data
               augment measure metrics many card chart | corpus, weights
    limits     may it go on: rate window concurrency places queue throttle | budget account | the common store: leases share book neighbours
    caching    was it answered before: keys policy entry responses forms likeness
    accounting what did it cost: cost units ledger flusher | journal frames records recovery
    telemetry  what happens: metrics series shared | watch alert_rules figures machine, alerts (the webhook) | tracing semconv
    store      the tables: postgres embedded embedded_install migrate backup columns | users api_keys sessions usage usage_sums usage_times spend budgets alerts alert_silences responses objects
               semantic feedback learned call_texts provider_keys config audit secrets | Redis or memory: kv kv_memory kv_redis kv_cluster
    core       dataclass errors types settings config sealing redaction addresses gate production jsonbytes sse tokens money value clock ids log tasks patience

The life of a call (chain.life):

    auth -> parse -> rate_limit -> (cache hit? answer) -> (asked already? join) -> classify -> plan -> reserve -> dispatch -> sink -> settle
"""

__version__ = "0.1.0"
