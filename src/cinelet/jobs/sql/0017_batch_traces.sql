-- As in 0015, and with the trace.
CREATE OR REPLACE FUNCTION make_generations_of_batches(at_most integer) RETURNS integer
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
    WITH made AS (
        INSERT INTO generations (
            id, owner, request, requested_model, queue, priority, cache_key, image_key, webhook_url, video_seconds,
            charged_cost, request_hash, traceparent
        )
            SELECT generation_id, owner, request, requested_model, queue, priority, cache_key, image_key, webhook_url,
                video_seconds, charged_cost, request_hash, traceparent
            FROM unnest(taken) ORDER BY position
            RETURNING created_at, id, owner
    )
    INSERT INTO generation_texts (created_at, generation_id, owner, folded)
        SELECT made.created_at, made.id, made.owner, line.folded FROM made JOIN unnest(taken) AS line ON line.generation_id = made.id
        WHERE line.folded IS NOT NULL;
    DELETE FROM batch_requests USING unnest(taken) AS made WHERE batch_requests.position = made.position;
    RETURN cardinality(taken);
END;
$$;
