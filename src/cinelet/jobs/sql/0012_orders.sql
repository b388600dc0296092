-- What administrators want workers to have loaded, a row for each worker that is to do it. Nothing depends on it, and it
-- is about processes that run now, so it need not survive a crash of the server.
CREATE UNLOGGED TABLE model_orders (
    id text NOT NULL,
    worker text NOT NULL,
    action text NOT NULL CHECK (action IN ('load', 'unload')),
    model text NOT NULL,
    timeout_seconds double precision NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    stage text,
    step bigint NOT NULL DEFAULT 0,
    steps bigint NOT NULL DEFAULT 0,
    result json,
    error json,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (id, worker)
);

-- A worker hears at once of what it is to do; what it misses it finds by itself.
CREATE FUNCTION tell_order() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_notify(TG_TABLE_SCHEMA || '_orders', NEW.worker);
    RETURN NULL;
END;
$$;

CREATE TRIGGER model_orders_tell AFTER INSERT ON model_orders FOR EACH ROW EXECUTE FUNCTION tell_order();

-- Ends the orders of workers that are gone with `lost`, and forgets those of the past.
CREATE FUNCTION settle_orders(lost json, heard_seconds double precision, forget_seconds double precision) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE model_orders SET state = 'failed', error = lost, ended_at = clock_timestamp()
        WHERE state IN ('waiting', 'running') AND NOT EXISTS (
            SELECT FROM workers WHERE workers.name = model_orders.worker
                AND workers.seen_at > clock_timestamp() - make_interval(secs => heard_seconds)
        );
    DELETE FROM model_orders WHERE ended_at < clock_timestamp() - make_interval(secs => forget_seconds);
END;
$$;
