-- Sources that were added while a daemon ran: the settings of each as JSON, like a [[source]] table. They hold nothing secret.
CREATE TABLE sources (
    name     TEXT PRIMARY KEY,
    settings TEXT NOT NULL
) WITHOUT ROWID;

-- Sources that somebody paused, wherever they are configured.
CREATE TABLE paused (
    name TEXT PRIMARY KEY
) WITHOUT ROWID;
