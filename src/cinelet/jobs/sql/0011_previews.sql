-- Pictures of what is being made, as jobs/glimpses.py writes them.

-- Of the pictures that there have been of it; 0 where there is none now.
ALTER TABLE generations ADD COLUMN previews integer NOT NULL DEFAULT 0;

-- Not logged: a picture that a crash takes is no loss, and the next one follows.
CREATE UNLOGGED TABLE generation_previews (
    generation_id text PRIMARY KEY,
    picture bytea NOT NULL
);
-- Compressed already.
ALTER TABLE generation_previews ALTER COLUMN picture SET STORAGE EXTERNAL;

CREATE FUNCTION forget_previews() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM generation_previews WHERE generation_id = NEW.id;
    NEW.previews := 0;
    RETURN NEW;
END;
$$;

CREATE TRIGGER generations_forget_previews BEFORE UPDATE OF state ON generations
    FOR EACH ROW WHEN (OLD.previews > 0 AND NEW.state <> 'in_progress') EXECUTE FUNCTION forget_previews();

-- As in 0010, and with their number.
CREATE OR REPLACE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    facts json := json_build_object(
        'state', NEW.state, 'progress', NEW.progress, 'stage', NEW.stage, 'step', NEW.step, 'steps', NEW.steps,
        'eta_seconds', NEW.eta_seconds, 'note', NEW.note, 'cancel_requested', NEW.cancel_requested,
        'attempt', NEW.attempt, 'previews', NEW.previews
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
