-- One row: the id under which this ledger owns collections.
CREATE TABLE ledger (
    owner BLOB NOT NULL
);

-- The bundle of each collection: its name, or the folder it lies in.
CREATE TABLE collections (
    name   TEXT PRIMARY KEY,
    bundle TEXT NOT NULL
) WITHOUT ROWID;

-- One row per content. `annotated` is 0 while its records in the store do not have its label and tags yet.
CREATE TABLE media (
    media_id  BLOB PRIMARY KEY,
    label     TEXT,
    tags      TEXT NOT NULL,
    probe     TEXT,
    annotated INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE INDEX media_to_annotate ON media (media_id) WHERE annotated = 0;

-- One row per path and collection. `media_id` is the content that searches show for the path, `next_media_id` the
-- content that is being indexed to replace it. `label` and `tags` are those of a path whose content is not indexed yet.
CREATE TABLE files (
    path          BLOB NOT NULL,
    collection    TEXT NOT NULL,
    size          INTEGER NOT NULL,
    modified_ns   INTEGER NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('pending', 'indexed', 'failed')),
    media_id      BLOB,
    next_media_id BLOB,
    kind          TEXT,
    reason        TEXT,
    tries         INTEGER NOT NULL DEFAULT 0,
    label         TEXT,
    tags          TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (path, collection),
    CHECK (state <> 'indexed' OR media_id IS NOT NULL),
    CHECK ((state = 'failed') = (kind IS NOT NULL)),
    CHECK ((state = 'pending') = (next_media_id IS NOT NULL))
) WITHOUT ROWID;
CREATE INDEX files_by_media ON files (media_id, collection) WHERE media_id IS NOT NULL;
CREATE INDEX files_by_next_media ON files (next_media_id, collection) WHERE next_media_id IS NOT NULL;

-- The records of one medium in one collection under one plan. The row is inserted before the first record is stored,
-- and deleted after the last record is. `windows` and `ids` count what the store has confirmed.
CREATE TABLE progress (
    media_id        BLOB NOT NULL,
    collection      TEXT NOT NULL,
    plan            TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('writing', 'done', 'leaving')),
    resume_at       INTEGER NOT NULL DEFAULT 0,
    windows         INTEGER NOT NULL DEFAULT 0,
    ids             BLOB NOT NULL,
    last_picture_ns INTEGER,
    problems        TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (media_id, collection, plan)
) WITHOUT ROWID;
CREATE UNIQUE INDEX progress_one_done ON progress (media_id, collection) WHERE state = 'done';
CREATE UNIQUE INDEX progress_one_writing ON progress (media_id, collection) WHERE state = 'writing';
CREATE INDEX progress_leaving ON progress (media_id) WHERE state = 'leaving';
