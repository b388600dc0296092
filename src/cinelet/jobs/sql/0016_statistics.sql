-- Outcomes by the hour, so that a day of a million of them is told at once. Each hour is written once, when it is over.
CREATE TABLE outcome_hours (
    hour timestamptz NOT NULL,
    owner text NOT NULL,
    model text NOT NULL,
    -- '': a machine of ours.
    provider text NOT NULL,
    -- made, failed, and neither: how many attempts ended so, with which code. rate, queue: how many were so slow.
    what text NOT NULL,
    code text NOT NULL,
    currency text NOT NULL,
    bucket integer NOT NULL,
    attempts bigint NOT NULL,
    seconds double precision NOT NULL,
    video_seconds double precision NOT NULL,
    cost double precision NOT NULL,
    -- How many of the attempts have a cost that is known.
    priced bigint NOT NULL
);
CREATE INDEX outcome_hours_by_time ON outcome_hours (hour);

-- Until when the hours are written.
CREATE TABLE outcome_hours_until (until timestamptz NOT NULL);
INSERT INTO outcome_hours_until SELECT date_trunc('hour', coalesce(min(at), clock_timestamp())) FROM outcomes;

-- What a duration is counted as: each step is a tenth longer than the one before. As in jobs/histogram.py.
CREATE FUNCTION bucket_of(seconds double precision) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT floor(ln(least(greatest(seconds, 0.001), 1e9)) / ln(1.1))::integer
$$;

-- The outcomes of a time as `outcome_hours` has them.
CREATE FUNCTION outcomes_between(since timestamptz, before timestamptz) RETURNS SETOF outcome_hours
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT hour, owner, model, provider,
        CASE WHEN grouping(ended) = 0 THEN ended WHEN grouping(rate) = 0 THEN 'rate' ELSE 'queue' END,
        coalesce(code, ''), coalesce(currency, ''), coalesce(rate, queue, 0), count(*), sum(seconds),
        sum(video_seconds), sum(cost), count(priced)
    FROM (
        SELECT date_trunc('hour', at) AS hour, owner, model, coalesce(provider, '') AS provider,
            CASE WHEN succeeded THEN 'made' WHEN succeeded IS NULL THEN 'neither' ELSE 'failed' END AS ended,
            coalesce(code, '') AS code, coalesce(currency, '') AS currency, seconds,
            coalesce(video_seconds, 0) AS video_seconds, coalesce(cost, 0) AS cost, cost AS priced,
            CASE WHEN succeeded AND video_seconds > 0 THEN bucket_of(seconds / video_seconds) END AS rate,
            CASE WHEN queue_seconds IS NOT NULL THEN bucket_of(queue_seconds) END AS queue
        FROM outcomes WHERE at >= since AND at < before
    ) facts
    GROUP BY GROUPING SETS (
        (hour, owner, model, provider, ended, code, currency),
        (hour, owner, model, provider, rate), (hour, owner, model, provider, queue)
    )
    HAVING grouping(ended) = 0 OR coalesce(rate, queue) IS NOT NULL
$$;

-- Writes the hours that are over, at most a day of them, and returns how many. settle_seconds: how long an end takes to be
-- written at most. What is older than `keep` is forgotten.
CREATE FUNCTION write_outcome_hours(settle_seconds double precision, keep interval) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    since timestamptz;
    before timestamptz;
BEGIN
    SELECT until INTO since FROM outcome_hours_until FOR UPDATE SKIP LOCKED;
    -- A clock was ahead for a while: what it wrote as over is still to come.
    IF since > clock_timestamp() THEN
        since := date_trunc('hour', clock_timestamp());
        DELETE FROM outcome_hours WHERE hour >= since;
        UPDATE outcome_hours_until SET until = since;
        RETURN 0;
    END IF;
    before := least(
        date_trunc('hour', clock_timestamp() - make_interval(secs => settle_seconds)), since + interval '24 hours'
    );
    IF since IS NULL OR before <= since THEN
        RETURN 0;
    END IF;
    INSERT INTO outcome_hours SELECT * FROM outcomes_between(since, before);
    UPDATE outcome_hours_until SET until = before;
    DELETE FROM outcome_hours WHERE hour < before - keep;
    RETURN extract(epoch FROM before - since) / 3600;
END;
$$;
