PRAGMA application_id = 1836283001; PRAGMA user_version = 1;
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
    UNIQUE (tenant, kind, key)
) STRICT;
INSERT INTO "log" VALUES(1,'','order','completed',NULL,NULL,'55bcb42331100bdc4c49e1e65b714823','ended',1,6,0,1795666992845);
INSERT INTO "log" VALUES(2,'','order','compensated',NULL,NULL,'1975941db39cf12962eff6fd3ba91e31','ended',1,5,0,1795666992862);
INSERT INTO "log" VALUES(3,'','order','incident',NULL,NULL,'f47fd6338e8f98d8249b616ca0660219','held',1,5,0,1795666992886);
INSERT INTO "log" VALUES(4,'','order','abandoned',NULL,NULL,'ba6b329d3ab10d686f040293459d8f92','ended',1,6,0,1795666992906);
INSERT INTO "log" VALUES(5,'','order','held',NULL,NULL,'94cba0ab8aea044733ff7835987512ac','held',1,5,0,1795666992936);
INSERT INTO "log" VALUES(6,'','order','forward',NULL,NULL,'30774313e83c82cdfff01c3ef2638db5','running',1,3,0,1795666992947);
INSERT INTO "log" VALUES(7,'','order','unwinding',NULL,NULL,'5077610bca1344df4b4782afa6b9c70b','running',1,4,0,1795666993454);
INSERT INTO "log" VALUES(8,'','order','late',NULL,NULL,'2f03baf7b77780fe42ebd0f467e0c5d3','running',1,5,0,1795666993958);
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
INSERT INTO "record" VALUES(1,1,1,1795666992845,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"8b980d941cae3603","input":"order completed"}}]');
INSERT INTO "record" VALUES(1,2,1,1795666992860,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(1,3,1,1795666992860,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order completed ä",129900]}}]');
INSERT INTO "record" VALUES(1,4,1,1795666992861,'',NULL,NULL,1,'[{"done":{"step":"charge","output":129900}}]');
INSERT INTO "record" VALUES(1,5,1,1795666992861,'',NULL,NULL,1,'[{"done":{"step":"post","output":null}}]');
INSERT INTO "record" VALUES(1,6,1,1795666992861,'',NULL,NULL,1,'[{"done":{"step":"notify","output":"told order completed"}},{"finished":"completed"}]');
INSERT INTO "record" VALUES(2,1,1,1795666992862,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"53050ee678919a4f","input":"order compensated"}}]');
INSERT INTO "record" VALUES(2,2,1,1795666992866,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(2,3,1,1795666992876,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order compensated ä",129900]}}]');
INSERT INTO "record" VALUES(2,4,1,1795666992877,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]');
INSERT INTO "record" VALUES(2,5,1,1795666992880,'',NULL,NULL,1,'[{"undone":{"step":"reserve"}},{"finished":"compensated"}]');
INSERT INTO "record" VALUES(3,1,1,1795666992886,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"30663566228ef6d0","input":"order incident"}}]');
INSERT INTO "record" VALUES(3,2,1,1795666992888,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(3,3,1,1795666992892,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order incident ä",129900]}}]');
INSERT INTO "record" VALUES(3,4,1,1795666992892,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]');
INSERT INTO "record" VALUES(3,5,1,1795666992893,'',NULL,NULL,1,'[{"incident":{"number":1,"class":"halted","step":"reserve","error":"the shelf is gone","attempts":1}}]');
INSERT INTO "record" VALUES(4,1,1,1795666992906,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"98396bc47a07cbf4","input":"order abandoned"}}]');
INSERT INTO "record" VALUES(4,2,1,1795666992911,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(4,3,1,1795666992913,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order abandoned ä",129900]}}]');
INSERT INTO "record" VALUES(4,4,1,1795666992925,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]');
INSERT INTO "record" VALUES(4,5,1,1795666992928,'',NULL,NULL,1,'[{"incident":{"number":1,"class":"halted","step":"reserve","error":"the shelf is gone","attempts":1}}]');
INSERT INTO "record" VALUES(4,6,1,1795666992931,'',NULL,NULL,1,'[{"resolved":{"incident":1,"operation":"abandon","actor":"ann","reason":"settled by hand"}},{"finished":"abandoned"}]');
INSERT INTO "record" VALUES(5,1,1,1795666992936,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"69aecee524780bec","input":"order held"}}]');
INSERT INTO "record" VALUES(5,2,1,1795666992940,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(5,3,1,1795666992940,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order held ä",129900]}}]');
INSERT INTO "record" VALUES(5,4,1,1795666992940,'',NULL,NULL,1,'[{"done":{"step":"charge","output":129900}}]');
INSERT INTO "record" VALUES(5,5,1,1795666992943,'',NULL,NULL,1,'[{"incident":{"number":1,"class":"halted","step":"post","error":"the period is closed","attempts":1}}]');
INSERT INTO "record" VALUES(6,1,1,1795666992947,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"b6f8c21f149eee05","input":"order forward"}}]');
INSERT INTO "record" VALUES(6,2,1,1795666992952,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(6,3,1,1795666992955,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order forward ä",129900]}}]');
INSERT INTO "record" VALUES(7,1,1,1795666993454,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"646ea389b1035ac2","input":"order unwinding"}}]');
INSERT INTO "record" VALUES(7,2,1,1795666993456,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(7,3,1,1795666993457,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order unwinding ä",129900]}}]');
INSERT INTO "record" VALUES(7,4,1,1795666993457,'',NULL,NULL,1,'[{"failed":{"step":"charge","effect":"none","error":"the card is \"closed\"","attempts":1}},"unwind"]');
INSERT INTO "record" VALUES(8,1,1,1795666993958,'',NULL,NULL,1,'[{"started":{"definition":"order","version":3,"fingerprint":"a0bca643170d8023900816cd97217b44","nonce":"d1e36e6c88cfcdd4","input":"order late"}}]');
INSERT INTO "record" VALUES(8,2,1,1795666993960,'',NULL,NULL,1,'[{"done":{"step":"validate","output":129900}}]');
INSERT INTO "record" VALUES(8,3,1,1795666993963,'',NULL,NULL,1,'[{"done":{"step":"reserve","output":["shelf of order late ä",129900]}}]');
INSERT INTO "record" VALUES(8,4,1,1795666993965,'',NULL,NULL,1,'[{"done":{"step":"charge","output":129900}}]');
INSERT INTO "record" VALUES(8,5,1,1795666993968,'',NULL,NULL,1,'[{"done":{"step":"post","output":null}}]');
CREATE INDEX log_open ON log (status, id) WHERE status <> 'ended';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('log',8);
COMMIT;
