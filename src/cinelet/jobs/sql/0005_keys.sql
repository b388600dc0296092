-- Who may use the HTTP service. Of a key's secret only the SHA-256 is kept: 256 random bits need no slower hash.
CREATE TABLE api_keys (
    id text PRIMARY KEY,
    name text NOT NULL,
    owner text NOT NULL,
    role text NOT NULL CHECK (role IN ('read', 'generate', 'admin')),
    secret_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(secret_sha256) = 32),
    -- NULL: no limit.
    requests_per_minute integer CHECK (requests_per_minute > 0),
    running integer CHECK (running > 0),
    video_seconds_per_day integer CHECK (video_seconds_per_day > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    last_used_at timestamptz
);

-- What was asked for. NULL: before there were keys.
ALTER TABLE generations ADD COLUMN video_seconds double precision;

-- It counts against a day's limit also when the owner has deleted it meanwhile.
CREATE TABLE deleted_video_seconds (
    owner text NOT NULL,
    created_at timestamptz NOT NULL,
    video_seconds double precision NOT NULL
);
CREATE INDEX deleted_video_seconds_by_owner ON deleted_video_seconds (owner, created_at);

CREATE FUNCTION remember_video_seconds() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM deleted_video_seconds
        WHERE owner = OLD.owner AND created_at < clock_timestamp() - interval '1 day';
    INSERT INTO deleted_video_seconds VALUES (OLD.owner, OLD.created_at, OLD.video_seconds);
    RETURN NULL;
END;
$$;

CREATE TRIGGER generations_remember_video_seconds AFTER DELETE ON generations
    FOR EACH ROW WHEN (OLD.video_seconds IS NOT NULL AND OLD.created_at > clock_timestamp() - interval '1 day')
    EXECUTE FUNCTION remember_video_seconds();
