-- Who is signed in to the pages. The cookie itself is not stored: digest is its SHA-256. key_digest: of the key that was used; when that key ends,
-- so does the session.
CREATE TABLE sessions (
    digest bytea PRIMARY KEY,
    key_id text NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    key_digest bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_key ON sessions (key_id);
