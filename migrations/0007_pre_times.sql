-- How long calls took, as histograms that can be added up: percentiles over any span without reading its calls.
-- A bucket is a tenth wider than the one before: bucket n holds the times from 1.1^n to 1.1^(n+1) ms, so a percentile is right within 5 %.
CREATE FUNCTION time_bucket(ms real) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN floor(ln(least(greatest(ms::float8, 0.01), 1e9)) / ln(1.1::float8))::smallint;

-- part, a, b: of which calls, as in usage_daily. span: day, and for all calls together hour too; hours of every key would outgrow the calls.
CREATE TABLE usage_times (
    part text NOT NULL,
    a text NOT NULL,
    b text NOT NULL,
    span text NOT NULL,                      -- day, hour
    at timestamptz NOT NULL,                 -- when it begins, UTC
    metric text NOT NULL,                    -- latency, ttft, overhead
    bucket smallint NOT NULL,
    calls bigint NOT NULL,
    PRIMARY KEY (part, a, b, span, at, metric, bucket)
) WITH (fillfactor = 70);

CREATE FUNCTION sum_times() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_times AS kept
    SELECT part, parts.a, parts.b, parts.span, date_trunc(parts.span, hour, 'UTC'), metric, bucket, sum(calls)
    FROM (
        SELECT date_trunc('hour', created_at, 'UTC') AS hour, key_id, user_id, coalesce(model, '') AS model, coalesce(label, '') AS label, tags,
            metric, time_bucket(ms) AS bucket, count(*) AS calls
        FROM fresh CROSS JOIN LATERAL (VALUES ('latency', latency_ms), ('ttft', ttft_ms), ('overhead', overhead_ms)) AS taken (metric, ms)
        WHERE ms IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ) AS found
    CROSS JOIN LATERAL (
        VALUES ('all', '', '', 'hour'), ('all', '', '', 'day'), ('key', key_id, '', 'day'), ('user', user_id, '', 'day'),
            ('model', model, '', 'day'), ('label', label, '', 'day')
        UNION ALL
        SELECT 'tag', key, value, 'day' FROM jsonb_each_text(tags)
    ) AS parts (part, a, b, span)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
    ORDER BY 1, 2, 3, 4, 5, 6, 7             -- all writers in one order: none waits for another in a circle
    ON CONFLICT (part, a, b, span, at, metric, bucket) DO UPDATE SET calls = kept.calls + excluded.calls;
    RETURN NULL;
END
$$;

-- What is there is summed up once, as if it came now.
CREATE TABLE usage_again (LIKE usage_records);
CREATE TRIGGER times AFTER INSERT ON usage_again REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION sum_times();
LOCK TABLE usage_records IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO usage_again SELECT * FROM usage_records;
DROP TABLE usage_again;
CREATE TRIGGER usage_records_times
    AFTER INSERT ON usage_records REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION sum_times();
