-- What a job's own row does not tell: who submitted it, each attempt that failed, what operators did, why jobs fail;
-- and what operators have set for functions.

ALTER TABLE jobs ADD COLUMN client BLOB NOT NULL DEFAULT x'';          -- address of the one who submitted it
ALTER TABLE jobs ADD COLUMN cause INTEGER NOT NULL DEFAULT 0;          -- why it is failed, see causes; 0 for none
ALTER TABLE jobs ADD COLUMN replayed_as INTEGER NOT NULL DEFAULT 0;    -- number of the newest copy of this job

ALTER TABLE functions ADD COLUMN paused_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE functions ADD COLUMN paused_until INTEGER NOT NULL DEFAULT 0;  -- 0: until somebody resumes it
ALTER TABLE functions ADD COLUMN max_high INTEGER NOT NULL DEFAULT -1;     -- maxqueue; -1: what the policy says
ALTER TABLE functions ADD COLUMN max_normal INTEGER NOT NULL DEFAULT -1;
ALTER TABLE functions ADD COLUMN max_low INTEGER NOT NULL DEFAULT -1;

-- all functions at once: `gearstore drain`, `gearstore pause` without a function
INSERT INTO meta (name, value) VALUES ('paused_at', 0), ('paused_until', 0);

ALTER TABLE counts ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;  -- of workloads and results

UPDATE counts SET bytes = v.bytes FROM (
    SELECT function_id, state, priority, sum(length(workload) + length(result)) AS bytes
    FROM jobs GROUP BY function_id, state, priority
) AS v WHERE counts.function_id = v.function_id AND counts.state = v.state AND counts.priority = v.priority;

CREATE TABLE events (  -- submitted, assigned and done stand in the job's row: most jobs have no event
    id INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES jobs (id),
    at INTEGER NOT NULL,
    kind BLOB NOT NULL,          -- how an attempt ended (fail, exception, timeout, lost, interrupted), or an operator's verb
    started_at INTEGER NOT NULL, -- of the attempt
    worker BLOB NOT NULL,
    detail BLOB NOT NULL,        -- error text of an attempt, handle of a copy
    next_at INTEGER NOT NULL     -- the time that the job then waited for, 0 for none
) STRICT;

-- show: what happened to a job
CREATE INDEX events_job ON events (job_id, id);

CREATE TABLE causes (  -- of failures, alike but for numbers and ids
    id INTEGER PRIMARY KEY,
    reason BLOB NOT NULL,
    text BLOB NOT NULL
) STRICT;

-- jobs --cause, page by page; and all that `failures` counts
CREATE INDEX jobs_cause ON jobs (cause, id, function_id, ended_at) WHERE cause <> 0;
