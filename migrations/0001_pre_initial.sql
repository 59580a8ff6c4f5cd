-- The first schema. Ids are text with a prefix and come from the program, as do all times (UTC). Money is in 10^-9 USD.

CREATE TABLE users (
    id text PRIMARY KEY,
    name text NOT NULL,
    email text UNIQUE,
    role text NOT NULL CHECK (role IN ('admin', 'user', 'viewer')),
    status text NOT NULL CHECK (status IN ('active', 'disabled')),
    limits jsonb NOT NULL,
    budget jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX users_by_time ON users (created_at DESC, id DESC);

CREATE TABLE api_keys (
    id text PRIMARY KEY,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL,
    digest bytea NOT NULL UNIQUE,
    display text NOT NULL,
    previous_digest bytea UNIQUE,            -- of the key before the last rotation
    previous_until timestamptz,              -- how long that one still works
    allowed_models text[],                   -- null: all
    limits jsonb NOT NULL,
    budget jsonb,                            -- {usd, period}
    expires_at timestamptz,
    tags jsonb NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'revoked')),
    last_used_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX api_keys_by_time ON api_keys (created_at DESC, id DESC);
CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at DESC);

-- Processes are told of every change that they keep in memory, whoever makes it: channel, then the column that is sent.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM pg_notify(TG_ARGV[0], to_jsonb(OLD) ->> TG_ARGV[1]);
    ELSE
        PERFORM pg_notify(TG_ARGV[0], to_jsonb(NEW) ->> TG_ARGV[1]);
    END IF;
    RETURN NULL;
END
$$;
-- not for last_used_at, which changes all the time
CREATE TRIGGER api_keys_changed
    AFTER INSERT OR DELETE OR UPDATE OF user_id, digest, previous_digest, previous_until, allowed_models, limits, budget, expires_at, tags, status ON api_keys
    FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_keys', 'id');
CREATE TRIGGER users_changed AFTER DELETE OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_keys', 'id');

-- One row for each call. No foreign keys: what was used stays on the books when keys and users go, and inserts look nothing up.
CREATE TABLE usage_records (
    request_id text PRIMARY KEY,
    client_request_id text,
    created_at timestamptz NOT NULL,
    key_id text NOT NULL,
    user_id text NOT NULL,
    dialect text NOT NULL,
    endpoint text,
    stream boolean NOT NULL,
    requested_model text NOT NULL,
    model text,                              -- null: none was asked
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
    tokens_source text NOT NULL,             -- provider, counted, estimated, none
    cost_nanousd bigint,                     -- null: the price is not known
    baseline_cost_nanousd bigint,
    cache text NOT NULL,                     -- hit, miss, joined, bypass
    attempts smallint NOT NULL,
    status text NOT NULL,                    -- ok, error, client_gone, cut, interrupted
    http_status smallint NOT NULL,
    error_code text,
    latency_ms real,
    ttft_ms real,
    overhead_ms real,
    tags jsonb NOT NULL,
    decision jsonb
);
CREATE INDEX usage_records_by_time ON usage_records (created_at DESC, request_id DESC);
CREATE INDEX usage_records_by_key ON usage_records (key_id, created_at DESC, request_id DESC);
CREATE INDEX usage_records_by_user ON usage_records (user_id, created_at DESC, request_id DESC);
CREATE INDEX usage_records_by_model ON usage_records (model, created_at DESC, request_id DESC);
CREATE INDEX usage_records_not_ok ON usage_records (created_at DESC, request_id DESC) WHERE status <> 'ok';
CREATE INDEX usage_records_by_tag ON usage_records USING gin (tags jsonb_path_ops) WHERE tags <> '{}';
CREATE INDEX usage_records_by_client_request ON usage_records (client_request_id) WHERE client_request_id IS NOT NULL;
-- The table only grows: tell the planner and the cleaner of new rows early, at any size.
ALTER TABLE usage_records SET (
    autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02
);

CREATE TABLE providers (
    name text PRIMARY KEY,
    config jsonb NOT NULL,                   -- as in the configuration file, without the key
    sealed_key bytea,                        -- the provider's key, encrypted
    enabled boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE models (
    name text PRIMARY KEY,
    config jsonb NOT NULL,                   -- as in the configuration file
    enabled boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TRIGGER providers_changed AFTER INSERT OR DELETE OR UPDATE ON providers FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_catalog', 'name');
CREATE TRIGGER models_changed AFTER INSERT OR DELETE OR UPDATE ON models FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_catalog', 'name');

CREATE TABLE config_versions (
    version bigint PRIMARY KEY,
    config jsonb NOT NULL,
    author text NOT NULL,
    comment text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TRIGGER config_changed AFTER INSERT ON config_versions FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_config', 'version');

CREATE TABLE audit_log (
    id text PRIMARY KEY,
    created_at timestamptz NOT NULL,
    actor_key_id text,
    actor_user_id text,
    action text NOT NULL,                    -- user.create, api_key.revoke, ...
    target text NOT NULL,                    -- the id or name of what changed
    before jsonb,
    after jsonb,
    address text,
    request_id text
);
CREATE INDEX audit_log_by_time ON audit_log (created_at DESC, id DESC);
CREATE INDEX audit_log_by_target ON audit_log (target, created_at DESC);
CREATE INDEX audit_log_by_actor ON audit_log (actor_user_id, created_at DESC);

CREATE TABLE feedback (
    id text PRIMARY KEY,
    request_id text NOT NULL,
    key_id text NOT NULL,
    user_id text NOT NULL,
    score real NOT NULL CHECK (score BETWEEN -1 AND 1),
    correct_model text,
    comment text,
    created_at timestamptz NOT NULL,
    UNIQUE (request_id, key_id)
);
CREATE INDEX feedback_by_time ON feedback (created_at DESC, id DESC);

CREATE TABLE server_secrets (
    name text PRIMARY KEY,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL
);
