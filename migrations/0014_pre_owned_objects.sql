-- Whose a provider's object is: files, batches, vector stores. All users share the provider's account, so it can not tell.
CREATE TABLE owned_objects (
    id text PRIMARY KEY,                     -- the provider's
    user_id text NOT NULL,
    provider text NOT NULL,
    created_at timestamptz NOT NULL
);
