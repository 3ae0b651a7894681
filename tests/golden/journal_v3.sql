PRAGMA application_id = 1836283001; PRAGMA user_version = 3;
BEGIN TRANSACTION;
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
INSERT INTO log VALUES(1,'','order','completed',NULL,NULL,'55bcb42331100bdc4c49e1e65b714823','ended',1,6,0,1795708432372,3,'',NULL,0,0,0,0,1795708432374,1795708432374);
INSERT INTO log VALUES(2,'','order','compensated',NULL,NULL,'1975941db39cf12962eff6fd3ba91e31','ended',1,5,0,1795708432375,3,'',NULL,0,0,0,0,1795708432376,1795708432376);
INSERT INTO log VALUES(3,'','order','incident',NULL,NULL,'f47fd6338e8f98d8249b616ca0660219','held',1,5,0,1795708432377,3,'undo reserve',NULL,0,0,0,0,1795708432378,1795708432379);
INSERT INTO log VALUES(4,'','order','abandoned',NULL,NULL,'ba6b329d3ab10d686f040293459d8f92','ended',1,6,0,1795708432379,3,'undo reserve',NULL,0,0,0,0,1795708432382,1795708432382);
INSERT INTO log VALUES(5,'','order','held',NULL,NULL,'94cba0ab8aea044733ff7835987512ac','held',1,5,0,1795708432382,3,'post',NULL,0,0,0,0,1795708432384,1795708432384);
INSERT INTO log VALUES(6,'','order','forward',NULL,NULL,'30774313e83c82cdfff01c3ef2638db5','running',1,3,0,1795708432384,3,'charge',1,0,0,0,0,1795708432386,1795708432384);
INSERT INTO log VALUES(7,'','order','unwinding',NULL,NULL,'5077610bca1344df4b4782afa6b9c70b','running',1,4,0,1795708432886,3,'undo reserve',1,0,0,0,0,1795708432888,1795708432886);
INSERT INTO log VALUES(8,'','order','late',NULL,NULL,'2f03baf7b77780fe42ebd0f467e0c5d3','running',1,1,0,1795708433389,3,'validate',1,0,0,0,0,1795708433389,1795708433389);
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
    stage      TEXT,
    PRIMARY KEY (log, seq)
) STRICT;
INSERT INTO record VALUES(1,1,1,1795708432372,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"57a092812dfd7c24","input":"order completed"}}]',NULL);
INSERT INTO record VALUES(1,2,1,1795708432373,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]','reserve');
INSERT INTO record VALUES(1,3,1,1795708432373,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order completed ä",129900]}}]','charge');
INSERT INTO record VALUES(1,4,1,1795708432374,'',NULL,NULL,1,'[{"done":{"step":"charge","output":129900}}]','post');
INSERT INTO record VALUES(1,5,1,1795708432374,'',NULL,NULL,1,'[{"done":{"step":"post","output":null}}]','notify');
INSERT INTO record VALUES(1,6,1,1795708432374,'',NULL,NULL,1,'[{"done":{"step":"notify","output":"told order completed"}},{"finished":"completed"}]','');
INSERT INTO record VALUES(2,1,1,1795708432375,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"8ad7d04d345c9ea3","input":"order compensated"}}]',NULL);
INSERT INTO record VALUES(2,2,1,1795708432375,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]','reserve');
INSERT INTO record VALUES(2,3,1,1795708432376,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order compensated ä",129900]}}]','charge');
INSERT INTO record VALUES(2,4,1,1795708432376,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]','undo reserve');
INSERT INTO record VALUES(2,5,1,1795708432376,'',NULL,NULL,1,'[{"undone":{"step":"reserve"}},{"finished":"compensated"}]','');
INSERT INTO record VALUES(3,1,1,1795708432377,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"139c4a9dad68dd23","input":"order incident"}}]',NULL);
INSERT INTO record VALUES(3,2,1,1795708432377,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]','reserve');
INSERT INTO record VALUES(3,3,1,1795708432378,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order incident ä",129900]}}]','charge');
INSERT INTO record VALUES(3,4,1,1795708432378,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]','undo reserve');
INSERT INTO record VALUES(3,5,1,1795708432378,'',NULL,NULL,1,'[{"incident":{"number":1,"class":"halted","step":"reserve","error":"the shelf is gone","attempts":1,"allowed":["abandon","retry","retry_as_new","skip_undo"]}}]','undo reserve');
INSERT INTO record VALUES(4,1,1,1795708432379,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"014bf0b952d84137","input":"order abandoned"}}]',NULL);
INSERT INTO record VALUES(4,2,1,1795708432380,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]','reserve');
INSERT INTO record VALUES(4,3,1,1795708432380,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order abandoned ä",129900]}}]','charge');
INSERT INTO record VALUES(4,4,1,1795708432380,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]','undo reserve');
INSERT INTO record VALUES(4,5,1,1795708432381,'',NULL,NULL,1,'[{"incident":{"number":1,"class":"halted","step":"reserve","error":"the shelf is gone","attempts":1,"allowed":["abandon","retry","retry_as_new","skip_undo"]}}]','undo reserve');
INSERT INTO record VALUES(4,6,1,1795708432382,'',NULL,NULL,1,'[{"resolved":{"incident":1,"operation":"abandon","actor":"ann","reason":"settled by hand"}},{"finished":"abandoned"}]',NULL);
INSERT INTO record VALUES(5,1,1,1795708432382,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"5b6e3750781c9b6d","input":"order held"}}]',NULL);
INSERT INTO record VALUES(5,2,1,1795708432383,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]','reserve');
INSERT INTO record VALUES(5,3,1,1795708432383,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order held ä",129900]}}]','charge');
INSERT INTO record VALUES(5,4,1,1795708432383,'',NULL,NULL,1,'[{"done":{"step":"charge","output":129900}}]','post');
INSERT INTO record VALUES(5,5,1,1795708432384,'',NULL,NULL,1,'[{"incident":{"number":1,"class":"halted","step":"post","error":"the period is closed","attempts":1,"allowed":["abandon","retry","retry_as_new","supply_output","unwind"]}}]','post');
INSERT INTO record VALUES(6,1,1,1795708432384,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"2dae9e2bc3cdf360","input":"order forward"}}]',NULL);
INSERT INTO record VALUES(6,2,1,1795708432385,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]','reserve');
INSERT INTO record VALUES(6,3,1,1795708432386,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order forward ä",129900]}}]','charge');
INSERT INTO record VALUES(7,1,1,1795708432886,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"67a47fe5304deeb3","input":"order unwinding"}}]',NULL);
INSERT INTO record VALUES(7,2,1,1795708432887,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]','reserve');
INSERT INTO record VALUES(7,3,1,1795708432888,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order unwinding ä",129900]}}]','charge');
INSERT INTO record VALUES(7,4,1,1795708432888,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]','undo reserve');
INSERT INTO record VALUES(8,1,1,1795708433389,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"cb52f83e24956fd6","input":"order late"}}]',NULL);
INSERT INTO record VALUES(8,2,1,1795708433389,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]','reserve');
INSERT INTO record VALUES(8,3,1,1795708433390,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order late ä",129900]}}]','charge');
INSERT INTO record VALUES(8,4,1,1795708433390,'',NULL,NULL,1,'[{"done":{"step":"charge","output":129900}}]','post');
INSERT INTO record VALUES(8,5,1,1795708433391,'',NULL,NULL,1,'[{"done":{"step":"post","output":null}}]','notify');
CREATE TABLE instance (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL,
    until      INTEGER NOT NULL
) STRICT;
INSERT INTO instance VALUES(1,'',1795708447371);
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
CREATE TABLE log_behind (
    first      INTEGER PRIMARY KEY,
    last       INTEGER NOT NULL
) STRICT;
INSERT INTO log_behind VALUES(1,9223372036854775807);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('instance',1);
INSERT INTO sqlite_sequence VALUES('log',8);
CREATE INDEX log_open ON log (status, id) WHERE status <> 'ended';
CREATE INDEX log_turn ON log (owner, kind, version, wake, id) WHERE status = 'running';
CREATE INDEX log_parked ON log (wake) WHERE wake > 0;
CREATE INDEX log_mail ON log (owner, id) WHERE posted > read AND status = 'running';
CREATE INDEX log_ended ON log (kind, written, id) WHERE status = 'ended';
CREATE INDEX log_past ON log (tenant, id) WHERE status = 'ended';
CREATE INDEX log_past_of ON log (kind, id) WHERE status = 'ended';
COMMIT;
