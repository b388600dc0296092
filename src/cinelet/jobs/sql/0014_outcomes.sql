-- How each attempt at a model ended, for a month: what statistics and estimates are made of. Nobody's prompt is in it, and
-- it stays where a generation is deleted: what a model did remains true.
CREATE TABLE outcomes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    generation_id text NOT NULL,
    owner text NOT NULL,
    requested_model text NOT NULL,
    model text NOT NULL,
    -- Who ran it, where that was not a machine of ours.
    provider text,
    task text NOT NULL,
    -- NULL where the end says nothing about the model: a cancel, a wrong request, an open circuit.
    succeeded boolean,
    code text,
    seconds double precision NOT NULL,
    -- From when it could begin to when it began, at the first attempt of each generation.
    queue_seconds double precision,
    -- Of a success.
    video_seconds double precision,
    cost double precision,
    currency text
);
CREATE INDEX outcomes_by_time ON outcomes (at);

-- What is known of each model, older outcomes counting less: weights of successes and failures, mean and variance of the
-- logarithm of seconds for a second of video, mean seconds of a failure. samples: how many there were ever.
-- As `Performance` of resilience/performance.py; a test compares the two.
CREATE TABLE performance (
    model text NOT NULL,
    task text NOT NULL,
    successes double precision NOT NULL,
    failures double precision NOT NULL,
    log_rate double precision NOT NULL,
    log_variance double precision NOT NULL,
    failed_seconds double precision NOT NULL,
    samples bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (model, task)
-- Written with each outcome and in no other index: room in each page keeps that cheap (HOT updates).
) WITH (fillfactor = 50);
