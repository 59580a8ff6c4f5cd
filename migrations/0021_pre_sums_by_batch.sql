-- All sums of a batch of calls in one pass: it is grouped once, by all that sums are kept of, and what comes out is added to days, hours and
-- histograms. A histogram is one row, with its buckets in arrays, where every bucket was a row of its own.
-- Nothing long is locked: what is on record stays where it is, and is moved by the next two migrations.

-- part, a, b: of which calls, as in usage_daily. latency, ttft, overhead: [n] is how many calls fell into bucket n of time_bucket; null: none.
CREATE TABLE usage_histograms (
    part text NOT NULL,
    a text NOT NULL,
    b text NOT NULL,
    span text NOT NULL,                      -- day, and for all calls together hour too: hours of every key would outgrow the calls
    at timestamptz NOT NULL,                 -- when it begins, UTC
    latency bigint[] NOT NULL,
    ttft bigint[] NOT NULL,
    overhead bigint[] NOT NULL,
    PRIMARY KEY (part, a, b, span, at)
) WITH (fillfactor = 50, toast_tuple_target = 8160);    -- changed all the time: room for that on the page, and nothing moved out of it
ALTER TABLE usage_daily SET (fillfactor = 50);
ALTER TABLE usage_hourly SET (fillfactor = 50);

-- One call more for each of these buckets.
CREATE FUNCTION tally(kept bigint[], buckets smallint[]) RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
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
$$;

-- The calls of both.
CREATE FUNCTION tally(kept bigint[], more bigint[]) RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
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
$$;

CREATE FUNCTION keep_sums() RETURNS trigger LANGUAGE plpgsql AS $$
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
$$;

-- Writers wait from here to the end, which is a moment; readers do not.
LOCK TABLE usage_records IN SHARE ROW EXCLUSIVE MODE;
ALTER TABLE usage_records DISABLE TRIGGER usage_records_times;
CREATE OR REPLACE TRIGGER usage_records_sums
    AFTER INSERT ON usage_records REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION keep_sums();
ALTER TABLE usage_times RENAME TO usage_times_before;
CREATE VIEW usage_times AS
SELECT part, a, b, span, at, metric, (low + nth - 1)::smallint AS bucket, counted.calls
FROM usage_histograms
CROSS JOIN LATERAL (
    VALUES ('latency', latency, array_lower(latency, 1)), ('ttft', ttft, array_lower(ttft, 1)), ('overhead', overhead, array_lower(overhead, 1))
) AS of (metric, buckets, low)
CROSS JOIN LATERAL unnest(buckets) WITH ORDINALITY AS counted (calls, nth)
WHERE counted.calls IS NOT NULL
UNION ALL
SELECT part, a, b, span, at, metric, bucket, calls FROM usage_times_before;
