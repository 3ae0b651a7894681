-- Version 1: logs, their records, the instances that own them, and their mail.
--
-- `begun`, `updated` and `at` are wall clocks of whoever wrote, in milliseconds since 1970: to_timestamp(at / 1000.0).
-- `wake`, `ended` and `until` are this server's clock, the only one that decides anything.
-- There are no foreign keys: one statement writes a log and its record, one removes both, and a check per record would
-- cost a row lock each.

DO $$ BEGIN
    -- IF NOT EXISTS would ask for the right to create schemas also where one is there already.
    IF to_regnamespace('"{schema}"') IS NULL THEN
        CREATE SCHEMA "{schema}";
    END IF;
END $$;

CREATE TABLE "{schema}".migration (
    version    bigint      PRIMARY KEY,
    applied    timestamptz NOT NULL DEFAULT now()
);

-- Every record changes the head of its log. The free third of each page is for that: a change of columns that no index
-- knows stays on its page (HOT), and writes to no index.
CREATE TABLE "{schema}".log (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant     text        NOT NULL,
    kind       text        NOT NULL,
    version    bigint      NOT NULL,
    key        text        NOT NULL,
    subject    text,
    key_id     text,
    digest     text        NOT NULL,
    status     text        NOT NULL,
    stage      text        NOT NULL,
    epoch      bigint      NOT NULL,
    records    bigint      NOT NULL,
    owner      bigint,
    claims     bigint      NOT NULL,
    recoveries bigint      NOT NULL,
    posted     bigint      NOT NULL,
    read       bigint      NOT NULL,
    begun      bigint      NOT NULL,
    updated    bigint      NOT NULL,
    wake       timestamptz,
    ended      timestamptz,
    UNIQUE (key, kind, tenant)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);

-- Ended logs outnumber all others. None of the indexes that those who look for work use knows of them.
CREATE INDEX log_open   ON "{schema}".log (status, id) WHERE status <> 'ended';
CREATE INDEX log_free   ON "{schema}".log (id)         WHERE status = 'running' AND owner IS NULL AND wake IS NULL;
CREATE INDEX log_parked ON "{schema}".log (wake)       WHERE status = 'running' AND owner IS NULL AND wake IS NOT NULL;
CREATE INDEX log_owned  ON "{schema}".log (owner, id)  WHERE status = 'running' AND owner IS NOT NULL;
CREATE INDEX log_mail   ON "{schema}".log (owner, id)  WHERE status = 'running' AND owner IS NOT NULL AND posted > read;
CREATE INDEX log_ended  ON "{schema}".log (ended, id)  WHERE status = 'ended';

-- What a claim compares, so that the planner knows how many logs will do.
CREATE STATISTICS "{schema}".log_work ON (version::text || ' ' || kind) FROM "{schema}".log;

CREATE TABLE "{schema}".record (
    log        bigint      NOT NULL,
    seq        bigint      NOT NULL,
    epoch      bigint      NOT NULL,
    at         bigint      NOT NULL,
    tenant     text        NOT NULL,
    subject    text,
    key_id     text,
    format     integer     NOT NULL,
    body       text        NOT NULL,
    PRIMARY KEY (log, seq)
);

CREATE TABLE "{schema}".instance (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text        NOT NULL,
    until      timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE "{schema}".mail (
    log        bigint      NOT NULL,
    number     bigint      NOT NULL,
    dedup      text        NOT NULL,
    at         bigint      NOT NULL,
    format     integer     NOT NULL,
    body       text        NOT NULL,
    PRIMARY KEY (log, number),
    UNIQUE (log, dedup)
);

INSERT INTO "{schema}".migration (version) VALUES (1);
