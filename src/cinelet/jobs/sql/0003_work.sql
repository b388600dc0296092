-- The queue and the events: what follows from a change of the ledger happens in the same transaction as the change.

ALTER TABLE generations
    ADD COLUMN queue text NOT NULL DEFAULT 'remote' CHECK (queue <> ''),
    -- An identical generation in flight: this one waits for it, and is then answered from the cache.
    ADD COLUMN follows text,
    ADD COLUMN note text NOT NULL DEFAULT '',
    ADD COLUMN eta_seconds double precision;

CREATE INDEX generations_in_flight_by_cache_key ON generations (cache_key)
    WHERE cache_key IS NOT NULL AND state IN ('queued', 'in_progress');
CREATE INDEX generations_that_follow ON generations (follows) WHERE follows IS NOT NULL;
CREATE INDEX generations_waiting ON generations (queue, priority DESC, created_at) WHERE state = 'queued';
CREATE INDEX procrastinate_jobs_of_generations ON procrastinate_jobs ((args ->> 'generation_id'))
    WHERE status IN ('todo', 'doing');

-- The legal moves, as MOVES of jobs/states.py: a test tries every pair. A condition costs less than a look into a table.
DROP TRIGGER generations_begin ON generations;
DROP TRIGGER generations_move ON generations;
DROP FUNCTION refuse_illegal_move;
DROP TABLE generation_moves;

CREATE FUNCTION refuse_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'generation % cannot become %', NEW.id, NEW.state USING ERRCODE = 'check_violation';
END;
$$;

CREATE TRIGGER generations_begin BEFORE INSERT ON generations
    FOR EACH ROW WHEN (NEW.state <> 'queued') EXECUTE FUNCTION refuse_move();
CREATE TRIGGER generations_move BEFORE UPDATE OF state ON generations
    FOR EACH ROW WHEN (NOT (
        OLD.state = NEW.state
        OR (OLD.state = 'queued' AND NEW.state IN ('in_progress', 'cancelled'))
        OR (OLD.state = 'in_progress' AND NEW.state IN ('queued', 'completed', 'failed', 'cancelled'))
    )) EXECUTE FUNCTION refuse_move();

-- A queued generation has a job that says "work on it". lost_attempt: of a worker that is gone, whose claim may be taken.
CREATE FUNCTION enqueue(generation generations, lost_attempt integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM procrastinate_defer_jobs_v1(ARRAY[ROW(
        generation.queue, 'cinelet.generate', generation.priority, NULL, generation.id,
        jsonb_build_object('generation_id', generation.id, 'lost_attempt', lost_attempt), generation.not_before
    )::procrastinate_job_to_defer_v1]);
END;
$$;

CREATE FUNCTION follow_identical() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- Of two that come at once, the second sees the first.
    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.cache_key, 0));
    SELECT id INTO NEW.follows FROM generations
        WHERE cache_key = NEW.cache_key AND state IN ('queued', 'in_progress')
            AND follows IS NULL AND NOT cancel_requested
        LIMIT 1 FOR SHARE;
    RETURN NEW;
END;
$$;

CREATE TRIGGER generations_follow BEFORE INSERT ON generations
    FOR EACH ROW WHEN (NEW.cache_key IS NOT NULL) EXECUTE FUNCTION follow_identical();

CREATE FUNCTION enqueue_or_end() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    next_one text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM enqueue(NEW, NULL);
        RETURN NULL;
    END IF;
    -- Its job is done, or says nothing true any more.
    DELETE FROM procrastinate_jobs WHERE args ->> 'generation_id' = NEW.id AND status IN ('todo', 'doing');
    IF NEW.state = 'queued' THEN
        PERFORM enqueue(NEW, NULL);
    ELSIF NEW.state = 'completed' THEN
        UPDATE generations SET follows = NULL WHERE follows = NEW.id;
    ELSIF NEW.state IN ('failed', 'cancelled') THEN
        -- What fails for one may succeed for the next; only one tries.
        SELECT id INTO next_one FROM generations WHERE follows = NEW.id AND state = 'queued'
            ORDER BY priority DESC, created_at LIMIT 1 FOR UPDATE;
        UPDATE generations SET follows = nullif(next_one, id) WHERE follows = NEW.id;
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER generations_enqueue AFTER INSERT ON generations
    FOR EACH ROW WHEN (NEW.follows IS NULL) EXECUTE FUNCTION enqueue_or_end();
CREATE TRIGGER generations_requeue_or_end AFTER UPDATE OF state ON generations
    FOR EACH ROW WHEN (OLD.state <> NEW.state AND NEW.state <> 'in_progress') EXECUTE FUNCTION enqueue_or_end();
CREATE TRIGGER generations_follow_no_more AFTER UPDATE OF follows ON generations
    FOR EACH ROW WHEN (OLD.follows IS NOT NULL AND NEW.follows IS NULL AND NEW.state = 'queued')
    EXECUTE FUNCTION enqueue_or_end();

-- What workers that are gone left behind goes back to the queue. Returns how many generations that were.
CREATE FUNCTION requeue_lost(stalled_seconds double precision, look_at_all boolean) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    lost integer;
    found generations;
    requeued integer := 0;
BEGIN
    DELETE FROM procrastinate_jobs WHERE task_name = 'cinelet.generate' AND status = 'doing' AND (
        worker_id IS NULL OR worker_id IN (
            SELECT id FROM procrastinate_workers
                WHERE last_heartbeat < clock_timestamp() - make_interval(secs => stalled_seconds)
        )
    );
    GET DIAGNOSTICS lost = ROW_COUNT;
    IF look_at_all THEN
        -- A job that a worker was given, while the connection broke that would have told it: nobody has claimed it since.
        DELETE FROM procrastinate_jobs USING generations
            WHERE status = 'doing' AND generations.id = args ->> 'generation_id'
                AND (generations.state = 'queued' OR (
                    generations.state = 'in_progress' AND generations.attempt = (args ->> 'lost_attempt')::integer
                ))
                AND EXISTS (
                    SELECT FROM procrastinate_events WHERE job_id = procrastinate_jobs.id AND type = 'started'
                        AND procrastinate_events.at < clock_timestamp() - make_interval(secs => stalled_seconds)
                );
    END IF;
    IF lost = 0 AND NOT look_at_all THEN
        RETURN 0;
    END IF;
    FOR found IN
        SELECT * FROM generations WHERE state IN ('queued', 'in_progress') AND follows IS NULL AND NOT EXISTS (
            SELECT FROM procrastinate_jobs
                WHERE args ->> 'generation_id' = generations.id AND status IN ('todo', 'doing')
        ) FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM enqueue(found, found.attempt);
        requeued := requeued + 1;
    END LOOP;
    RETURN requeued;
END;
$$;

-- Everything that a watcher may want to know, in the order in which it happened to a generation.
CREATE TABLE generation_events (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    generation_id text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    data json NOT NULL
);
CREATE INDEX generation_events_in_order ON generation_events (generation_id, position);
CREATE INDEX generation_events_by_time ON generation_events (at);

-- Only a change of a generation writes here: a foreign key would look for what is there.
CREATE FUNCTION forget_events() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM generation_events WHERE generation_id = OLD.id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER generations_forget_events AFTER DELETE ON generations FOR EACH ROW EXECUTE FUNCTION forget_events();

CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    facts json := json_build_object(
        'state', NEW.state, 'progress', NEW.progress, 'stage', NEW.stage, 'step', NEW.step, 'steps', NEW.steps,
        'eta_seconds', NEW.eta_seconds, 'note', NEW.note, 'cancel_requested', NEW.cancel_requested,
        'attempt', NEW.attempt
    );
    number bigint;
    written timestamptz;
BEGIN
    INSERT INTO generation_events (generation_id, data) VALUES (NEW.id, facts) RETURNING position, at INTO number, written;
    PERFORM pg_notify(TG_TABLE_SCHEMA || '_generations', json_build_object(
        'position', number, 'generation_id', NEW.id, 'at', written, 'data', facts
    )::text);
    IF TG_OP = 'INSERT' OR OLD.state <> NEW.state THEN
        RETURN NULL;
    ELSIF OLD.cancel_requested <> NEW.cancel_requested THEN
        -- Workers hear of nothing else.
        PERFORM pg_notify(TG_TABLE_SCHEMA || '_cancels', NEW.id);
    ELSE
        -- A step that a power cut takes back is no loss: it need not wait for the disk.
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER generations_tell_first AFTER INSERT ON generations FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER generations_tell AFTER UPDATE ON generations
    FOR EACH ROW WHEN (
        (OLD.state, OLD.progress, OLD.stage, OLD.step, OLD.note, OLD.cancel_requested, OLD.attempt) IS DISTINCT FROM
        (NEW.state, NEW.progress, NEW.stage, NEW.step, NEW.note, NEW.cancel_requested, NEW.attempt)
    ) EXECUTE FUNCTION tell();
