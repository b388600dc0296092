-- The ledger: one row a generation, the one source of truth about it.

CREATE TABLE generation_moves (
    state_before text NOT NULL,
    state_after text NOT NULL,
    PRIMARY KEY (state_before, state_after)
);

-- As MOVES of jobs/states.py; a test compares the two.
INSERT INTO generation_moves VALUES
    ('queued', 'in_progress'),
    ('queued', 'cancelled'),
    ('in_progress', 'queued'),
    ('in_progress', 'completed'),
    ('in_progress', 'failed'),
    ('in_progress', 'cancelled');

CREATE TABLE generations (
    id text PRIMARY KEY,
    owner text NOT NULL,
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'in_progress', 'completed', 'failed', 'cancelled')),
    cancel_requested boolean NOT NULL DEFAULT false,
    -- json and not jsonb: a request is given back as it came, and jsonb takes no NUL in a text.
    request json NOT NULL,
    requested_model text NOT NULL,
    model text,
    progress double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    stage text,
    step integer NOT NULL DEFAULT 0,
    steps integer NOT NULL DEFAULT 0,
    handle json,
    worker text,
    attempt integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    attempts json NOT NULL DEFAULT '[]',
    result json,
    error json,
    priority integer NOT NULL DEFAULT 0,
    not_before timestamptz,
    cache_key text,
    idempotency_key text,
    request_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    -- 100 % means stored, and nothing else does.
    CHECK ((state = 'completed') = (progress = 1)),
    CHECK ((state = 'completed') = (result IS NOT NULL)),
    CHECK ((state = 'failed') = (error IS NOT NULL)),
    CHECK ((state IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'in_progress') = (worker IS NOT NULL))
-- Progress is written often and is in no index: room in each page keeps those writes cheap (HOT updates).
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX generations_idempotency ON generations (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- One index a filter, each in the order of a page: the newest first.
CREATE INDEX generations_by_time ON generations (created_at DESC, id DESC);
CREATE INDEX generations_by_state ON generations (state, created_at DESC, id DESC);
CREATE INDEX generations_by_model ON generations ((coalesce(model, requested_model)), created_at DESC, id DESC);
CREATE INDEX generations_by_owner ON generations (owner, created_at DESC, id DESC);
CREATE INDEX generations_by_owner_and_state ON generations (owner, state, created_at DESC, id DESC);

CREATE FUNCTION refuse_illegal_move() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'queued' THEN
            RAISE EXCEPTION 'generation % cannot begin as %', NEW.id, NEW.state USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NOT EXISTS (
        SELECT FROM generation_moves WHERE state_before = OLD.state AND state_after = NEW.state
    ) THEN
        RAISE EXCEPTION 'generation % cannot go from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER generations_begin BEFORE INSERT ON generations
    FOR EACH ROW EXECUTE FUNCTION refuse_illegal_move();
CREATE TRIGGER generations_move BEFORE UPDATE OF state ON generations
    FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION refuse_illegal_move();
