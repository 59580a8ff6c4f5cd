-- What admins change of providers and models is part of the configuration's versions; only the sealed credentials have a table of their own.
DROP TABLE models;
DROP TABLE providers;
CREATE TABLE provider_keys (
    name text PRIMARY KEY,                   -- the provider's
    sealed bytea NOT NULL,                   -- its key and headers, encrypted
    updated_at timestamptz NOT NULL
);
