"""
NeuroRoute: an OpenAI-compatible proxy that sends each request to the model that suits it best.

THE MAP. A floor imports only floors below it; packages on one floor do not know each other; what they share stands in `core`, and what
joins them in `chain`.

    cli        the commands: serve, migrate, keys, users, models, config, route, doctor, docs (out: how they print)
    serve      run a process: run, process, worker, supervisor, listener, database, banner
    app        the composition root: Settings -> Services -> web.Application
    web        the aiohttp edge: routes (the table) | server (deadlines, drain) errors (the root middleware) sink state lifecycle identity bodies |
               peers paths cors | inference count_tokens stored prompt route models admin_users admin_keys schemas ops openapi
    chain      the life of a call: life (READ FIRST) call services | auth parse rate_limit cache classify plan dispatch settle, one stage each |
               shapes steering conversation meter stored replies limit_rules offer
    access     whose key is it: keyring snapshot keys
    adapters   between dialects: base relay chat_to_anthropic ... and the only door to the network: transport (lane, demo, discovery)
    routing    which model: facts catalog build offers | decision rules forecast strategies router explain | health | refresh
    classifier what kind of prompt: features lexicon language difficulty model table labels success batch | train evaluate recipe fit data augment
               measure metrics many card chart | corpus, weights
    limits     may it go on: rate (window, leases, share) concurrency budget
    caching    was it answered before: keys policy responses
    accounting what did it cost: cost ledger journal flusher recovery
    telemetry  what happens: metrics series shared
    store      the tables and Redis: postgres embedded migrate | users api_keys usage responses ... | kv kv_memory kv_redis
    core       errors types settings config jsonbytes sse tokens value clock ids log tasks

The life of a call (chain.life):

    auth -> parse -> rate_limit -> (cache hit? answer) -> classify -> plan -> dispatch -> sink -> settle
"""

__version__ = "0.1.0"
