-- The histograms of past days move into arrays. Writers, who write today's, do not wait for it; a reader sees them at the old place or at the new.

-- The histogram that has so many calls in each of these buckets.
CREATE FUNCTION spread(buckets smallint[], calls bigint[]) RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    made bigint[] := '{}';
BEGIN
    FOR n IN 1 .. coalesce(cardinality(buckets), 0) LOOP
        made[buckets[n]] := calls[n];
    END LOOP;
    RETURN made;
END
$$;
INSERT INTO usage_histograms AS kept (part, a, b, span, at, latency, ttft, overhead)
SELECT part, a, b, span, at,
    spread(array_agg(bucket) FILTER (WHERE metric = 'latency'), array_agg(calls) FILTER (WHERE metric = 'latency')),
    spread(array_agg(bucket) FILTER (WHERE metric = 'ttft'), array_agg(calls) FILTER (WHERE metric = 'ttft')),
    spread(array_agg(bucket) FILTER (WHERE metric = 'overhead'), array_agg(calls) FILTER (WHERE metric = 'overhead'))
FROM usage_times_before
WHERE at < (SELECT date_trunc('day', applied_at, 'UTC') - interval '1 day' FROM migrations WHERE name = '0021_pre_sums_by_batch')
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
WHERE counted.calls IS NOT NULL
UNION ALL
SELECT part, a, b, span, at, metric, bucket, calls FROM usage_times_before
WHERE at >= (SELECT date_trunc('day', applied_at, 'UTC') - interval '1 day' FROM migrations WHERE name = '0021_pre_sums_by_batch');
