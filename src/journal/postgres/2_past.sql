-- Version 2: operators look for what has become of a tenant's sagas, oldest first. Without this that reads the ended sagas
-- of all tenants. On a large table it takes a while and holds up writers meanwhile; CREATE INDEX CONCURRENTLY with this
-- name and these columns may be run by hand before.

CREATE INDEX IF NOT EXISTS log_past ON "{schema}".log (tenant, id) WHERE status = 'ended';

INSERT INTO "{schema}".migration (version) VALUES (2);
