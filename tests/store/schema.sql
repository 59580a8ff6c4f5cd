-- The schema after all migrations. Written by: NEUROROUTE_WRITE_SCHEMA=1 pytest tests/store/test_schema.py

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

CREATE TABLE models (
    name text NOT NULL,
    config jsonb NOT NULL,
    enabled boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT models_pkey PRIMARY KEY (name)
);
CREATE TRIGGER models_changed AFTER INSERT OR DELETE OR UPDATE ON public.models FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_catalog', 'name');

CREATE TABLE providers (
    name text NOT NULL,
    config jsonb NOT NULL,
    sealed_key bytea,
    enabled boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT providers_pkey PRIMARY KEY (name)
);
CREATE TRIGGER providers_changed AFTER INSERT OR DELETE OR UPDATE ON public.providers FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_catalog', 'name');

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
CREATE INDEX usage_records_by_model ON public.usage_records USING btree (model, created_at DESC, request_id DESC);
CREATE INDEX usage_records_by_tag ON public.usage_records USING gin (tags jsonb_path_ops) WHERE (tags <> '{}'::jsonb);
CREATE INDEX usage_records_by_time ON public.usage_records USING btree (created_at DESC, request_id DESC);
CREATE INDEX usage_records_by_user ON public.usage_records USING btree (user_id, created_at DESC, request_id DESC);
CREATE INDEX usage_records_not_ok ON public.usage_records USING btree (created_at DESC, request_id DESC) WHERE (status <> 'ok'::text);

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
