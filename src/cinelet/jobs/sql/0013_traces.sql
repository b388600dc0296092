-- The trace that a generation belongs to, in W3C form: whoever works on it goes on from there. attempt_traceparent: of
-- the last worker that recorded one, for the next one to refer to.
ALTER TABLE generations ADD COLUMN traceparent text, ADD COLUMN attempt_traceparent text;
ALTER TABLE batch_requests ADD COLUMN traceparent text;
