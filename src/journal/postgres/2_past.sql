-- Version 2: operators look for what has become of a tenant's sagas, or of a definition's, oldest first. Without these that
-- reads all ended sagas. On a large table they take a while and hold up writers meanwhile; CREATE INDEX CONCURRENTLY with
-- these names and columns may be run by hand before.

CREATE INDEX IF NOT EXISTS log_past    ON "{schema}".log (tenant, id) WHERE status = 'ended';
CREATE INDEX IF NOT EXISTS log_past_of ON "{schema}".log (kind, id)   WHERE status = 'ended';

INSERT INTO "{schema}".migration (version) VALUES (2);
