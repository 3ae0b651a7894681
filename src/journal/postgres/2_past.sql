-- Version 2: operators look for what has become of a tenant's sagas, or of a definition's, oldest first. Without these that
-- reads all ended sagas. On a large table they take a while and hold up writers meanwhile; each may be made by hand before,
-- outside a transaction:
--
--   CREATE INDEX CONCURRENTLY log_past ON "{schema}".log (tenant, id) WHERE status = 'ended';
--   CREATE INDEX CONCURRENTLY log_past_of ON "{schema}".log (kind, id) WHERE status = 'ended';
--
-- One that was interrupted is there under its name, costs every write and answers nothing, and is taken for made below. Look
-- at it first; where `indisvalid` is false, drop it and begin anew:
--
--   SELECT indexrelid::regclass, indisvalid FROM pg_index WHERE indrelid = '"{schema}".log'::regclass;

CREATE INDEX IF NOT EXISTS log_past    ON "{schema}".log (tenant, id) WHERE status = 'ended';
CREATE INDEX IF NOT EXISTS log_past_of ON "{schema}".log (kind, id)   WHERE status = 'ended';

INSERT INTO "{schema}".migration (version) VALUES (2);
