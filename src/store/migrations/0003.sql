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
