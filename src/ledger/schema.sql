-- One row per place a medium lies at. `media_id` is the content whose windows are in the store for this path,
-- `next_media_id` the content being indexed to take its place.
CREATE TABLE files (
    path          BLOB PRIMARY KEY,
    size          INTEGER NOT NULL,
    modified_ns   INTEGER NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('pending', 'indexed', 'failed')),
    reason        TEXT,
    media_id      TEXT,
    next_media_id TEXT
) WITHOUT ROWID;
CREATE INDEX files_by_media ON files (media_id);

-- One row per content.
CREATE TABLE media (
    media_id TEXT PRIMARY KEY,
    label    TEXT,
    tags     TEXT NOT NULL DEFAULT '[]',
    probe    TEXT
) WITHOUT ROWID;

-- How far a medium is in a collection. `windows` are confirmed by the store.
CREATE TABLE progress (
    media_id   TEXT NOT NULL,
    collection TEXT NOT NULL,
    plan       TEXT NOT NULL,
    done       INTEGER NOT NULL,
    resume_at  INTEGER NOT NULL,
    windows    INTEGER NOT NULL,
    damage     TEXT,
    PRIMARY KEY (media_id, collection)
) WITHOUT ROWID;

-- The bundle behind each collection.
CREATE TABLE collections (
    name   TEXT PRIMARY KEY,
    bundle TEXT NOT NULL
) WITHOUT ROWID;
