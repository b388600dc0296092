-- Who uses what lies in the store: asked before anything is removed there.
-- Columns, because a text with a NUL can be kept in json and not be taken out of it by SQL.

ALTER TABLE generations ADD COLUMN image_key text, ADD COLUMN video_key text;

CREATE INDEX generations_by_image ON generations (image_key) WHERE image_key IS NOT NULL;
CREATE INDEX generations_by_video ON generations (video_key) WHERE video_key IS NOT NULL;

-- Whoever begins to use something waits for whoever just looks whether it is used: see JobQueue.delete.
CREATE FUNCTION lock_blobs() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(coalesce(NEW.video_key, NEW.image_key), 1));
    RETURN NEW;
END;
$$;

CREATE TRIGGER generations_use_image BEFORE INSERT ON generations
    FOR EACH ROW WHEN (NEW.image_key IS NOT NULL) EXECUTE FUNCTION lock_blobs();
CREATE TRIGGER generations_use_video BEFORE UPDATE OF video_key ON generations
    FOR EACH ROW WHEN (NEW.video_key IS NOT NULL) EXECUTE FUNCTION lock_blobs();
