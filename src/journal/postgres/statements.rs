//! What each operation says to PostgreSQL: one statement each, and one transaction.

use tokio_postgres::types::Type;

use super::config::SchemaName;
use super::session::Statement;
use crate::journal::Status;

/// The columns of a head, in the order in which [`row::head`](super::row::head) reads them.
const HEAD: &str = "l.id, l.tenant, l.kind, l.version, l.key, l.subject, l.key_id, l.digest, l.status, l.stage, \
                    l.epoch, l.records, l.owner, l.claims, l.recoveries, l.posted, l.read, l.begun, l.updated";

const INT: Type = Type::INT8;
const INTS: Type = Type::INT8_ARRAY;
const TEXT: Type = Type::TEXT;
const TEXTS: Type = Type::TEXT_ARRAY;

/// Everything that a journal says, with its schema put in.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) append: Statement,
    pub(super) append_many: Statement,
    pub(super) by_index: Statement,
    pub(super) ends: Statement,
    pub(super) lock: Statement,
    pub(super) begin: Statement,
    pub(super) existing: Statement,
    pub(super) claim: Statement,
    pub(super) head: Statement,
    pub(super) records: Statement,
    pub(super) mail: Statement,
    pub(super) join: Statement,
    pub(super) beat: Statement,
    pub(super) beat_mail: Statement,
    pub(super) leave: Statement,
    pub(super) release: Statement,
    pub(super) post: Statement,
    pub(super) prune: Statement,
}

/// Where one append's values are.
const ONE_ITEM: &str = "SELECT $1::int8 AS id, $2::int8 AS epoch, $3::int8 AS records, $4::text AS status, \
                        $5::text AS stage, $6::int8 AS park, $7::int8 AS seen, $8::text AS tenant, \
                        $9::text AS subject, $10::text AS key_id, $11::int8 AS at, $12::int4 AS format, \
                        $13::text AS body, $14::int8 AS version, 1::int8 AS n";

const MANY_ITEMS: &str = "SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::text[], $5::text[], $6::int8[], \
                          $7::int8[], $8::text[], $9::text[], $10::text[], $11::int8[], $12::int4[], $13::text[], \
                          $14::int8[]) \
                          WITH ORDINALITY AS i (id, epoch, records, status, stage, park, seen, tenant, subject, \
                          key_id, at, format, body, version, n)";

/// The head moves only where the log ends as the writer believes, and the record follows only where the head moved: the
/// row lock of the head is what makes two writers one after the other. What comes back is what was written.
const APPEND: &str = r#"
WITH item AS ({item}), moved AS (
    UPDATE "{schema}".log AS l
    SET records = l.records + 1, status = i.status, stage = coalesce(i.stage, l.stage), recoveries = 0, updated = i.at,
        version = coalesce(i.version, l.version),
        owner = CASE WHEN i.status = 'running' AND i.park IS NULL THEN l.owner END,
        read = greatest(l.read, least(l.posted, coalesce(i.seen, l.read))),
        wake = CASE WHEN l.posted <= greatest(l.read, i.seen) THEN now() + i.park * interval '1 microsecond' END,
        ended = CASE WHEN i.status = 'ended' THEN now() END
    FROM item AS i
    WHERE l.id = i.id AND l.epoch = i.epoch AND l.records = i.records
    RETURNING i.*, l.status = 'running' AND l.owner IS NULL AND l.wake IS NULL AS free
), written AS (
    INSERT INTO "{schema}".record (log, seq, epoch, at, tenant, subject, key_id, format, body)
    SELECT id, records + 1, epoch, at, tenant, subject, key_id, format, body FROM moved
)
SELECT n, CASE WHEN free THEN pg_notify('{channel}', '')::text END FROM moved"#;

/// Said in the transaction before many are appended. Parsing and planning that statement takes longer than writing two
/// dozen records does, so its plan is kept, and then it has to be right for a table of any size: the heads are found one
/// by one by their ids. Left to itself the planner reads the whole of a small table, and would go on when it is large.
const BY_INDEX: &str = "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), \
                        set_config('enable_mergejoin', 'off', true), \
                        set_config('plan_cache_mode', 'force_generic_plan', true)";

/// Where logs end, and whether their last record is the one at hand.
const ENDS: &str = r#"
SELECT i.n, l.epoch, l.records, r.epoch IS NOT DISTINCT FROM i.epoch AND r.body IS NOT DISTINCT FROM i.body
FROM unnest($1::int8[], $2::int8[], $3::text[]) WITH ORDINALITY AS i (id, epoch, body, n)
JOIN "{schema}".log AS l ON l.id = i.id
LEFT JOIN "{schema}".record AS r ON r.log = l.id AND r.seq = l.records"#;

/// Whoever has added a record holds this row until its commit is done or will not be.
const LOCK: &str = r#"SELECT id FROM "{schema}".log WHERE id = $1 FOR UPDATE"#;

/// Looks before it inserts, so that a key that is taken costs no id. Whoever comes between the two wins (`ON CONFLICT`).
/// The look is a subquery of its own and no join, so that it goes by the index whatever the planner believes of the size
/// of the table.
const BEGIN: &str = r#"
WITH item AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                         $9::int8[], $10::int8[], $11::int4[], $12::text[])
    WITH ORDINALITY AS i (tenant, kind, version, key, subject, key_id, digest, stage, owner, at, format, body, n)
), made AS (
    INSERT INTO "{schema}".log (tenant, kind, version, key, subject, key_id, digest, status, stage, epoch, records,
                                owner, claims, recoveries, posted, read, begun, updated)
    SELECT i.tenant, i.kind, i.version, i.key, i.subject, i.key_id, i.digest, 'running', i.stage, 1, 1,
           i.owner, 0, 0, 0, 0, i.at, i.at
    FROM item AS i
    WHERE (SELECT l.id FROM "{schema}".log AS l WHERE l.key = i.key AND l.kind = i.kind AND l.tenant = i.tenant) IS NULL
    ORDER BY i.n
    ON CONFLICT (key, kind, tenant) DO NOTHING
    RETURNING id, tenant, kind, key, owner
), written AS (
    INSERT INTO "{schema}".record (log, seq, epoch, at, tenant, subject, key_id, format, body)
    SELECT m.id, 1, 1, i.at, i.tenant, i.subject, i.key_id, i.format, i.body
    FROM made AS m JOIN item AS i USING (tenant, kind, key)
)
SELECT i.n, m.id, CASE WHEN m.owner IS NULL THEN pg_notify('{channel}', '')::text END
FROM made AS m JOIN item AS i USING (tenant, kind, key)"#;

const EXISTING: &str = r#"
SELECT {head}, i.n
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (tenant, kind, key, n)
JOIN "{schema}".log AS l ON l.key = i.key AND l.kind = i.kind AND l.tenant = i.tenant"#;

/// Three places hold logs that nobody carries on, each with an index of its own: free ones, parked ones that are due,
/// and those of owners without a lease. `owners` hops from one owner to the next along the index, so that it reads as
/// many rows as there are owners, and `dead` has those of them that are registered no more.
/// `lapsed` removes the leases that are over. A heartbeat that is under way holds its row, so its lease stays; one that
/// comes later waits for the claim, and finds that it has none.
/// The kinds are compared as one text ("1 invoice_payment"), which keeps the scans in the order of the ids. There are
/// statistics on it (`log_work`), without which the planner expects to read every log for a handful, and compiles.
const CLAIM: &str = r#"
WITH RECURSIVE owners (owner) AS (
    (SELECT l.owner FROM "{schema}".log AS l
     WHERE l.status = 'running' AND l.owner IS NOT NULL ORDER BY l.owner LIMIT 1)
    UNION ALL
    SELECT (SELECT l.owner FROM "{schema}".log AS l
            WHERE l.status = 'running' AND l.owner IS NOT NULL AND l.owner > o.owner ORDER BY l.owner LIMIT 1)
    FROM owners AS o WHERE o.owner IS NOT NULL
), lapsed AS (
    DELETE FROM "{schema}".instance
    WHERE id IN (SELECT id FROM "{schema}".instance WHERE until <= now() FOR UPDATE SKIP LOCKED)
    RETURNING id
), dead AS (
    SELECT o.owner FROM owners AS o
    WHERE o.owner IS NOT NULL
      AND (o.owner IN (SELECT id FROM lapsed)
           OR NOT EXISTS (SELECT 1 FROM "{schema}".instance AS i WHERE i.id = o.owner))
), free AS (
    SELECT l.id FROM "{schema}".log AS l
    WHERE l.status = 'running' AND l.owner IS NULL AND l.wake IS NULL AND l.id > $1
      AND l.version::text || ' ' || l.kind = ANY ($2) AND l.tenant <> ALL ($3)
    ORDER BY l.id LIMIT $4 FOR UPDATE SKIP LOCKED
), due AS (
    SELECT l.id FROM "{schema}".log AS l
    WHERE l.status = 'running' AND l.owner IS NULL AND l.wake IS NOT NULL AND l.wake <= now() AND l.id > $1
      AND l.version::text || ' ' || l.kind = ANY ($2) AND l.tenant <> ALL ($3)
    ORDER BY l.id LIMIT $4 FOR UPDATE SKIP LOCKED
), orphaned AS (
    SELECT o.id FROM dead AS d CROSS JOIN LATERAL (
        SELECT l.id FROM "{schema}".log AS l
        WHERE l.status = 'running' AND l.owner = d.owner AND l.id > $1
          AND l.version::text || ' ' || l.kind = ANY ($2) AND l.tenant <> ALL ($3)
        ORDER BY l.id LIMIT $4 FOR UPDATE SKIP LOCKED) AS o
), chosen AS (
    SELECT id FROM (SELECT id FROM free UNION ALL SELECT id FROM due UNION ALL SELECT id FROM orphaned) AS all_of_them
    ORDER BY id LIMIT $4
)
UPDATE "{schema}".log AS l
SET epoch = l.epoch + 1, owner = $5, claims = l.claims + 1, recoveries = l.recoveries + 1, wake = NULL
WHERE l.id = ANY (ARRAY (SELECT id FROM chosen))
RETURNING {head}"#;

const RECORDS: &str = r#"
SELECT seq, epoch, at, tenant, subject, key_id, format, body FROM "{schema}".record WHERE log = $1 ORDER BY seq"#;

const MAIL: &str = r#"
SELECT m.number, m.dedup, m.at, m.format, m.body FROM "{schema}".mail AS m
WHERE m.log = $1 AND m.number > (SELECT l.read FROM "{schema}".log AS l WHERE l.id = $1) ORDER BY m.number"#;

const JOIN: &str = r#"
INSERT INTO "{schema}".instance (name, until) VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond')
RETURNING id"#;

const BEAT: &str = r#"
UPDATE "{schema}".instance SET until = clock_timestamp() + $2 * interval '1 microsecond'
WHERE id = $1 AND until > clock_timestamp() RETURNING id"#;

const BEAT_MAIL: &str = r#"
SELECT id FROM "{schema}".log WHERE status = 'running' AND owner = $1 AND posted > read ORDER BY id LIMIT $2"#;

const LEAVE: &str = r#"
WITH gone AS (
    DELETE FROM "{schema}".instance WHERE id = $1
), back AS (
    UPDATE "{schema}".log SET owner = NULL, recoveries = greatest(0, recoveries - 1)
    WHERE status = 'running' AND owner = $1 RETURNING id
)
SELECT pg_notify('{channel}', '')::text WHERE EXISTS (SELECT 1 FROM back)"#;

const RELEASE: &str = r#"
WITH back AS (
    UPDATE "{schema}".log SET owner = NULL, recoveries = greatest(0, recoveries - 1)
    WHERE id = $1 AND epoch = $2 AND records = $3 AND owner IS NOT NULL RETURNING id
)
SELECT EXISTS (SELECT 1 FROM "{schema}".log WHERE id = $1), (SELECT pg_notify('{channel}', '')::text FROM back)"#;

/// Two that post the same at once: the second waits for the head, and then breaks the unique key of the message. Asked
/// again it finds the first.
const POST: &str = r#"
WITH known AS (
    SELECT number FROM "{schema}".mail WHERE log = $1 AND dedup = $2
), moved AS (
    UPDATE "{schema}".log SET posted = posted + 1, wake = NULL
    WHERE id = $1 AND status <> 'ended' AND NOT EXISTS (SELECT 1 FROM known) RETURNING id, posted
), added AS (
    INSERT INTO "{schema}".mail (log, number, dedup, at, format, body) SELECT id, posted, $2, $3, $4, $5 FROM moved
)
SELECT (SELECT number FROM known), (SELECT posted FROM moved), EXISTS (SELECT 1 FROM "{schema}".log WHERE id = $1),
       (SELECT pg_notify('{channel}', '')::text FROM moved)"#;

const PRUNE: &str = r#"
WITH old AS (
    SELECT id FROM "{schema}".log
    WHERE status = 'ended' AND ended < now() - $1 * interval '1 microsecond' AND ($2::text IS NULL OR kind = $2)
    ORDER BY ended, id LIMIT $3 FOR UPDATE SKIP LOCKED
), unposted AS (
    DELETE FROM "{schema}".mail WHERE log = ANY (ARRAY (SELECT id FROM old))
), unwritten AS (
    DELETE FROM "{schema}".record WHERE log = ANY (ARRAY (SELECT id FROM old))
), gone AS (
    DELETE FROM "{schema}".log WHERE id = ANY (ARRAY (SELECT id FROM old)) RETURNING id
)
SELECT count(*) FROM gone"#;

impl Statements {
    pub(super) fn new(schema: &SchemaName) -> Self {
        let fill = |text: &str| {
            let text = text
                .replace("{channel}", &schema.channel())
                .replace("{head}", HEAD);
            schema.fill(text.trim())
        };
        let kept = |text: &str, types| Statement {
            sql: fill(text),
            types,
            kept: true,
        };
        let fresh = |text: &str, types| Statement {
            sql: fill(text),
            types,
            kept: false,
        };
        Self {
            append: kept(
                &APPEND.replace("{item}", ONE_ITEM),
                &[
                    INT,
                    INT,
                    INT,
                    TEXT,
                    TEXT,
                    INT,
                    INT,
                    TEXT,
                    TEXT,
                    TEXT,
                    INT,
                    Type::INT4,
                    TEXT,
                    INT,
                ],
            ),
            append_many: kept(
                &APPEND.replace("{item}", MANY_ITEMS),
                &[
                    INTS,
                    INTS,
                    INTS,
                    TEXTS,
                    TEXTS,
                    INTS,
                    INTS,
                    TEXTS,
                    TEXTS,
                    TEXTS,
                    INTS,
                    Type::INT4_ARRAY,
                    TEXTS,
                    INTS,
                ],
            ),
            by_index: kept(BY_INDEX, &[]),
            ends: fresh(ENDS, &[INTS, INTS, TEXTS]),
            lock: fresh(LOCK, &[INT]),
            begin: kept(
                BEGIN,
                &[
                    TEXTS,
                    TEXTS,
                    INTS,
                    TEXTS,
                    TEXTS,
                    TEXTS,
                    TEXTS,
                    TEXTS,
                    INTS,
                    INTS,
                    Type::INT4_ARRAY,
                    TEXTS,
                ],
            ),
            existing: fresh(EXISTING, &[TEXTS, TEXTS, TEXTS]),
            claim: fresh(CLAIM, &[INT, TEXTS, TEXTS, INT, INT]),
            head: kept(
                "SELECT {head} FROM \"{schema}\".log AS l WHERE l.id = $1",
                &[INT],
            ),
            records: kept(RECORDS, &[INT]),
            mail: kept(MAIL, &[INT]),
            join: fresh(JOIN, &[TEXT, INT]),
            beat: kept(BEAT, &[INT, INT]),
            beat_mail: fresh(BEAT_MAIL, &[INT, INT]),
            leave: fresh(LEAVE, &[INT]),
            release: kept(RELEASE, &[INT, INT, INT]),
            post: kept(POST, &[INT, TEXT, INT, Type::INT4, TEXT]),
            prune: fresh(PRUNE, &[INT, TEXT, INT]),
        }
    }
}

/// A listing says only what is asked for, so that each goes by the index that suits it.
#[derive(Debug)]
pub(super) struct ListStatement {
    conditions: String,
    order: &'static str,
    types: usize,
}

impl ListStatement {
    /// The word is one of ours, and must be seen by the planner to match a partial index.
    pub(super) fn new(status: Status) -> Self {
        let word = status.as_str();
        let (conditions, order) = match status {
            Status::Ended => (format!("l.status = '{word}' AND l.id > $1"), "l.id"),
            // Said as a range of the index of open logs and in its order. Where a share of all logs is open the planner
            // walks them in the order of their ids otherwise, and the open ones are behind all that have ended.
            Status::Running | Status::Held => (
                format!(
                    "(l.status, l.id) > ('{word}', $1) AND l.status <= '{word}' AND l.status <> 'ended'"
                ),
                "l.status, l.id",
            ),
        };
        Self {
            conditions,
            order,
            types: 2,
        }
    }

    /// Adds a condition on the next value.
    pub(super) fn and(&mut self, condition: &str) {
        self.types = self.types.saturating_add(1);
        self.conditions
            .push_str(&format!(" AND {condition} ${}", self.types));
    }

    pub(super) fn sql(&self, schema: &SchemaName) -> String {
        format!(
            "SELECT {HEAD} FROM \"{schema}\".log AS l WHERE {} ORDER BY {} LIMIT $2",
            self.conditions, self.order
        )
    }
}
