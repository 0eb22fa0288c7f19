PRAGMA application_id = 1398033742;
BEGIN TRANSACTION;
CREATE TABLE messages (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                id TEXT NOT NULL UNIQUE,
                session_id TEXT NOT NULL REFERENCES sessions (id),
                parent_id TEXT REFERENCES messages (id),
                role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
                content TEXT NOT NULL,
                status TEXT NOT NULL
                    CHECK (status IN ('complete', 'streaming', 'cancelled', 'interrupted', 'failed')),
                created_at TEXT NOT NULL,
                model TEXT,
                finish_reason TEXT,
                timings TEXT,
                error TEXT,
                writer_pid INTEGER
            ) STRICT
            ;
INSERT INTO "messages" VALUES(1,'00000000000000000000000000000001','a1b2c3d4',NULL,'user','How long does the dough rest?','complete','2025-01-02T08:01:00.000000+00:00',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "messages" VALUES(2,'00000000000000000000000000000002','a1b2c3d4','00000000000000000000000000000001','assistant','Twelve hours,
in a cool place.','complete','2025-01-02T08:02:00.000000+00:00','smollm2-135m','stop','{"prompt_tokens": 12, "tokens_per_second": 41.5}',NULL,NULL);
INSERT INTO "messages" VALUES(3,'00000000000000000000000000000003','a1b2c3d4','00000000000000000000000000000002','user','And in summer — at 30 °C?','complete','2025-01-02T08:03:00.000000+00:00',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "messages" VALUES(4,'00000000000000000000000000000004','a1b2c3d4','00000000000000000000000000000003','assistant','Then it','cancelled','2025-01-02T08:04:00.000000+00:00','smollm2-135m','cancelled',NULL,NULL,NULL);
CREATE TABLE migrations (position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, applied_at TEXT NOT NULL) STRICT;
INSERT INTO "migrations" VALUES(1,'001-sessions-and-messages','2025-01-02T07:59:00.000000+00:00');
CREATE TABLE sessions (
                number INTEGER PRIMARY KEY AUTOINCREMENT,
                id TEXT NOT NULL UNIQUE,
                title TEXT NOT NULL,
                title_key TEXT NOT NULL,
                titled INTEGER NOT NULL,
                created_at TEXT NOT NULL,
                updated_at TEXT NOT NULL,
                model TEXT,
                strategy TEXT,
                system_prompt TEXT,
                head_id TEXT REFERENCES messages (id)
            ) STRICT
            ;
INSERT INTO "sessions" VALUES(1,'a1b2c3d4','Sourdough bread','sourdough bread',1,'2025-01-02T08:00:00.000000+00:00','2025-01-02T08:05:00.000000+00:00','smollm2-135m',NULL,NULL,'00000000000000000000000000000004');
CREATE INDEX sessions_by_title ON sessions (title_key);
CREATE INDEX sessions_by_activity ON sessions (updated_at);
CREATE INDEX sessions_by_head ON sessions (head_id);
CREATE INDEX messages_by_session ON messages (session_id);
CREATE INDEX messages_by_parent ON messages (parent_id);
CREATE INDEX messages_streaming ON messages (status) WHERE status = 'streaming';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('sessions',1);
INSERT INTO "sqlite_sequence" VALUES('messages',4);
COMMIT;
