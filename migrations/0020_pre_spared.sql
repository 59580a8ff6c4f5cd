-- What answers from the cache spared: counts of joined and missed calls, the price of what was not asked again, and the time of it.
-- A row tells both in its decision, as `spared`: [nanousd, ms]. Calls from before are not in these sums.
ALTER TABLE usage_daily
    ADD COLUMN joined_calls bigint NOT NULL DEFAULT 0,
    ADD COLUMN missed_calls bigint NOT NULL DEFAULT 0,
    ADD COLUMN cache_saved_nanousd numeric NOT NULL DEFAULT 0,
    ADD COLUMN cache_saved_ms double precision NOT NULL DEFAULT 0;
ALTER TABLE usage_hourly
    ADD COLUMN joined_calls bigint NOT NULL DEFAULT 0,
    ADD COLUMN missed_calls bigint NOT NULL DEFAULT 0,
    ADD COLUMN cache_saved_nanousd numeric NOT NULL DEFAULT 0,
    ADD COLUMN cache_saved_ms double precision NOT NULL DEFAULT 0;

CREATE OR REPLACE FUNCTION sum_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_daily AS kept
    SELECT part, parts.a, parts.b, at, sum(calls), sum(errors), sum(cached_calls), sum(prompt_tokens), sum(completion_tokens),
        sum(cached_tokens), sum(reasoning_tokens), sum(cost_nanousd), sum(saved_nanousd), sum(unpriced_calls),
        sum(latency_ms), sum(latency_calls), sum(ttft_ms), sum(ttft_calls), sum(overhead_ms), sum(overhead_calls),
        sum(joined_calls), sum(missed_calls), sum(cache_saved_nanousd), sum(cache_saved_ms)
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
            coalesce(sum(overhead_ms::float8), 0) AS overhead_ms, count(overhead_ms) AS overhead_calls,
            count(*) FILTER (WHERE cache = 'joined') AS joined_calls,
            count(*) FILTER (WHERE cache = 'miss') AS missed_calls,
            coalesce(sum((decision -> 'spared' ->> 0)::numeric) FILTER (WHERE cache IN ('hit', 'joined')), 0) AS cache_saved_nanousd,
            coalesce(sum((decision -> 'spared' ->> 1)::float8) FILTER (WHERE cache IN ('hit', 'joined')), 0) AS cache_saved_ms
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
        overhead_ms = kept.overhead_ms + excluded.overhead_ms, overhead_calls = kept.overhead_calls + excluded.overhead_calls,
        joined_calls = kept.joined_calls + excluded.joined_calls, missed_calls = kept.missed_calls + excluded.missed_calls,
        cache_saved_nanousd = kept.cache_saved_nanousd + excluded.cache_saved_nanousd,
        cache_saved_ms = kept.cache_saved_ms + excluded.cache_saved_ms;

    INSERT INTO usage_hourly AS kept
    SELECT part, parts.a, '', at, sum(calls), sum(errors), sum(cached_calls), sum(prompt_tokens), sum(completion_tokens),
        sum(cached_tokens), sum(reasoning_tokens), sum(cost_nanousd), sum(saved_nanousd), sum(unpriced_calls),
        sum(latency_ms), sum(latency_calls), sum(ttft_ms), sum(ttft_calls), sum(overhead_ms), sum(overhead_calls),
        sum(joined_calls), sum(missed_calls), sum(cache_saved_nanousd), sum(cache_saved_ms)
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
            coalesce(sum(overhead_ms::float8), 0) AS overhead_ms, count(overhead_ms) AS overhead_calls,
            count(*) FILTER (WHERE cache = 'joined') AS joined_calls,
            count(*) FILTER (WHERE cache = 'miss') AS missed_calls,
            coalesce(sum((decision -> 'spared' ->> 0)::numeric) FILTER (WHERE cache IN ('hit', 'joined')), 0) AS cache_saved_nanousd,
            coalesce(sum((decision -> 'spared' ->> 1)::float8) FILTER (WHERE cache IN ('hit', 'joined')), 0) AS cache_saved_ms
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
        overhead_ms = kept.overhead_ms + excluded.overhead_ms, overhead_calls = kept.overhead_calls + excluded.overhead_calls,
        joined_calls = kept.joined_calls + excluded.joined_calls, missed_calls = kept.missed_calls + excluded.missed_calls,
        cache_saved_nanousd = kept.cache_saved_nanousd + excluded.cache_saved_nanousd,
        cache_saved_ms = kept.cache_saved_ms + excluded.cache_saved_ms;
    RETURN NULL;
END
$$;
