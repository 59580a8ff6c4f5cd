-- What was asked and answered, where STORE_PROMPTS is on: masked, for some days, gone with its user. A key may say that its calls are not kept.
CREATE TABLE call_texts (
    request_id text PRIMARY KEY,
    user_id text NOT NULL REFERENCES users ON DELETE CASCADE,
    prompt text NOT NULL,
    answer text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX call_texts_by_time ON call_texts (created_at);
CREATE INDEX call_texts_by_user ON call_texts (user_id);
ALTER TABLE api_keys ADD COLUMN store_prompts boolean NOT NULL DEFAULT true;
