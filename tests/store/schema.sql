-- The schema after all migrations. Written by: NEUROROUTE_WRITE_SCHEMA=1 pytest tests/store/test_schema.py

CREATE TABLE alert_reports (
    instance text NOT NULL,
    at timestamp with time zone NOT NULL,
    report jsonb NOT NULL,
    CONSTRAINT alert_reports_pkey PRIMARY KEY (instance)
);

CREATE TABLE alert_silences (
    id text NOT NULL,
    name text,
    subject text,
    until timestamp with time zone NOT NULL,
    comment text NOT NULL,
    created_by text,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT alert_silences_pkey PRIMARY KEY (id)
);

CREATE TABLE alert_watch (
    one boolean NOT NULL DEFAULT true,
    holder text NOT NULL,
    until timestamp with time zone NOT NULL,
    at timestamp with time zone NOT NULL,
    rules jsonb NOT NULL,
    CONSTRAINT alert_watch_one_check CHECK (one),
    CONSTRAINT alert_watch_pkey PRIMARY KEY (one)
);

CREATE TABLE alerts (
    id text NOT NULL,
    name text NOT NULL,
    rule text NOT NULL,
    subject text NOT NULL,
    value double precision NOT NULL,
    above double precision NOT NULL,
    unit text NOT NULL,
    message text NOT NULL,
    instance text NOT NULL,
    fired_at timestamp with time zone NOT NULL,
    resolved_at timestamp with time zone,
    acknowledged_at timestamp with time zone,
    acknowledged_by text,
    told_at timestamp with time zone,
    telling_failed text,
    CONSTRAINT alerts_pkey PRIMARY KEY (id)
);
CREATE INDEX alerts_by_time ON public.alerts USING btree (fired_at, id);
CREATE UNIQUE INDEX alerts_open ON public.alerts USING btree (name, subject) WHERE (resolved_at IS NULL);

CREATE TABLE api_keys (
    id text NOT NULL,
    user_id text NOT NULL,
    name text NOT NULL,
    digest bytea NOT NULL,
    display text NOT NULL,
    previous_digest bytea,
    previous_until timestamp with time zone,
    allowed_models text[],
    limits jsonb NOT NULL,
    budget jsonb,
    expires_at timestamp with time zone,
    tags jsonb NOT NULL,
    status text NOT NULL,
    last_used_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    on_disconnect text NOT NULL DEFAULT 'cancel'::text,
    semantic_cache boolean,
    allowed_routes text[],
    allowed_ips text[],
    store_prompts boolean NOT NULL DEFAULT true,
    CONSTRAINT api_keys_digest_key UNIQUE (digest),
    CONSTRAINT api_keys_on_disconnect_check CHECK ((on_disconnect = ANY (ARRAY['cancel'::text, 'finish'::text, 'detach'::text]))),
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_previous_digest_key UNIQUE (previous_digest),
    CONSTRAINT api_keys_status_check CHECK ((status = ANY (ARRAY['active'::text, 'revoked'::text]))),
    CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);
CREATE INDEX api_keys_by_time ON public.api_keys USING btree (created_at DESC, id DESC);
CREATE INDEX api_keys_by_user ON public.api_keys USING btree (user_id, created_at DESC);
CREATE TRIGGER api_keys_changed AFTER INSERT OR DELETE OR UPDATE OF user_id, digest, previous_digest, previous_until, allowed_models, limits, budget, expires_at, tags, status ON public.api_keys FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_keys', 'id');

CREATE TABLE audit_log (
    id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    actor_key_id text,
    actor_user_id text,
    action text NOT NULL,
    target text NOT NULL,
    before jsonb,
    after jsonb,
    address text,
    request_id text,
    CONSTRAINT audit_log_pkey PRIMARY KEY (id)
);
CREATE INDEX audit_log_by_actor ON public.audit_log USING btree (actor_user_id, created_at DESC);
CREATE INDEX audit_log_by_target ON public.audit_log USING btree (target, created_at DESC);
CREATE INDEX audit_log_by_time ON public.audit_log USING btree (created_at DESC, id DESC);

CREATE TABLE budget_holds (
    scope text NOT NULL,
    subject text NOT NULL,
    period text NOT NULL,
    holder text NOT NULL,
    held_nanousd numeric NOT NULL,
    free_nanousd numeric NOT NULL,
    calls bigint NOT NULL,
    until timestamp with time zone NOT NULL,
    turn bigint NOT NULL DEFAULT 0,
    CONSTRAINT budget_holds_pkey PRIMARY KEY (scope, subject, period, holder)
) WITH (fillfactor=50);

CREATE TABLE call_texts (
    request_id text NOT NULL,
    user_id text NOT NULL,
    prompt text NOT NULL,
    answer text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT call_texts_pkey PRIMARY KEY (request_id),
    CONSTRAINT call_texts_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);
CREATE INDEX call_texts_by_time ON public.call_texts USING btree (created_at);
CREATE INDEX call_texts_by_user ON public.call_texts USING btree (user_id);

CREATE TABLE config_versions (
    version bigint NOT NULL,
    config jsonb NOT NULL,
    author text NOT NULL,
    comment text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT config_versions_pkey PRIMARY KEY (version)
);
CREATE TRIGGER config_changed AFTER INSERT ON public.config_versions FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_config', 'version');

CREATE TABLE feedback (
    id text NOT NULL,
    request_id text NOT NULL,
    key_id text NOT NULL,
    user_id text NOT NULL,
    score real NOT NULL,
    correct_model text,
    comment text,
    created_at timestamp with time zone NOT NULL,
    label text,
    CONSTRAINT feedback_pkey PRIMARY KEY (id),
    CONSTRAINT feedback_request_id_key_id_key UNIQUE (request_id, key_id),
    CONSTRAINT feedback_score_check CHECK (((score >= ('-1'::integer)::double precision) AND (score <= (1)::double precision)))
);
CREATE INDEX feedback_by_time ON public.feedback USING btree (created_at DESC, id DESC);

CREATE TABLE learned_counts (
    version bigint NOT NULL,
    model text NOT NULL,
    label text NOT NULL,
    tercile smallint NOT NULL,
    good double precision NOT NULL,
    bad double precision NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT learned_counts_pkey PRIMARY KEY (version, model, label, tercile),
    CONSTRAINT learned_counts_tercile_check CHECK (((tercile >= 0) AND (tercile <= 2)))
);

CREATE TABLE learned_versions (
    version bigint NOT NULL,
    origin text NOT NULL,
    priors jsonb NOT NULL,
    report jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT learned_versions_origin_check CHECK ((origin = ANY (ARRAY['refit'::text, 'rollback'::text]))),
    CONSTRAINT learned_versions_pkey PRIMARY KEY (version)
);
CREATE TRIGGER learned_changed AFTER INSERT ON public.learned_versions FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_learned', 'version');

CREATE TABLE migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone NOT NULL,
    CONSTRAINT migrations_pkey PRIMARY KEY (name)
);

CREATE TABLE owned_objects (
    id text NOT NULL,
    user_id text NOT NULL,
    provider text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT owned_objects_pkey PRIMARY KEY (id)
);

CREATE TABLE provider_keys (
    name text NOT NULL,
    sealed bytea NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT provider_keys_pkey PRIMARY KEY (name)
);

CREATE TABLE server_secrets (
    name text NOT NULL,
    value bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT server_secrets_pkey PRIMARY KEY (name)
);

CREATE TABLE sessions (
    digest bytea NOT NULL,
    key_id text NOT NULL,
    key_digest bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT sessions_key_id_fkey FOREIGN KEY (key_id) REFERENCES api_keys(id) ON DELETE CASCADE,
    CONSTRAINT sessions_pkey PRIMARY KEY (digest)
);
CREATE INDEX sessions_by_key ON public.sessions USING btree (key_id);
CREATE INDEX sessions_expiry ON public.sessions USING btree (expires_at);

CREATE TABLE stored_responses (
    id text NOT NULL,
    user_id text NOT NULL,
    provider text NOT NULL,
    response bytea,
    input bytea,
    conversation bytea,
    item_ids text[] NOT NULL DEFAULT '{}'::text[],
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT stored_responses_pkey PRIMARY KEY (id)
);
CREATE INDEX stored_responses_expiry ON public.stored_responses USING btree (expires_at);
CREATE INDEX stored_responses_items ON public.stored_responses USING gin (item_ids);

CREATE TABLE usage_daily (
    part text NOT NULL,
    a text NOT NULL,
    b text NOT NULL,
    at timestamp with time zone NOT NULL,
    calls bigint NOT NULL,
    errors bigint NOT NULL,
    cached_calls bigint NOT NULL,
    prompt_tokens numeric NOT NULL,
    completion_tokens numeric NOT NULL,
    cached_tokens numeric NOT NULL,
    reasoning_tokens numeric NOT NULL,
    cost_nanousd numeric NOT NULL,
    saved_nanousd numeric NOT NULL,
    unpriced_calls bigint NOT NULL,
    latency_ms double precision NOT NULL,
    latency_calls bigint NOT NULL,
    ttft_ms double precision NOT NULL,
    ttft_calls bigint NOT NULL,
    overhead_ms double precision NOT NULL,
    overhead_calls bigint NOT NULL,
    joined_calls bigint NOT NULL DEFAULT 0,
    missed_calls bigint NOT NULL DEFAULT 0,
    cache_saved_nanousd numeric NOT NULL DEFAULT 0,
    cache_saved_ms double precision NOT NULL DEFAULT 0,
    CONSTRAINT usage_daily_pkey PRIMARY KEY (part, a, b, at)
) WITH (fillfactor=50);
CREATE INDEX usage_daily_by_time ON public.usage_daily USING btree (part, at);

CREATE TABLE usage_histograms (
    part text NOT NULL,
    a text NOT NULL,
    b text NOT NULL,
    span text NOT NULL,
    at timestamp with time zone NOT NULL,
    latency bigint[] NOT NULL,
    ttft bigint[] NOT NULL,
    overhead bigint[] NOT NULL,
    CONSTRAINT usage_histograms_pkey PRIMARY KEY (part, a, b, span, at)
) WITH (fillfactor=50, toast_tuple_target=8160);

CREATE TABLE usage_hourly (
    part text NOT NULL,
    a text NOT NULL,
    b text NOT NULL,
    at timestamp with time zone NOT NULL,
    calls bigint NOT NULL,
    errors bigint NOT NULL,
    cached_calls bigint NOT NULL,
    prompt_tokens numeric NOT NULL,
    completion_tokens numeric NOT NULL,
    cached_tokens numeric NOT NULL,
    reasoning_tokens numeric NOT NULL,
    cost_nanousd numeric NOT NULL,
    saved_nanousd numeric NOT NULL,
    unpriced_calls bigint NOT NULL,
    latency_ms double precision NOT NULL,
    latency_calls bigint NOT NULL,
    ttft_ms double precision NOT NULL,
    ttft_calls bigint NOT NULL,
    overhead_ms double precision NOT NULL,
    overhead_calls bigint NOT NULL,
    joined_calls bigint NOT NULL DEFAULT 0,
    missed_calls bigint NOT NULL DEFAULT 0,
    cache_saved_nanousd numeric NOT NULL DEFAULT 0,
    cache_saved_ms double precision NOT NULL DEFAULT 0,
    CONSTRAINT usage_hourly_pkey PRIMARY KEY (part, a, b, at)
) WITH (fillfactor=50);
CREATE INDEX usage_hourly_part_at_idx ON public.usage_hourly USING btree (part, at);

CREATE TABLE usage_records (
    request_id text NOT NULL,
    client_request_id text,
    created_at timestamp with time zone NOT NULL,
    key_id text NOT NULL,
    user_id text NOT NULL,
    dialect text NOT NULL,
    endpoint text,
    stream boolean NOT NULL,
    requested_model text NOT NULL,
    model text,
    provider text,
    label text,
    difficulty real,
    language text,
    policy text,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    cache_write_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    tokens_source text NOT NULL,
    cost_nanousd bigint,
    baseline_cost_nanousd bigint,
    cache text NOT NULL,
    attempts smallint NOT NULL,
    status text NOT NULL,
    http_status smallint NOT NULL,
    error_code text,
    latency_ms real,
    ttft_ms real,
    overhead_ms real,
    tags jsonb NOT NULL,
    decision jsonb,
    CONSTRAINT usage_records_pkey PRIMARY KEY (request_id)
) WITH (autovacuum_analyze_scale_factor=0.02, autovacuum_vacuum_insert_scale_factor=0.02);
CREATE INDEX usage_records_by_client_request ON public.usage_records USING btree (client_request_id) WHERE (client_request_id IS NOT NULL);
CREATE INDEX usage_records_by_key ON public.usage_records USING btree (key_id, created_at DESC, request_id DESC);
CREATE INDEX usage_records_by_label ON public.usage_records USING btree (label, created_at DESC, request_id DESC);
CREATE INDEX usage_records_by_model ON public.usage_records USING btree (model, created_at DESC, request_id DESC);
CREATE INDEX usage_records_by_tag ON public.usage_records USING gin (tags jsonb_path_ops) WHERE (tags <> '{}'::jsonb);
CREATE INDEX usage_records_by_time ON public.usage_records USING btree (created_at DESC, request_id DESC);
CREATE INDEX usage_records_by_user ON public.usage_records USING btree (user_id, created_at DESC, request_id DESC);
CREATE INDEX usage_records_status ON public.usage_records USING btree (status, created_at DESC, request_id DESC) WHERE (status <> 'ok'::text);
CREATE TRIGGER usage_records_sums AFTER INSERT ON public.usage_records REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION keep_sums();

CREATE TABLE users (
    id text NOT NULL,
    name text NOT NULL,
    email text,
    role text NOT NULL,
    status text NOT NULL,
    limits jsonb NOT NULL,
    budget jsonb,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['admin'::text, 'user'::text, 'viewer'::text]))),
    CONSTRAINT users_status_check CHECK ((status = ANY (ARRAY['active'::text, 'disabled'::text])))
);
CREATE INDEX users_by_time ON public.users USING btree (created_at DESC, id DESC);
CREATE TRIGGER users_changed AFTER DELETE OR UPDATE ON public.users FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_keys', 'id');

CREATE VIEW usage_times AS
SELECT usage_histograms.part,
    usage_histograms.a,
    usage_histograms.b,
    usage_histograms.span,
    usage_histograms.at,
    of.metric,
    (((of.low + counted.nth) - 1))::smallint AS bucket,
    counted.calls
   FROM ((usage_histograms
     CROSS JOIN LATERAL ( VALUES ('latency'::text,usage_histograms.latency,array_lower(usage_histograms.latency, 1)), ('ttft'::text,usage_histograms.ttft,array_lower(usage_histograms.ttft, 1)), ('overhead'::text,usage_histograms.overhead,array_lower(usage_histograms.overhead, 1))) of(metric, buckets, low))
     CROSS JOIN LATERAL unnest(of.buckets) WITH ORDINALITY counted(calls, nth))
  WHERE (counted.calls IS NOT NULL);

CREATE OR REPLACE FUNCTION public.hold_money(scope_ text, subject_ text, period_ text, since timestamp with time zone, most numeric, strict boolean, held numeric, free numeric, running bigint, need numeric, one numeric, holder_ text, turn_ bigint, parts bigint, ttl_s double precision, OUT spent numeric, OUT others numeric, OUT others_free numeric, OUT holders bigint, OUT granted numeric)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
    moment timestamptz;
    others_run bigint;
    known_turn bigint;
    room numeric;
    lack numeric := greatest(one - free, 0);
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(hashtextextended(scope_ || ' ' || subject_ || ' ' || period_, 7239457));
    moment := clock_timestamp();
    SELECT coalesce(sum(cost_nanousd), 0) INTO spent FROM usage_daily AS d
    WHERE at >= since AND d.part = scope_
        AND d.a = CASE WHEN scope_ = 'tag' THEN split_part(subject_, '=', 1) ELSE subject_ END
        AND d.b = CASE WHEN scope_ = 'tag' THEN substr(subject_, strpos(subject_, '=') + 1) ELSE '' END;
    SELECT coalesce(sum(held_nanousd), 0), coalesce(sum(free_nanousd), 0), coalesce(sum(calls), 0), count(*) + 1
    INTO others, others_free, others_run, holders FROM budget_holds AS h
    WHERE h.scope = scope_ AND h.subject = subject_ AND h.period = period_ AND h.holder <> holder_ AND h.until > moment;
    granted := 0;
    SELECT h.turn INTO known_turn FROM budget_holds AS h
    WHERE h.scope = scope_ AND h.subject = subject_ AND h.period = period_ AND h.holder = holder_;
    IF known_turn >= turn_ THEN
        RETURN;
    END IF;
    room := most - spent - others - held;
    IF need > 0 THEN
        IF room >= need THEN
            granted := greatest(need, trunc(room / greatest(holders, parts)));
        ELSIF room > 0 AND room >= lack THEN
            granted := room;
        ELSIF room + free > 0 AND running = 0 AND others_run = 0 AND NOT strict THEN
            granted := lack;
        END IF;
    END IF;
    IF held + granted > 0 OR running > 0 THEN
        INSERT INTO budget_holds AS h
        VALUES (
            scope_, subject_, period_, holder_, held + granted, free + granted, running + (need > 0 AND granted > 0)::int,
            moment + ttl_s * interval '1 second', turn_
        )
        ON CONFLICT (scope, subject, period, holder) DO UPDATE SET
            held_nanousd = excluded.held_nanousd, free_nanousd = excluded.free_nanousd, calls = excluded.calls, until = excluded.until,
            turn = excluded.turn;
    ELSE
        DELETE FROM budget_holds AS h WHERE h.scope = scope_ AND h.subject = subject_ AND h.period = period_ AND h.holder = holder_;
    END IF;
END
$function$;
CREATE OR REPLACE FUNCTION public.hold_money(scope_ text, subject_ text, period_ text, since timestamp with time zone, most numeric, holder_ text, held numeric, free numeric, running bigint, need numeric, one numeric, want numeric, ttl_s double precision, OUT spent numeric, OUT others numeric, OUT others_free numeric, OUT holders bigint, OUT granted numeric)
 RETURNS record
 LANGUAGE plpgsql
AS $function$
DECLARE
    moment timestamptz := clock_timestamp();
    others_run bigint;
    room numeric;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(scope_ || ' ' || subject_ || ' ' || period_, 7239457));
    SELECT coalesce(sum(cost_nanousd), 0) INTO spent FROM usage_daily AS d
    WHERE at >= since AND d.part = scope_
        AND d.a = CASE WHEN scope_ = 'tag' THEN split_part(subject_, '=', 1) ELSE subject_ END
        AND d.b = CASE WHEN scope_ = 'tag' THEN substr(subject_, strpos(subject_, '=') + 1) ELSE '' END;
    SELECT coalesce(sum(held_nanousd), 0), coalesce(sum(free_nanousd), 0), coalesce(sum(calls), 0), count(*) + 1
    INTO others, others_free, others_run, holders FROM budget_holds AS h
    WHERE h.scope = scope_ AND h.subject = subject_ AND h.period = period_ AND h.holder <> holder_ AND h.until > moment;
    room := most - spent - others - held;
    granted := 0;
    IF need > 0 THEN
        IF room >= need THEN
            granted := greatest(need, least(want, trunc(room / (2 * holders))));
        ELSIF room >= one THEN
            granted := room;
        ELSIF room > 0 AND running = 0 AND others_run = 0 THEN
            granted := one;
        END IF;
    END IF;
    IF held + granted > 0 OR running > 0 THEN
        INSERT INTO budget_holds AS h
        VALUES (scope_, subject_, period_, holder_, held + granted, free + granted, running + (need > 0 AND granted > 0)::int, moment + ttl_s * interval '1 second')
        ON CONFLICT (scope, subject, period, holder) DO UPDATE SET
            held_nanousd = excluded.held_nanousd, free_nanousd = excluded.free_nanousd, calls = excluded.calls, until = excluded.until;
    ELSE
        DELETE FROM budget_holds AS h WHERE h.scope = scope_ AND h.subject = subject_ AND h.period = period_ AND h.holder = holder_;
    END IF;
END
$function$;
CREATE OR REPLACE FUNCTION public.keep_sums()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    WITH call AS MATERIALIZED (
        SELECT date_trunc('day', created_at, 'UTC') AS day, date_trunc('hour', created_at, 'UTC') AS hour, key_id, user_id,
            coalesce(model, '') AS model, coalesce(provider, '') AS provider, coalesce(label, '') AS label, tags, status, cache,
            prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, cost_nanousd, baseline_cost_nanousd, latency_ms, ttft_ms, overhead_ms,
            CASE WHEN cache IN ('hit', 'joined') THEN (decision -> 'spared' ->> 0)::numeric END AS spared_nanousd,
            CASE WHEN cache IN ('hit', 'joined') THEN (decision -> 'spared' ->> 1)::float8 END AS spared_ms,
            time_bucket(latency_ms) AS latency_bucket, time_bucket(ttft_ms) AS ttft_bucket, time_bucket(overhead_ms) AS overhead_bucket
        FROM fresh
    ),
    sets AS (
        SELECT grouping(key_id, user_id, model, provider, label) AS others, day, hour, key_id, user_id, model, provider, label,
            count(*) AS calls,
            count(*) FILTER (WHERE status NOT IN ('ok', 'client_gone')) AS errors,
            count(*) FILTER (WHERE cache IN ('hit', 'joined')) AS cached_calls,
            sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens, sum(cached_tokens) AS cached_tokens,
            sum(reasoning_tokens) AS reasoning_tokens,
            coalesce(sum(cost_nanousd), 0) AS cost_nanousd,
            coalesce(sum(baseline_cost_nanousd) FILTER (WHERE cost_nanousd IS NOT NULL), 0)
                - coalesce(sum(cost_nanousd) FILTER (WHERE baseline_cost_nanousd IS NOT NULL), 0) AS saved_nanousd,
            count(*) FILTER (WHERE cost_nanousd IS NULL AND prompt_tokens::numeric + completion_tokens > 0) AS unpriced_calls,
            coalesce(sum(latency_ms::float8), 0) AS latency_ms, count(latency_ms) AS latency_calls,
            coalesce(sum(ttft_ms::float8), 0) AS ttft_ms, count(ttft_ms) AS ttft_calls,
            coalesce(sum(overhead_ms::float8), 0) AS overhead_ms, count(overhead_ms) AS overhead_calls,
            count(*) FILTER (WHERE cache = 'joined') AS joined_calls,
            count(*) FILTER (WHERE cache = 'miss') AS missed_calls,
            coalesce(sum(spared_nanousd), 0) AS cache_saved_nanousd,
            coalesce(sum(spared_ms), 0) AS cache_saved_ms,
            array_agg(latency_bucket) FILTER (WHERE latency_ms IS NOT NULL) AS latency,
            array_agg(ttft_bucket) FILTER (WHERE ttft_ms IS NOT NULL) AS ttft,
            array_agg(overhead_bucket) FILTER (WHERE overhead_ms IS NOT NULL) AS overhead
        FROM call
        GROUP BY GROUPING SETS (
            (day), (day, key_id), (day, user_id), (day, model), (day, provider), (day, label), (day, key_id, model), (day, key_id, label),
            (day, user_id, key_id), (day, user_id, model), (day, user_id, label), (day, model, label),
            (hour), (hour, key_id), (hour, user_id), (hour, model), (hour, provider), (hour, label)
        )
    ),
    found AS MATERIALIZED (
        SELECT
            CASE others                      -- 16 key, 8 user, 4 model, 2 provider, 1 label: those that are not told apart
                WHEN 31 THEN 'all' WHEN 15 THEN 'key' WHEN 23 THEN 'user' WHEN 27 THEN 'model' WHEN 29 THEN 'provider' WHEN 30 THEN 'label'
                WHEN 11 THEN 'key model' WHEN 14 THEN 'key label' WHEN 7 THEN 'user key' WHEN 19 THEN 'user model' WHEN 22 THEN 'user label'
                WHEN 26 THEN 'model label'
            END AS part,
            CASE WHEN others = 7 THEN user_id ELSE coalesce(key_id, user_id, model, provider, label, '') END AS a,
            CASE WHEN others = 7 THEN key_id WHEN others IN (11, 19) THEN model WHEN others IN (14, 22, 26) THEN label ELSE '' END AS b,
            CASE WHEN day IS NULL THEN 'hour' ELSE 'day' END AS grain, coalesce(day, hour) AS at,
            calls, errors, cached_calls, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens,
            cost_nanousd, saved_nanousd, unpriced_calls, latency_ms, latency_calls, ttft_ms, ttft_calls, overhead_ms, overhead_calls, joined_calls,
            missed_calls, cache_saved_nanousd, cache_saved_ms, latency, ttft, overhead
        FROM sets
        UNION ALL
        SELECT 'tag', tag.key, tag.value, 'day', day,
            count(*) AS calls,
            count(*) FILTER (WHERE status NOT IN ('ok', 'client_gone')) AS errors,
            count(*) FILTER (WHERE cache IN ('hit', 'joined')) AS cached_calls,
            sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens, sum(cached_tokens) AS cached_tokens,
            sum(reasoning_tokens) AS reasoning_tokens,
            coalesce(sum(cost_nanousd), 0) AS cost_nanousd,
            coalesce(sum(baseline_cost_nanousd) FILTER (WHERE cost_nanousd IS NOT NULL), 0)
                - coalesce(sum(cost_nanousd) FILTER (WHERE baseline_cost_nanousd IS NOT NULL), 0) AS saved_nanousd,
            count(*) FILTER (WHERE cost_nanousd IS NULL AND prompt_tokens::numeric + completion_tokens > 0) AS unpriced_calls,
            coalesce(sum(latency_ms::float8), 0) AS latency_ms, count(latency_ms) AS latency_calls,
            coalesce(sum(ttft_ms::float8), 0) AS ttft_ms, count(ttft_ms) AS ttft_calls,
            coalesce(sum(overhead_ms::float8), 0) AS overhead_ms, count(overhead_ms) AS overhead_calls,
            count(*) FILTER (WHERE cache = 'joined') AS joined_calls,
            count(*) FILTER (WHERE cache = 'miss') AS missed_calls,
            coalesce(sum(spared_nanousd), 0) AS cache_saved_nanousd,
            coalesce(sum(spared_ms), 0) AS cache_saved_ms,
            array_agg(latency_bucket) FILTER (WHERE latency_ms IS NOT NULL) AS latency,
            array_agg(ttft_bucket) FILTER (WHERE ttft_ms IS NOT NULL) AS ttft,
            array_agg(overhead_bucket) FILTER (WHERE overhead_ms IS NOT NULL) AS overhead
        FROM call CROSS JOIN LATERAL jsonb_each_text(tags) AS tag (key, value)
        GROUP BY tag.key, tag.value, day
    ),
    days AS (
        INSERT INTO usage_daily AS kept (
            part, a, b, at, calls, errors, cached_calls, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens,
            cost_nanousd, saved_nanousd, unpriced_calls, latency_ms, latency_calls, ttft_ms, ttft_calls, overhead_ms, overhead_calls, joined_calls,
            missed_calls, cache_saved_nanousd, cache_saved_ms
        )
        SELECT
            part, a, b, at, calls, errors, cached_calls, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens,
            cost_nanousd, saved_nanousd, unpriced_calls, latency_ms, latency_calls, ttft_ms, ttft_calls, overhead_ms, overhead_calls, joined_calls,
            missed_calls, cache_saved_nanousd, cache_saved_ms
        FROM found WHERE grain = 'day'
        ORDER BY part, a, b, at              -- all writers in one order: none waits for another in a circle
        ON CONFLICT (part, a, b, at) DO UPDATE SET
            calls = kept.calls + excluded.calls, errors = kept.errors + excluded.errors, cached_calls = kept.cached_calls + excluded.cached_calls,
            prompt_tokens = kept.prompt_tokens + excluded.prompt_tokens, completion_tokens = kept.completion_tokens + excluded.completion_tokens,
            cached_tokens = kept.cached_tokens + excluded.cached_tokens, reasoning_tokens = kept.reasoning_tokens + excluded.reasoning_tokens,
            cost_nanousd = kept.cost_nanousd + excluded.cost_nanousd, saved_nanousd = kept.saved_nanousd + excluded.saved_nanousd,
            unpriced_calls = kept.unpriced_calls + excluded.unpriced_calls,
            latency_ms = kept.latency_ms + excluded.latency_ms, latency_calls = kept.latency_calls + excluded.latency_calls,
            ttft_ms = kept.ttft_ms + excluded.ttft_ms, ttft_calls = kept.ttft_calls + excluded.ttft_calls,
            overhead_ms = kept.overhead_ms + excluded.overhead_ms, overhead_calls = kept.overhead_calls + excluded.overhead_calls,
            joined_calls = kept.joined_calls + excluded.joined_calls, missed_calls = kept.missed_calls + excluded.missed_calls,
            cache_saved_nanousd = kept.cache_saved_nanousd + excluded.cache_saved_nanousd,
            cache_saved_ms = kept.cache_saved_ms + excluded.cache_saved_ms
    ),
    hours AS (
        INSERT INTO usage_hourly AS kept (
            part, a, b, at, calls, errors, cached_calls, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens,
            cost_nanousd, saved_nanousd, unpriced_calls, latency_ms, latency_calls, ttft_ms, ttft_calls, overhead_ms, overhead_calls, joined_calls,
            missed_calls, cache_saved_nanousd, cache_saved_ms
        )
        SELECT
            part, a, b, at, calls, errors, cached_calls, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens,
            cost_nanousd, saved_nanousd, unpriced_calls, latency_ms, latency_calls, ttft_ms, ttft_calls, overhead_ms, overhead_calls, joined_calls,
            missed_calls, cache_saved_nanousd, cache_saved_ms
        FROM found WHERE grain = 'hour'
        ORDER BY part, a, b, at              -- all writers in one order: none waits for another in a circle
        ON CONFLICT (part, a, b, at) DO UPDATE SET
            calls = kept.calls + excluded.calls, errors = kept.errors + excluded.errors, cached_calls = kept.cached_calls + excluded.cached_calls,
            prompt_tokens = kept.prompt_tokens + excluded.prompt_tokens, completion_tokens = kept.completion_tokens + excluded.completion_tokens,
            cached_tokens = kept.cached_tokens + excluded.cached_tokens, reasoning_tokens = kept.reasoning_tokens + excluded.reasoning_tokens,
            cost_nanousd = kept.cost_nanousd + excluded.cost_nanousd, saved_nanousd = kept.saved_nanousd + excluded.saved_nanousd,
            unpriced_calls = kept.unpriced_calls + excluded.unpriced_calls,
            latency_ms = kept.latency_ms + excluded.latency_ms, latency_calls = kept.latency_calls + excluded.latency_calls,
            ttft_ms = kept.ttft_ms + excluded.ttft_ms, ttft_calls = kept.ttft_calls + excluded.ttft_calls,
            overhead_ms = kept.overhead_ms + excluded.overhead_ms, overhead_calls = kept.overhead_calls + excluded.overhead_calls,
            joined_calls = kept.joined_calls + excluded.joined_calls, missed_calls = kept.missed_calls + excluded.missed_calls,
            cache_saved_nanousd = kept.cache_saved_nanousd + excluded.cache_saved_nanousd,
            cache_saved_ms = kept.cache_saved_ms + excluded.cache_saved_ms
    )
    INSERT INTO usage_histograms AS kept (part, a, b, span, at, latency, ttft, overhead)
    SELECT part, a, b, grain, at, tally('{}'::bigint[], latency), tally('{}'::bigint[], ttft), tally('{}'::bigint[], overhead)
    FROM found
    WHERE CASE grain WHEN 'day' THEN part IN ('all', 'key', 'user', 'model', 'label', 'tag') ELSE part = 'all' END
        AND (latency IS NOT NULL OR ttft IS NOT NULL OR overhead IS NOT NULL)
    ORDER BY part, a, b, grain, at
    ON CONFLICT (part, a, b, span, at) DO UPDATE SET
        latency = tally(kept.latency, excluded.latency), ttft = tally(kept.ttft, excluded.ttft), overhead = tally(kept.overhead, excluded.overhead);
    RETURN NULL;
END
$function$;
CREATE OR REPLACE FUNCTION public.tally(kept bigint[], buckets smallint[])
 RETURNS bigint[]
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
DECLARE
    n smallint;
BEGIN
    IF buckets IS NOT NULL THEN
        FOREACH n IN ARRAY buckets LOOP
            kept[n] := coalesce(kept[n], 0) + 1;
        END LOOP;
    END IF;
    RETURN kept;
END
$function$;
CREATE OR REPLACE FUNCTION public.tally(kept bigint[], more bigint[])
 RETURNS bigint[]
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
BEGIN
    IF kept = '{}' THEN
        RETURN more;
    END IF;
    IF more <> '{}' THEN
        FOR n IN array_lower(more, 1) .. array_upper(more, 1) LOOP
            IF more[n] IS NOT NULL THEN
                kept[n] := coalesce(kept[n], 0) + more[n];
            END IF;
        END LOOP;
    END IF;
    RETURN kept;
END
$function$;
CREATE OR REPLACE FUNCTION public.tell()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM pg_notify(TG_ARGV[0], to_jsonb(OLD) ->> TG_ARGV[1]);
    ELSE
        PERFORM pg_notify(TG_ARGV[0], to_jsonb(NEW) ->> TG_ARGV[1]);
    END IF;
    RETURN NULL;
END
$function$;
CREATE OR REPLACE FUNCTION public.time_bucket(ms real)
 RETURNS smallint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN (floor((ln(LEAST(GREATEST((ms)::double precision, (0.01)::double precision), ('1000000000'::numeric)::double precision)) / ln((1.1)::double precision))))::smallint;
