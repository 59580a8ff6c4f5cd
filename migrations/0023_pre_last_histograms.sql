-- The histograms of the last days follow, and what nothing uses any more goes.
INSERT INTO usage_histograms AS kept (part, a, b, span, at, latency, ttft, overhead)
SELECT part, a, b, span, at,
    spread(array_agg(bucket) FILTER (WHERE metric = 'latency'), array_agg(calls) FILTER (WHERE metric = 'latency')),
    spread(array_agg(bucket) FILTER (WHERE metric = 'ttft'), array_agg(calls) FILTER (WHERE metric = 'ttft')),
    spread(array_agg(bucket) FILTER (WHERE metric = 'overhead'), array_agg(calls) FILTER (WHERE metric = 'overhead'))
FROM usage_times_before
WHERE at >= (SELECT date_trunc('day', applied_at, 'UTC') - interval '1 day' FROM migrations WHERE name = '0021_pre_sums_by_batch')
GROUP BY part, a, b, span, at
ORDER BY part, a, b, span, at                -- as writers do
ON CONFLICT (part, a, b, span, at) DO UPDATE SET
    latency = tally(kept.latency, excluded.latency), ttft = tally(kept.ttft, excluded.ttft), overhead = tally(kept.overhead, excluded.overhead);
CREATE OR REPLACE VIEW usage_times AS
SELECT part, a, b, span, at, metric, (low + nth - 1)::smallint AS bucket, counted.calls
FROM usage_histograms
CROSS JOIN LATERAL (
    VALUES ('latency', latency, array_lower(latency, 1)), ('ttft', ttft, array_lower(ttft, 1)), ('overhead', overhead, array_lower(overhead, 1))
) AS of (metric, buckets, low)
CROSS JOIN LATERAL unnest(buckets) WITH ORDINALITY AS counted (calls, nth)
WHERE counted.calls IS NOT NULL;
DROP TABLE usage_times_before;
DROP FUNCTION spread;
