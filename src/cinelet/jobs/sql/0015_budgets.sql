-- Budgets in a currency, and what counts against the limits of a day: reserved when it is accepted, what it came to when
-- it is completed, and nothing where there is no video.

ALTER TABLE api_keys
    ADD COLUMN budget_per_day numeric(18, 6) CHECK (budget_per_day > 0),
    ADD COLUMN currency text,
    ADD CHECK ((budget_per_day IS NULL) = (currency IS NULL));

ALTER TABLE generations
    -- NULL: what was asked for, in `video_seconds`.
    ADD COLUMN charged_seconds double precision,
    -- NULL: nobody knows.
    ADD COLUMN charged_cost numeric(18, 6);
ALTER TABLE batch_requests ADD COLUMN charged_cost numeric(18, 6);

CREATE FUNCTION give_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.charged_seconds := 0;
    NEW.charged_cost := 0;
    RETURN NEW;
END;
$$;

CREATE TRIGGER generations_give_back BEFORE UPDATE OF state ON generations
    FOR EACH ROW WHEN (NEW.state IN ('failed', 'cancelled')) EXECUTE FUNCTION give_back();

-- What was charged counts also when the owner has deleted the video meanwhile. As in 0005, and with the cost.
DROP TRIGGER generations_remember_video_seconds ON generations;
DROP FUNCTION remember_video_seconds;
ALTER TABLE deleted_video_seconds RENAME TO deleted_charges;
ALTER TABLE deleted_charges ADD COLUMN cost numeric(18, 6);
ALTER INDEX deleted_video_seconds_by_owner RENAME TO deleted_charges_by_owner;

CREATE FUNCTION remember_charge() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM deleted_charges WHERE owner = OLD.owner AND created_at < clock_timestamp() - interval '1 day';
    INSERT INTO deleted_charges VALUES (
        OLD.owner, OLD.created_at, coalesce(OLD.charged_seconds, OLD.video_seconds), OLD.charged_cost
    );
    RETURN NULL;
END;
$$;

CREATE TRIGGER generations_remember_charge AFTER DELETE ON generations
    FOR EACH ROW WHEN (OLD.video_seconds IS NOT NULL AND OLD.created_at > clock_timestamp() - interval '1 day')
    EXECUTE FUNCTION remember_charge();

-- As in 0010, and with what is reserved and the trace.
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
