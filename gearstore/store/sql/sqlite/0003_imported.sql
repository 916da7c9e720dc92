-- Jobs that came from another queue: a second import of the same source finds them here, also when they have ended and
-- their rows are gone.

CREATE TABLE imported (
    key INTEGER PRIMARY KEY,  -- hash of what identifies the job at its source
    job_id INTEGER NOT NULL,  -- what it became here, or the live job that it joined
    origin BLOB NOT NULL      -- what it was called there
) STRICT;

CREATE INDEX imported_job ON imported (job_id);
