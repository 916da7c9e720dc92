-- The first schema. Never edited after a release: what changes later is a new file.
-- Times are milliseconds since 1970 (UTC), 0 for none. Names, uniques, workloads and texts are the bytes that came.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- next_id: every job number below it may have been given out; clean: 1 after an orderly end, 0 while a server runs

INSERT INTO meta (name, value) VALUES ('next_id', 1), ('clean', 1);

CREATE TABLE prefixes (
    first_id INTEGER PRIMARY KEY,  -- jobs from this number on have handles that begin with the prefix
    prefix BLOB NOT NULL
) STRICT;

CREATE TABLE functions (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE
) STRICT;

CREATE TABLE counts (  -- of the rows of jobs; a restart reads these, not the jobs
    function_id INTEGER NOT NULL REFERENCES functions (id),
    state INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (function_id, state, priority)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,  -- the number of the handle; never (function, unique), which clients repeat
    function_id INTEGER NOT NULL REFERENCES functions (id),
    priority INTEGER NOT NULL,             -- 0 high, 1 normal, 2 low
    state INTEGER NOT NULL DEFAULT 0,      -- 0 queued, 1 done, 2 delayed, 3 running, 4 held, 5 failed, 6 cancelled
    position INTEGER NOT NULL,             -- place in the queue, from the same numbers as id
    "unique" BLOB NOT NULL DEFAULT x'',
    unique_hash INTEGER,                   -- set only while memory may not know the job: see jobs_unique
    workload BLOB NOT NULL,
    checksum INTEGER NOT NULL,             -- CRC-32 of unique, reducer and workload
    reducer BLOB NOT NULL DEFAULT x'',
    run_at INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,       -- assignments that ended: done, failed, timed out, worker lost
    interruptions INTEGER NOT NULL DEFAULT 0,  -- assignments that the server's own end cut short
    created_at INTEGER NOT NULL,
    -- "not yet" takes as much room as a time, so that the row need not move when its job is done
    started_at INTEGER NOT NULL DEFAULT 1000000000000,
    ended_at INTEGER NOT NULL DEFAULT 1000000000000,
    worker BLOB NOT NULL DEFAULT x'',
    reason BLOB NOT NULL DEFAULT x'',
    error BLOB NOT NULL DEFAULT x'',
    result BLOB NOT NULL DEFAULT x'',
    result_size INTEGER NOT NULL DEFAULT 0,    -- of what the worker sent; the result itself may be too large to keep
    replay_of INTEGER NOT NULL DEFAULT 0       -- number of the job that this one is a copy of
) STRICT;

-- claim: the next jobs of a function and priority
CREATE INDEX jobs_queued ON jobs (function_id, priority, position) WHERE state = 0;
-- claim_delayed: the next jobs whose time comes
CREATE INDEX jobs_delayed ON jobs (run_at, id) WHERE state = 2;
-- recover: what ran when the server ended
CREATE INDEX jobs_running ON jobs (id) WHERE state = 3;
-- coalescing with a job that is on disk only. Empty while everything queued fits in memory, since an index over
-- random values costs more than all the rest of a commit.
CREATE INDEX jobs_unique ON jobs (unique_hash) WHERE unique_hash IS NOT NULL;
-- jobs that an operator looks for: held, failed, cancelled. Not the done ones: they are nearly all the rows
CREATE INDEX jobs_set_aside ON jobs (state, id) WHERE state > 3;
