-- Who works now, and how it is, for administrators. Each worker writes its row every few seconds and nothing depends on
-- it, so it need not survive a crash of the server.
CREATE UNLOGGED TABLE workers (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    report json NOT NULL
-- The same few rows are written for ever: room in each page keeps those writes cheap (HOT updates).
) WITH (fillfactor = 20);

CREATE FUNCTION report_worker(worker text, news json, forget_seconds double precision) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO workers (name, report) VALUES (worker, news)
        ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp(), report = EXCLUDED.report;
    -- Those that are gone without a word. Of two workers that find the same one, the second leaves it to the first.
    DELETE FROM workers WHERE name IN (
        SELECT name FROM workers WHERE seen_at < clock_timestamp() - make_interval(secs => forget_seconds)
            FOR UPDATE SKIP LOCKED
    );
END;
$$;

-- What failed lately, for administrators.
CREATE INDEX generations_failed ON generations (finished_at) WHERE state = 'failed';
