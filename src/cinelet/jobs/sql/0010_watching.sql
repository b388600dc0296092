-- What a page needs that shows everything: whose an event is, and the words of what was asked for.

-- As in 0003, and with the owner: who watches all generations of one hears of nobody else's.
CREATE OR REPLACE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
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
        'position', number, 'generation_id', NEW.id, 'owner', NEW.owner, 'at', written, 'data', facts
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

-- Prompts to search in, as jobs/searching.py folds them. A table of its own: it is read from end to end where no index
-- serves, so it must be narrow; and it is only ever added to, while a row of `generations` is written anew at each change
-- of state, with an entry in each of its indexes. The key is the order of a page, and the one index that it needs.
CREATE TABLE generation_texts (
    created_at timestamptz NOT NULL,
    generation_id text NOT NULL,
    owner text NOT NULL,
    folded text COLLATE "C" NOT NULL,
    PRIMARY KEY (created_at, generation_id)
);
ALTER TABLE batch_requests ADD COLUMN folded text COLLATE "C";

-- A prompt of a request from before: a NUL is no text to SQL. NULL where there is none, or where it cannot be read.
CREATE FUNCTION prompt_of(request json) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    written text := request::text;
BEGIN
    IF position('\u0000' IN written) > 0 THEN
        -- Not where the backslash is itself a character of the text.
        written := regexp_replace(written, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g');
    END IF;
    RETURN nullif(written::json ->> 'prompt', '');
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END;
$$;

-- In lower case as well as this server can: many a locale knows no capitals beyond A to Z.
DO $$
DECLARE
    letters name := coalesce((
        SELECT min(collname) FROM pg_collation WHERE collnamespace = 'pg_catalog'::regnamespace
            AND collname IN ('pg_c_utf8', 'und-x-icu')
            AND collencoding IN (-1, pg_char_to_encoding(getdatabaseencoding()))
    ), 'default');
BEGIN
    EXECUTE format(
        'INSERT INTO generation_texts (created_at, generation_id, owner, folded)'
        ' SELECT created_at, id, owner, lower(prompt COLLATE %I)'
        ' FROM (SELECT created_at, id, owner, prompt_of(request) AS prompt FROM generations) AS asked'
        ' WHERE prompt IS NOT NULL', letters
    );
    EXECUTE format('UPDATE batch_requests SET folded = lower(prompt_of(request) COLLATE %I)', letters);
END;
$$;
DROP FUNCTION prompt_of;

CREATE OR REPLACE FUNCTION forget_events() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM generation_events WHERE generation_id = OLD.id;
    DELETE FROM generation_texts WHERE created_at = OLD.created_at AND generation_id = OLD.id;
    RETURN NULL;
END;
$$;

-- As in 0008, and with what is to be searched in.
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
            request_hash
        )
            SELECT generation_id, owner, request, requested_model, queue, priority, cache_key, image_key, webhook_url,
                video_seconds, request_hash
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

-- Gives the prompts the index that finds any part of them, where this server has the extension for it and lets us use
-- it, and tells whether they have it. Called here, after a restore, and by whoever has just installed the extension.
CREATE FUNCTION index_texts() RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    place text;
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm' AND installed_version IS NULL) THEN
        BEGIN
            -- Not in our schema: a restore drops that, and other schemas may use the extension.
            CREATE EXTENSION pg_trgm SCHEMA public;
        EXCEPTION WHEN OTHERS THEN
            RETURN false;
        END;
    END IF;
    SELECT nspname INTO place FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
        WHERE extname = 'pg_trgm';
    IF place IS NULL THEN
        RETURN false;
    END IF;
    BEGIN
        EXECUTE format(
            'CREATE INDEX IF NOT EXISTS generation_texts_by_part ON generation_texts USING gin (folded %I.gin_trgm_ops)',
            place
        );
    EXCEPTION WHEN OTHERS THEN
        RETURN false;
    END;
    RETURN true;
END;
$$;

SELECT index_texts();
