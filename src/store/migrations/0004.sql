-- The listing in parts: none is held whole beside its rows, and where messages were added to many
-- others only the last part changes.
CREATE TABLE listing_part (
    mailbox BIGINT NOT NULL REFERENCES listing (mailbox) ON DELETE CASCADE,
    part BIGINT NOT NULL,
    messages BLOB NOT NULL,
    PRIMARY KEY (mailbox, part)
);
INSERT INTO listing_part SELECT mailbox, 0, messages FROM listing;
ALTER TABLE listing DROP COLUMN messages;
