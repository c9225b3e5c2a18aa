-- When the mail server last named all messages of the listing; 0: it must be asked to.
ALTER TABLE listing ADD COLUMN full_at BIGINT NOT NULL DEFAULT 0;
