-- The hours of live streams among the media. Their paths in `files` are not absolute, because no file lies there. `epoch` is
-- the Unix time in milliseconds at which the epoch began, `hour` counts whole hours since 1970. `uri` hides what is secret.
CREATE TABLE live (
    media_id BLOB PRIMARY KEY,
    source   TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    hour     INTEGER NOT NULL,
    uri      TEXT NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER live_goes AFTER DELETE ON media
BEGIN
    DELETE FROM live WHERE media_id = old.media_id;
END;

-- The epoch of each source that goes on when it is connected again, if its plan and codec are still these and the clock was
-- not set back behind `last_ms`, the time (Unix milliseconds) of its last frame.
CREATE TABLE epochs (
    source     TEXT NOT NULL,
    collection TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    plan       TEXT NOT NULL,
    codec      TEXT NOT NULL,
    last_ms    INTEGER NOT NULL,
    PRIMARY KEY (source, collection)
) WITHOUT ROWID;
