-- Responses of the Responses API, so that previous_response_id and item_reference work on providers that keep nothing.
-- response, input, conversation: JSON as bytes (a prompt may hold what jsonb can not); null where the provider keeps them itself; then the row only says who does.
CREATE TABLE stored_responses (
    id text PRIMARY KEY,
    user_id text NOT NULL,
    provider text NOT NULL,
    response bytea,
    input bytea,
    conversation bytea,
    item_ids text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX stored_responses_items ON stored_responses USING gin (item_ids);
CREATE INDEX stored_responses_expiry ON stored_responses (expires_at);
