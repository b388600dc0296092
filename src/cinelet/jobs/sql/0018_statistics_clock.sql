-- As in 0016, for a clock that was ahead for a while: what it wrote as over is still to come.
CREATE OR REPLACE FUNCTION write_outcome_hours(settle_seconds double precision, keep interval) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    since timestamptz;
    before timestamptz;
BEGIN
    SELECT until INTO since FROM outcome_hours_until FOR UPDATE SKIP LOCKED;
    IF since > clock_timestamp() THEN
        since := date_trunc('hour', clock_timestamp());
        DELETE FROM outcome_hours WHERE hour >= since;
        UPDATE outcome_hours_until SET until = since;
        RETURN 0;
    END IF;
    before := least(
        date_trunc('hour', clock_timestamp() - make_interval(secs => settle_seconds)), since + interval '24 hours'
    );
    IF since IS NULL OR before <= since THEN
        RETURN 0;
    END IF;
    INSERT INTO outcome_hours SELECT * FROM outcomes_between(since, before);
    UPDATE outcome_hours_until SET until = before;
    DELETE FROM outcome_hours WHERE hour < before - keep;
    RETURN extract(epoch FROM before - since) / 3600;
END;
$$;
