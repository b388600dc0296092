-- The queue does what is asked of it, and nothing else. Each job wrote a diary of three lines that nobody read, looked
-- for rows of tables that stay empty here, and was announced twice: a third of what the database did for it.

-- When a job was fetched is all that was looked up in the diary.
ALTER TABLE procrastinate_jobs ADD COLUMN fetched_at timestamptz;
UPDATE procrastinate_jobs SET fetched_at = clock_timestamp() WHERE status = 'doing';

DROP TRIGGER procrastinate_trigger_status_events_insert_v1 ON procrastinate_jobs;
DROP TRIGGER procrastinate_trigger_status_events_update_v1 ON procrastinate_jobs;
DROP TRIGGER procrastinate_trigger_scheduled_events_v1 ON procrastinate_jobs;
DROP TRIGGER procrastinate_trigger_abort_requested_events_v1 ON procrastinate_jobs;
DROP TRIGGER procrastinate_trigger_delete_jobs_v1 ON procrastinate_jobs;
DROP TRIGGER jobs_fetched ON procrastinate_jobs;  -- `take_jobs` says it
ALTER TABLE procrastinate_events DROP CONSTRAINT procrastinate_events_job_id_fkey;
ALTER TABLE procrastinate_periodic_defers DROP CONSTRAINT procrastinate_periodic_defers_job_id_fkey;
ALTER TABLE procrastinate_jobs DROP CONSTRAINT procrastinate_jobs_worker_id_fkey;
TRUNCATE procrastinate_events;

-- No job has a lock, and what waits or runs is few.
DROP INDEX procrastinate_jobs_lock_idx_v1;
DROP INDEX procrastinate_jobs_id_lock_idx_v1;
DROP INDEX procrastinate_jobs_queue_name_idx_v1;
DROP INDEX idx_procrastinate_jobs_worker_not_null;
CREATE INDEX procrastinate_jobs_doing ON procrastinate_jobs (queue_name) WHERE status = 'doing';

-- Workers listen to their queues alone.
CREATE OR REPLACE FUNCTION procrastinate_notify_queue_job_inserted_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('procrastinate_queue_v1#' || NEW.queue_name, '{"type": "job_inserted", "job_id": ' || NEW.id || '}');
    RETURN NULL;
END;
$$;

-- As in 0003, by a plain statement.
CREATE OR REPLACE FUNCTION enqueue(generation generations, lost_attempt integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO procrastinate_jobs (queue_name, task_name, priority, queueing_lock, args, scheduled_at) VALUES (
        generation.queue, 'cinelet.generate', generation.priority, generation.id,
        jsonb_build_object('generation_id', generation.id, 'lost_attempt', lost_attempt), generation.not_before
    );
END;
$$;

-- The next jobs of some queues, now a worker's. Jobs come and go faster than statistics: what was planned when few waited
-- would sort all that wait, at each call, when many do. So the order is always that of the index.
CREATE FUNCTION take_jobs(queues varchar[], taker bigint, most integer) RETURNS SETOF procrastinate_jobs
ROWS 1 LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
    RETURN QUERY
        WITH next AS (
            SELECT id FROM procrastinate_jobs
                WHERE status = 'todo' AND queue_name = ANY (queues) AND (scheduled_at IS NULL OR scheduled_at <= now())
                ORDER BY priority DESC, id LIMIT most FOR UPDATE SKIP LOCKED
        )
        UPDATE procrastinate_jobs SET status = 'doing', worker_id = taker, fetched_at = clock_timestamp()
            FROM next WHERE procrastinate_jobs.id = next.id RETURNING procrastinate_jobs.*;
    -- Need not wait for the disk, as 0006 says.
    PERFORM set_config('synchronous_commit', 'off', true);
END;
$$;

-- As in 0003: a worker that was forgotten is gone as well.
CREATE OR REPLACE FUNCTION requeue_lost(stalled_seconds double precision, look_at_all boolean) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    lost integer;
    found generations;
    requeued integer := 0;
BEGIN
    DELETE FROM procrastinate_jobs WHERE task_name = 'cinelet.generate' AND status = 'doing' AND NOT EXISTS (
        SELECT FROM procrastinate_workers
            WHERE id = worker_id AND last_heartbeat >= clock_timestamp() - make_interval(secs => stalled_seconds)
    );
    GET DIAGNOSTICS lost = ROW_COUNT;
    IF look_at_all THEN
        -- A job that a worker was given, while the connection broke that would have told it: nobody has claimed it since.
        DELETE FROM procrastinate_jobs USING generations
            WHERE status = 'doing' AND generations.id = args ->> 'generation_id'
                AND (generations.state = 'queued' OR (
                    generations.state = 'in_progress' AND generations.attempt = (args ->> 'lost_attempt')::integer
                ))
                AND fetched_at < clock_timestamp() - make_interval(secs => stalled_seconds);
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

-- As in 0007.
CREATE OR REPLACE FUNCTION requeue_lost_deliveries(lost_seconds double precision) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    requeued integer;
BEGIN
    DELETE FROM procrastinate_jobs WHERE queue_name = 'webhooks' AND status = 'doing'
        AND fetched_at < clock_timestamp() - make_interval(secs => lost_seconds);
    UPDATE webhook_deliveries SET next_at = clock_timestamp()
        WHERE state = 'pending' AND next_at <= clock_timestamp()
            AND NOT EXISTS (
                SELECT FROM procrastinate_jobs WHERE queueing_lock = webhook_deliveries.id AND status = 'todo'
            )
            AND id <> ALL (ARRAY(
                SELECT queueing_lock FROM procrastinate_jobs WHERE queue_name = 'webhooks' AND status = 'doing'
            ));
    GET DIAGNOSTICS requeued = ROW_COUNT;
    RETURN requeued;
END;
$$;

-- Events are read by their generation alone, and forgotten by their age: they lie in that order.
DROP INDEX generation_events_by_time;
DROP INDEX generation_events_in_order;
ALTER TABLE generation_events DROP CONSTRAINT generation_events_pkey;
ALTER TABLE generation_events ADD PRIMARY KEY (generation_id, position);
CREATE INDEX generation_events_by_time ON generation_events USING brin (at);
