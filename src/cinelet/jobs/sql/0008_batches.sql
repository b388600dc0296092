-- Many requests that were taken at once. A batch and its lines are one short transaction, whatever their number; what is
-- asked for waits in `batch_requests` and becomes generations in pieces, by whoever comes first: nothing is held for long.
CREATE TABLE batches (
    id text PRIMARY KEY,
    owner text NOT NULL,
    metadata json NOT NULL,
    -- When somebody asked to stop it.
    cancelled_at timestamptz,
    idempotency_key text,
    request_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Written by whoever first sees that every line has ended: ten thousand lines are not counted again and again.
    finished_at timestamptz,
    counts json,
    CHECK ((finished_at IS NULL) = (counts IS NULL))
);
CREATE UNIQUE INDEX batches_idempotency ON batches (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX batches_by_time ON batches (created_at DESC, id DESC);
CREATE INDEX batches_by_owner ON batches (owner, created_at DESC, id DESC);

CREATE TABLE batch_lines (
    batch_id text NOT NULL REFERENCES batches ON DELETE CASCADE,
    number integer NOT NULL,
    custom_id text,
    generation_id text,
    -- Of a line without a generation: what became of it, and why.
    ended_as text CHECK (ended_as IN ('failed', 'cancelled')),
    error json,
    PRIMARY KEY (batch_id, number),
    CHECK ((generation_id IS NULL) = (ended_as IS NOT NULL)),
    CHECK ((generation_id IS NULL) = (error IS NOT NULL))
);

-- Lines that are no generations yet; empty but for moments.
CREATE TABLE batch_requests (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id text NOT NULL,
    line_number integer NOT NULL,
    generation_id text NOT NULL,
    owner text NOT NULL,
    request json NOT NULL,
    requested_model text NOT NULL,
    queue text NOT NULL,
    priority integer NOT NULL,
    cache_key text,
    image_key text,
    webhook_url text,
    video_seconds double precision NOT NULL,
    request_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX batch_requests_by_owner ON batch_requests (owner);
CREATE INDEX batch_requests_by_batch ON batch_requests (batch_id, line_number);

-- Makes generations of the lines that wait longest, and returns how many. A line is one or the other, whoever is killed.
CREATE FUNCTION make_generations_of_batches(at_most integer) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    taken batch_requests[];
BEGIN
    SELECT array_agg(waiting ORDER BY position) INTO taken FROM (
        SELECT * FROM batch_requests ORDER BY position LIMIT at_most FOR UPDATE SKIP LOCKED
    ) waiting;
    IF taken IS NULL THEN
        RETURN 0;
    END IF;
    -- What a trigger locks for each row, in one order for all, so that two pieces never wait for each other.
    PERFORM pg_advisory_xact_lock(lock) FROM (
        SELECT DISTINCT hashtextextended(cache_key, 0) AS lock FROM unnest(taken) WHERE cache_key IS NOT NULL ORDER BY lock
    ) locks;
    PERFORM pg_advisory_xact_lock(lock) FROM (
        SELECT DISTINCT hashtextextended(image_key, 1) AS lock FROM unnest(taken) WHERE image_key IS NOT NULL ORDER BY lock
    ) locks;
    INSERT INTO generations (
        id, owner, request, requested_model, queue, priority, cache_key, image_key, webhook_url, video_seconds,
        request_hash
    )
        SELECT generation_id, owner, request, requested_model, queue, priority, cache_key, image_key, webhook_url,
            video_seconds, request_hash
        FROM unnest(taken) ORDER BY position;
    DELETE FROM batch_requests USING unnest(taken) AS made WHERE batch_requests.position = made.position;
    RETURN cardinality(taken);
END;
$$;
