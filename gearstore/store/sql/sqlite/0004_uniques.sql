-- Coalescing with jobs that memory does not know gets a table of its own in place of the index jobs_unique, so that
-- entries can be made in order of hash, many at once (store/uniques.py).

CREATE TABLE uniques (  -- what is in jobs decides: entries of jobs that have ended do no harm
    hash INTEGER NOT NULL,    -- the upper half of unique_hash
    job_id INTEGER NOT NULL,
    PRIMARY KEY (hash, job_id)
) STRICT, WITHOUT ROWID;

INSERT INTO uniques (hash, job_id)
    SELECT unique_hash >> 32, id FROM jobs INDEXED BY jobs_unique WHERE unique_hash IS NOT NULL ORDER BY unique_hash;

DROP INDEX jobs_unique;

CREATE TABLE uniques_log (  -- what is still to be entered: a row for each batch, in order
    id INTEGER PRIMARY KEY,
    entries BLOB NOT NULL     -- hash and job_id, hash and job_id: 8 bytes each, little endian
) STRICT;

-- hashed_below: jobs that wait or run have an entry also without unique_hash if their position is below it;
-- window: the most jobs of a function and priority that a server may have had in memory since
INSERT INTO meta (name, value) VALUES ('hashed_below', 1), ('window', 0);
