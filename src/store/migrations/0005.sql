-- What signs an account in (OAuth 2), sealed with a key that is not in here. Each change has a new
-- version, so that nobody replaces what they have not seen.
CREATE TABLE token (
    sign_in TEXT NOT NULL,
    username TEXT NOT NULL,
    version BIGINT NOT NULL,
    refresh BLOB,
    access BLOB NOT NULL,
    obtained_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    signed_in_at BIGINT NOT NULL,
    -- Why the provider no longer takes it; until a person signs in anew.
    refused TEXT,
    -- As whom popbridge was refused; as another client it may be taken.
    refused_as TEXT,
    PRIMARY KEY (sign_in, username)
);
