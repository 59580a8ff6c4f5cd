-- Sums of calls by day and by hour, kept as rows arrive, so that no report reads millions of rows.
-- part: what a row is a sum of (all calls, those of one key, of one key with one model, ...); a, b: of which; '' = the calls that have none.
-- Means are kept as a sum and a count.
CREATE TABLE usage_daily (
    part text NOT NULL,
    a text NOT NULL,
    b text NOT NULL,
    at timestamptz NOT NULL,                 -- when the day begins, UTC
    calls bigint NOT NULL,
    errors bigint NOT NULL,
    cached_calls bigint NOT NULL,
    prompt_tokens numeric NOT NULL,          -- a bigint is summed to numeric: one absurd row must not break all others
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
    PRIMARY KEY (part, a, b, at)
) WITH (fillfactor = 70);                    -- today's rows change all the time: room for that on their own page
CREATE INDEX usage_daily_by_time ON usage_daily (part, at);
CREATE TABLE usage_hourly (LIKE usage_daily INCLUDING ALL);

CREATE FUNCTION sum_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_daily AS kept
    SELECT part, parts.a, parts.b, at, sum(calls), sum(errors), sum(cached_calls), sum(prompt_tokens), sum(completion_tokens),
        sum(cached_tokens), sum(reasoning_tokens), sum(cost_nanousd), sum(saved_nanousd), sum(unpriced_calls),
        sum(latency_ms), sum(latency_calls), sum(ttft_ms), sum(ttft_calls), sum(overhead_ms), sum(overhead_calls)
    FROM (
        SELECT date_trunc('day', created_at, 'UTC') AS at, key_id, user_id,
            coalesce(model, '') AS model, coalesce(provider, '') AS provider, coalesce(label, '') AS label, tags,
            count(*) AS calls,
            count(*) FILTER (WHERE status NOT IN ('ok', 'client_gone')) AS errors,
            count(*) FILTER (WHERE cache IN ('hit', 'joined')) AS cached_calls,
            sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens, sum(cached_tokens) AS cached_tokens,
            sum(reasoning_tokens) AS reasoning_tokens,
            coalesce(sum(cost_nanousd), 0) AS cost_nanousd,
            coalesce(sum(baseline_cost_nanousd::numeric - cost_nanousd), 0) AS saved_nanousd,
            count(*) FILTER (WHERE cost_nanousd IS NULL AND prompt_tokens::numeric + completion_tokens > 0) AS unpriced_calls,
            coalesce(sum(latency_ms::float8), 0) AS latency_ms, count(latency_ms) AS latency_calls,
            coalesce(sum(ttft_ms::float8), 0) AS ttft_ms, count(ttft_ms) AS ttft_calls,
            coalesce(sum(overhead_ms::float8), 0) AS overhead_ms, count(overhead_ms) AS overhead_calls
        FROM fresh GROUP BY 1, 2, 3, 4, 5, 6, 7
    ) AS found
    CROSS JOIN LATERAL (
        VALUES ('all', '', ''), ('key', key_id, ''), ('user', user_id, ''), ('model', model, ''), ('provider', provider, ''), ('label', label, ''),
            ('key model', key_id, model), ('key label', key_id, label), ('user key', user_id, key_id), ('user model', user_id, model),
            ('user label', user_id, label), ('model label', model, label)
        UNION ALL
        SELECT 'tag', key, value FROM jsonb_each_text(tags)
    ) AS parts (part, a, b)
    GROUP BY 1, 2, 3, 4
    ORDER BY 1, 2, 3, 4                      -- all writers in one order: none waits for another in a circle
    ON CONFLICT (part, a, b, at) DO UPDATE SET
        calls = kept.calls + excluded.calls, errors = kept.errors + excluded.errors, cached_calls = kept.cached_calls + excluded.cached_calls,
        prompt_tokens = kept.prompt_tokens + excluded.prompt_tokens, completion_tokens = kept.completion_tokens + excluded.completion_tokens,
        cached_tokens = kept.cached_tokens + excluded.cached_tokens, reasoning_tokens = kept.reasoning_tokens + excluded.reasoning_tokens,
        cost_nanousd = kept.cost_nanousd + excluded.cost_nanousd, saved_nanousd = kept.saved_nanousd + excluded.saved_nanousd,
        unpriced_calls = kept.unpriced_calls + excluded.unpriced_calls,
        latency_ms = kept.latency_ms + excluded.latency_ms, latency_calls = kept.latency_calls + excluded.latency_calls,
        ttft_ms = kept.ttft_ms + excluded.ttft_ms, ttft_calls = kept.ttft_calls + excluded.ttft_calls,
        overhead_ms = kept.overhead_ms + excluded.overhead_ms, overhead_calls = kept.overhead_calls + excluded.overhead_calls;

    INSERT INTO usage_hourly AS kept
    SELECT part, parts.a, '', at, sum(calls), sum(errors), sum(cached_calls), sum(prompt_tokens), sum(completion_tokens),
        sum(cached_tokens), sum(reasoning_tokens), sum(cost_nanousd), sum(saved_nanousd), sum(unpriced_calls),
        sum(latency_ms), sum(latency_calls), sum(ttft_ms), sum(ttft_calls), sum(overhead_ms), sum(overhead_calls)
    FROM (
        SELECT date_trunc('hour', created_at, 'UTC') AS at, key_id, user_id,
            coalesce(model, '') AS model, coalesce(provider, '') AS provider, coalesce(label, '') AS label,
            count(*) AS calls,
            count(*) FILTER (WHERE status NOT IN ('ok', 'client_gone')) AS errors,
            count(*) FILTER (WHERE cache IN ('hit', 'joined')) AS cached_calls,
            sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens, sum(cached_tokens) AS cached_tokens,
            sum(reasoning_tokens) AS reasoning_tokens,
            coalesce(sum(cost_nanousd), 0) AS cost_nanousd,
            coalesce(sum(baseline_cost_nanousd::numeric - cost_nanousd), 0) AS saved_nanousd,
            count(*) FILTER (WHERE cost_nanousd IS NULL AND prompt_tokens::numeric + completion_tokens > 0) AS unpriced_calls,
            coalesce(sum(latency_ms::float8), 0) AS latency_ms, count(latency_ms) AS latency_calls,
            coalesce(sum(ttft_ms::float8), 0) AS ttft_ms, count(ttft_ms) AS ttft_calls,
            coalesce(sum(overhead_ms::float8), 0) AS overhead_ms, count(overhead_ms) AS overhead_calls
        FROM fresh GROUP BY 1, 2, 3, 4, 5, 6
    ) AS found
    CROSS JOIN LATERAL (
        VALUES ('all', ''), ('key', key_id), ('user', user_id), ('model', model), ('provider', provider), ('label', label)
    ) AS parts (part, a)
    GROUP BY 1, 2, 4
    ORDER BY 1, 2, 4
    ON CONFLICT (part, a, b, at) DO UPDATE SET
        calls = kept.calls + excluded.calls, errors = kept.errors + excluded.errors, cached_calls = kept.cached_calls + excluded.cached_calls,
        prompt_tokens = kept.prompt_tokens + excluded.prompt_tokens, completion_tokens = kept.completion_tokens + excluded.completion_tokens,
        cached_tokens = kept.cached_tokens + excluded.cached_tokens, reasoning_tokens = kept.reasoning_tokens + excluded.reasoning_tokens,
        cost_nanousd = kept.cost_nanousd + excluded.cost_nanousd, saved_nanousd = kept.saved_nanousd + excluded.saved_nanousd,
        unpriced_calls = kept.unpriced_calls + excluded.unpriced_calls,
        latency_ms = kept.latency_ms + excluded.latency_ms, latency_calls = kept.latency_calls + excluded.latency_calls,
        ttft_ms = kept.ttft_ms + excluded.ttft_ms, ttft_calls = kept.ttft_calls + excluded.ttft_calls,
        overhead_ms = kept.overhead_ms + excluded.overhead_ms, overhead_calls = kept.overhead_calls + excluded.overhead_calls;
    RETURN NULL;
END
$$;

-- Sum up what is there once, as if it came now: the same function over the whole table.
CREATE TABLE usage_again (LIKE usage_records);
CREATE TRIGGER sums AFTER INSERT ON usage_again REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION sum_up();
LOCK TABLE usage_records IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO usage_again SELECT * FROM usage_records;
DROP TABLE usage_again;
CREATE TRIGGER usage_records_sums
    AFTER INSERT ON usage_records REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION sum_up();

-- Money that processes hold beyond what the books say: leases, calls that run, finished calls that are not in the table yet.
-- Nothing of value: who lives says it again within a second.
CREATE UNLOGGED TABLE budget_holds (
    scope text NOT NULL,                     -- key, user, tag
    subject text NOT NULL,
    period text NOT NULL,                    -- day, week, month, total
    holder text NOT NULL,
    held_nanousd numeric NOT NULL,
    free_nanousd numeric NOT NULL,           -- the part of it that no call has reserved: it can be called in
    calls bigint NOT NULL,                   -- that run
    until timestamptz NOT NULL,
    PRIMARY KEY (scope, subject, period, holder)
) WITH (fillfactor = 50);

-- One process tells what it holds of one budget and asks for more: `need` for calls that wait (`one`: the least that helps one of them), up to `want`.
-- Where nobody runs anything, a budget that is not spent grants one more call, whatever it can cost.
CREATE FUNCTION hold_money(
    scope_ text, subject_ text, period_ text, since timestamptz, most numeric, holder_ text, held numeric, free numeric, running bigint,
    need numeric, one numeric, want numeric, ttl_s double precision,
    OUT spent numeric, OUT others numeric, OUT others_free numeric, OUT holders bigint, OUT granted numeric
) LANGUAGE plpgsql AS $$
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
$$;
