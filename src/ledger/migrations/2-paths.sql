-- Every path of `files` once, with an index of its trigrams for looking up patterns. The triggers keep both as `files`
-- changes. Updates of `files` never change a path.
CREATE TABLE paths (
    id   INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE
);
CREATE VIRTUAL TABLE path_trigrams USING fts5 (
    path, content = '', contentless_delete = 1, detail = 'none', tokenize = 'trigram case_sensitive 1'
);
CREATE TRIGGER paths_appear AFTER INSERT ON files
WHEN NOT EXISTS (SELECT 1 FROM paths WHERE path = new.path)
BEGIN
    INSERT INTO paths (path) VALUES (new.path);
    INSERT INTO path_trigrams (rowid, path) SELECT id, CAST(path AS TEXT) FROM paths WHERE path = new.path;
END;
CREATE TRIGGER paths_go AFTER DELETE ON files
WHEN NOT EXISTS (SELECT 1 FROM files WHERE path = old.path)
BEGIN
    DELETE FROM path_trigrams WHERE rowid = (SELECT id FROM paths WHERE path = old.path);
    DELETE FROM paths WHERE path = old.path;
END;
INSERT INTO paths (path) SELECT DISTINCT path FROM files;
INSERT INTO path_trigrams (rowid, path) SELECT id, CAST(path AS TEXT) FROM paths;
