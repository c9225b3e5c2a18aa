-- What is known of each mailbox is kept under its newest UIDVALIDITY; `messages` is how many the
-- last listing had.
ALTER TABLE mailbox ADD COLUMN current BIGINT NOT NULL DEFAULT 0;
ALTER TABLE mailbox ADD COLUMN messages BIGINT NOT NULL DEFAULT 0;
UPDATE mailbox SET current = 1
    WHERE id IN (SELECT MAX(id) FROM mailbox GROUP BY upstream, username, folder);
DELETE FROM mailbox WHERE current = 0;

-- The cache: UIDs and sizes as the last listing had them. May be emptied at any time.
DROP TABLE counted;
CREATE TABLE listing (
    mailbox BIGINT PRIMARY KEY REFERENCES mailbox (id) ON DELETE CASCADE,
    listed_at BIGINT NOT NULL,
    uid_next BIGINT,
    highest_modseq BIGINT,
    messages BLOB NOT NULL,
    -- When the mail server last named all of them; 0: it must be asked to.
    full_at BIGINT NOT NULL DEFAULT 0
);

-- Where a message was first seen, when that was under another UIDVALIDITY or another UID: its
-- unique id derives from there.
CREATE TABLE origin (
    mailbox BIGINT NOT NULL REFERENCES mailbox (id) ON DELETE CASCADE,
    uid BIGINT NOT NULL,
    origin_validity BIGINT NOT NULL,
    origin_uid BIGINT NOT NULL,
    PRIMARY KEY (mailbox, uid)
);

-- Unique ids that do not derive from numbers.
CREATE TABLE assigned (
    mailbox BIGINT NOT NULL REFERENCES mailbox (id) ON DELETE CASCADE,
    scheme TEXT NOT NULL,
    uid BIGINT NOT NULL,
    unique_id TEXT NOT NULL,
    PRIMARY KEY (mailbox, scheme, uid)
);

-- What a message is known by when its UID is no longer valid.
CREATE TABLE message_key (
    mailbox BIGINT NOT NULL REFERENCES mailbox (id) ON DELETE CASCADE,
    uid BIGINT NOT NULL,
    size BIGINT NOT NULL,
    object_id TEXT,
    message_id TEXT,
    identity BLOB,
    header BLOB NOT NULL,
    PRIMARY KEY (mailbox, uid)
);

-- With `newest`, what once fell out of the listing stays out of it.
CREATE TABLE watermark (
    mailbox BIGINT NOT NULL REFERENCES mailbox (id) ON DELETE CASCADE,
    login TEXT NOT NULL,
    newest BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    PRIMARY KEY (mailbox, login)
);

-- The removal journal (states pending and acting) and the trail of what was deleted.
CREATE TABLE deletion (
    id INTEGER PRIMARY KEY,
    upstream TEXT NOT NULL,
    username TEXT NOT NULL,
    folder TEXT NOT NULL,
    uid_validity BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    login TEXT NOT NULL,
    unique_id TEXT NOT NULL,
    action TEXT NOT NULL,
    state TEXT NOT NULL,
    deleted_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    message_id TEXT,
    header BLOB,
    target TEXT,
    target_validity BIGINT,
    target_uid BIGINT
);
CREATE INDEX deletion_pending ON deletion (upstream, username) WHERE state IN ('pending', 'acting');
CREATE INDEX deletion_login ON deletion (upstream, username, login, deleted_at);
CREATE INDEX deletion_age ON deletion (deleted_at);

-- Mailboxes made anew by their server in which too much would look new.
CREATE TABLE renumbering (
    upstream TEXT NOT NULL,
    username TEXT NOT NULL,
    folder TEXT NOT NULL,
    uid_validity BIGINT NOT NULL,
    former_messages BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    unmatched BIGINT NOT NULL,
    refused_at BIGINT NOT NULL,
    accepted BIGINT NOT NULL,
    PRIMARY KEY (upstream, username, folder)
);

-- UIDVALIDITY values that a mailbox has left, and how often: when one comes back, its UIDs may mean
-- other messages than those that had them first.
CREATE TABLE left_validity (
    upstream TEXT NOT NULL,
    username TEXT NOT NULL,
    folder TEXT NOT NULL,
    uid_validity BIGINT NOT NULL,
    times BIGINT NOT NULL,
    PRIMARY KEY (upstream, username, folder, uid_validity)
);
