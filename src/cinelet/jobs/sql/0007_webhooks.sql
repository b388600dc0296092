-- Who is told that a generation has ended. What is to be delivered is written down with the end itself.

-- Of a key: for what it makes. Of a generation: its own, or that of its key as it was then.
ALTER TABLE api_keys ADD COLUMN webhook_url text;
ALTER TABLE generations ADD COLUMN webhook_url text;

-- They sign, so they are kept as they are. NULL: the one in use; the others sign as well until then.
CREATE TABLE webhook_secrets (
    owner text NOT NULL,
    secret text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz
);
CREATE UNIQUE INDEX webhook_secrets_in_use ON webhook_secrets (owner) WHERE expires_at IS NULL;
CREATE INDEX webhook_secrets_by_owner ON webhook_secrets (owner);

-- One a generation, which ends once; its id is the webhook-id of every attempt. What it says is made from the
-- generation, which does not change any more, and goes with it.
CREATE TABLE webhook_deliveries (
    id text PRIMARY KEY,
    generation_id text NOT NULL UNIQUE REFERENCES generations ON DELETE CASCADE,
    owner text NOT NULL,
    url text NOT NULL,
    type text NOT NULL CHECK (type IN ('video.completed', 'video.failed')),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz DEFAULT clock_timestamp(),
    last_status integer,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    first_attempt_at timestamptz,
    last_attempt_at timestamptz,
    CHECK ((state = 'pending') = (next_at IS NOT NULL))
);
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_by_owner ON webhook_deliveries (owner, created_at DESC, id DESC);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_at) WHERE state = 'pending';

CREATE FUNCTION announce_end() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO webhook_deliveries (id, generation_id, owner, url, type) VALUES (
        'evt_' || substr(NEW.id, 5), NEW.id, NEW.owner, NEW.webhook_url,
        CASE NEW.state WHEN 'completed' THEN 'video.completed' ELSE 'video.failed' END
    );
    RETURN NULL;
END;
$$;

CREATE TRIGGER generations_announce_end AFTER UPDATE OF state ON generations
    FOR EACH ROW WHEN (
        NEW.webhook_url IS NOT NULL AND OLD.state <> NEW.state AND NEW.state IN ('completed', 'failed', 'cancelled')
    ) EXECUTE FUNCTION announce_end();

-- A delivery that has a next attempt has a job for it.
CREATE FUNCTION enqueue_delivery() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM procrastinate_jobs WHERE queueing_lock = NEW.id AND status = 'todo';
    IF NEW.next_at IS NOT NULL THEN
        -- First attempts go before repeated ones: a receiver that is away does not keep others waiting. And all go
        -- after generations, whose priority is at least -100: whoever fetches one of those need not step over them.
        PERFORM procrastinate_defer_jobs_v1(ARRAY[ROW(
            'webhooks', 'cinelet.deliver', -1000 - NEW.attempts, NULL, NEW.id, jsonb_build_object('delivery_id', NEW.id),
            NEW.next_at
        )::procrastinate_job_to_defer_v1]);
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER webhook_deliveries_enqueue AFTER INSERT OR UPDATE OF next_at ON webhook_deliveries
    FOR EACH ROW EXECUTE FUNCTION enqueue_delivery();

-- An attempt is short. A job that has been at it for so long was lost, with its worker or with the reply that named it.
CREATE FUNCTION requeue_lost_deliveries(lost_seconds double precision) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    requeued integer;
BEGIN
    DELETE FROM procrastinate_jobs USING procrastinate_events
        WHERE queue_name = 'webhooks' AND status = 'doing' AND job_id = procrastinate_jobs.id AND type = 'started'
            AND procrastinate_events.at < clock_timestamp() - make_interval(secs => lost_seconds);
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
