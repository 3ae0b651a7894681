PRAGMA application_id = 1836283001; PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE instance (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL,
    until      INTEGER NOT NULL
) STRICT;
CREATE TABLE log (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    subject    TEXT,
    key_id     TEXT,
    digest     TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    records    INTEGER NOT NULL,
    claims     INTEGER NOT NULL,
    begun      INTEGER NOT NULL,
    version    INTEGER NOT NULL DEFAULT 1,
    stage      TEXT    NOT NULL DEFAULT '',
    owner      INTEGER,
    recoveries INTEGER NOT NULL DEFAULT 0,
    posted     INTEGER NOT NULL DEFAULT 0,
    read       INTEGER NOT NULL DEFAULT 0,
    wake       INTEGER NOT NULL DEFAULT 0,
    updated    INTEGER NOT NULL DEFAULT 0,
    written    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, kind, key)
) STRICT;
INSERT INTO "log" VALUES(1,'','order','completed',NULL,NULL,'55bcb42331100bdc4c49e1e65b714823','ended',1,6,0,1795667182606,3,'',NULL,0,0,0,0,1795667182621,1795667182621);
INSERT INTO "log" VALUES(2,'','order','compensated',NULL,NULL,'1975941db39cf12962eff6fd3ba91e31','ended',1,5,0,1795667182623,3,'',NULL,0,0,0,0,1795667182628,1795667182629);
INSERT INTO "log" VALUES(3,'','order','incident',NULL,NULL,'f47fd6338e8f98d8249b616ca0660219','held',1,5,0,1795667182633,3,'',NULL,0,0,0,0,1795667182640,1795667182640);
INSERT INTO "log" VALUES(4,'','order','abandoned',NULL,NULL,'ba6b329d3ab10d686f040293459d8f92','ended',1,6,0,1795667182644,3,'',NULL,0,0,0,0,1795667182648,1795667182648);
INSERT INTO "log" VALUES(5,'','order','held',NULL,NULL,'94cba0ab8aea044733ff7835987512ac','held',1,5,0,1795667182651,3,'',NULL,0,0,0,0,1795667182658,1795667182658);
INSERT INTO "log" VALUES(6,'','order','forward',NULL,NULL,'30774313e83c82cdfff01c3ef2638db5','running',1,3,0,1795667182660,3,'',NULL,0,0,0,0,1795667182662,1795667182660);
INSERT INTO "log" VALUES(7,'','order','unwinding',NULL,NULL,'5077610bca1344df4b4782afa6b9c70b','running',1,4,0,1795667183163,3,'',NULL,0,0,0,0,1795667183174,1795667183163);
INSERT INTO "log" VALUES(8,'','order','late',NULL,NULL,'2f03baf7b77780fe42ebd0f467e0c5d3','running',1,5,0,1795667183666,3,'',NULL,0,0,0,0,1795667183675,1795667183666);
CREATE TABLE mail (
    log        INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    dedup      TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    format     INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    PRIMARY KEY (log, number),
    UNIQUE (log, dedup)
) STRICT, WITHOUT ROWID;
CREATE TABLE record (
    log        INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    tenant     TEXT    NOT NULL,
    subject    TEXT,
    key_id     TEXT,
    format     INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    PRIMARY KEY (log, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "record" VALUES(1,1,1,1795667182606,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"e2aedfa2155a66b4","input":"order completed"}}]');
INSERT INTO "record" VALUES(1,2,1,1795667182615,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(1,3,1,1795667182617,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order completed ä",129900]}}]');
INSERT INTO "record" VALUES(1,4,1,1795667182620,'',NULL,NULL,1,'[{"done":{"step":"charge","output":129900}}]');
INSERT INTO "record" VALUES(1,5,1,1795667182621,'',NULL,NULL,1,'[{"done":{"step":"post","output":null}}]');
INSERT INTO "record" VALUES(1,6,1,1795667182621,'',NULL,NULL,1,'[{"done":{"step":"notify","output":"told order completed"}},{"finished":"completed"}]');
INSERT INTO "record" VALUES(2,1,1,1795667182623,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"7788f05af0ab9cb9","input":"order compensated"}}]');
INSERT INTO "record" VALUES(2,2,1,1795667182624,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(2,3,1,1795667182625,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order compensated ä",129900]}}]');
INSERT INTO "record" VALUES(2,4,1,1795667182625,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]');
INSERT INTO "record" VALUES(2,5,1,1795667182628,'',NULL,NULL,1,'[{"undone":{"step":"reserve"}},{"finished":"compensated"}]');
INSERT INTO "record" VALUES(3,1,1,1795667182633,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"7b1b49e04b25a8d7","input":"order incident"}}]');
INSERT INTO "record" VALUES(3,2,1,1795667182636,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(3,3,1,1795667182639,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order incident ä",129900]}}]');
INSERT INTO "record" VALUES(3,4,1,1795667182639,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]');
INSERT INTO "record" VALUES(3,5,1,1795667182640,'',NULL,NULL,1,'[{"incident":{"number":1,"class":"halted","step":"reserve","error":"the shelf is gone","attempts":1}}]');
INSERT INTO "record" VALUES(4,1,1,1795667182644,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"6b8275525a50cf51","input":"order abandoned"}}]');
INSERT INTO "record" VALUES(4,2,1,1795667182646,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(4,3,1,1795667182646,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order abandoned ä",129900]}}]');
INSERT INTO "record" VALUES(4,4,1,1795667182646,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]');
INSERT INTO "record" VALUES(4,5,1,1795667182647,'',NULL,NULL,1,'[{"incident":{"number":1,"class":"halted","step":"reserve","error":"the shelf is gone","attempts":1}}]');
INSERT INTO "record" VALUES(4,6,1,1795667182648,'',NULL,NULL,1,'[{"resolved":{"incident":1,"operation":"abandon","actor":"ann","reason":"settled by hand"}},{"finished":"abandoned"}]');
INSERT INTO "record" VALUES(5,1,1,1795667182651,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"a5ebf53ba679c4f5","input":"order held"}}]');
INSERT INTO "record" VALUES(5,2,1,1795667182652,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(5,3,1,1795667182652,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order held ä",129900]}}]');
INSERT INTO "record" VALUES(5,4,1,1795667182653,'',NULL,NULL,1,'[{"done":{"step":"charge","output":129900}}]');
INSERT INTO "record" VALUES(5,5,1,1795667182658,'',NULL,NULL,1,'[{"incident":{"number":1,"class":"halted","step":"post","error":"the period is closed","attempts":1}}]');
INSERT INTO "record" VALUES(6,1,1,1795667182660,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"cce44eb231a90f5e","input":"order forward"}}]');
INSERT INTO "record" VALUES(6,2,1,1795667182661,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(6,3,1,1795667182662,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order forward ä",129900]}}]');
INSERT INTO "record" VALUES(7,1,1,1795667183163,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"9ee83ca14211e31e","input":"order unwinding"}}]');
INSERT INTO "record" VALUES(7,2,1,1795667183164,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(7,3,1,1795667183171,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order unwinding ä",129900]}}]');
INSERT INTO "record" VALUES(7,4,1,1795667183174,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]');
INSERT INTO "record" VALUES(8,1,1,1795667183666,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"3ee0fa3d94d6a19d","input":"order late"}}]');
INSERT INTO "record" VALUES(8,2,1,1795667183667,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(8,3,1,1795667183673,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order late ä",129900]}}]');
INSERT INTO "record" VALUES(8,4,1,1795667183674,'',NULL,NULL,1,'[{"done":{"step":"charge","output":129900}}]');
INSERT INTO "record" VALUES(8,5,1,1795667183675,'',NULL,NULL,1,'[{"done":{"step":"post","output":null}}]');
CREATE INDEX log_open ON log (status, id) WHERE status <> 'ended';
CREATE INDEX log_turn ON log (owner, kind, version, wake, id) WHERE status = 'running';
CREATE INDEX log_parked ON log (wake) WHERE wake > 0;
CREATE INDEX log_mail ON log (owner, id) WHERE posted > read AND status = 'running';
CREATE INDEX log_ended ON log (kind, written, id) WHERE status = 'ended';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('log',8);
COMMIT;
