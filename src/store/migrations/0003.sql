-- How many keys of messages are known in each mailbox: every login asks, and counting them takes
-- longer than all else that it asks.
ALTER TABLE mailbox ADD COLUMN keys BIGINT NOT NULL DEFAULT 0;
UPDATE mailbox SET keys = (SELECT COUNT(*) FROM message_key WHERE message_key.mailbox = mailbox.id);
CREATE TRIGGER message_key_known AFTER INSERT ON message_key BEGIN
    UPDATE mailbox SET keys = keys + 1 WHERE id = NEW.mailbox;
END;
CREATE TRIGGER message_key_forgotten AFTER DELETE ON message_key BEGIN
    UPDATE mailbox SET keys = keys - 1 WHERE id = OLD.mailbox;
END;
