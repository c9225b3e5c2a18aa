-- A mailbox under one UIDVALIDITY: what its UIDs mean.
CREATE TABLE mailbox (
    id INTEGER PRIMARY KEY,
    upstream TEXT NOT NULL,
    username TEXT NOT NULL,
    folder TEXT NOT NULL,
    uid_validity BIGINT NOT NULL,
    UNIQUE (upstream, username, folder, uid_validity)
);

-- Messages that one login deleted and does not see any more; they stay on the server.
CREATE TABLE hidden (
    mailbox BIGINT NOT NULL REFERENCES mailbox (id) ON DELETE CASCADE,
    login TEXT NOT NULL,
    uid BIGINT NOT NULL,
    hidden_at BIGINT NOT NULL,
    PRIMARY KEY (mailbox, login, uid)
);

-- Sizes that were counted while a whole message was sent, where RFC822.SIZE says otherwise.
CREATE TABLE counted (
    mailbox BIGINT NOT NULL REFERENCES mailbox (id) ON DELETE CASCADE,
    uid BIGINT NOT NULL,
    octets BIGINT NOT NULL,
    PRIMARY KEY (mailbox, uid)
);
