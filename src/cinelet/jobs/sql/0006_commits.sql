-- Which changes wait for the disk. The log is written in order: a change that waits carries all before it, so a claim is
-- as durable as the handle that is saved after it. What a power cut takes back without that was nobody's promise: the
-- look at lost work finds a job that was fetched for nothing.

CREATE FUNCTION commit_lazily() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN NULL;
END;
$$;

CREATE TRIGGER generations_claimed AFTER UPDATE OF attempt ON generations
    FOR EACH ROW WHEN (NEW.state = 'in_progress' AND OLD.attempt <> NEW.attempt) EXECUTE FUNCTION commit_lazily();
CREATE TRIGGER jobs_fetched AFTER UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW WHEN (OLD.status = 'todo' AND NEW.status = 'doing') EXECUTE FUNCTION commit_lazily();
