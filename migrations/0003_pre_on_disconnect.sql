-- What happens to a stream of this key when its client's line is cut.
ALTER TABLE api_keys
    ADD COLUMN on_disconnect text NOT NULL DEFAULT 'cancel' CHECK (on_disconnect IN ('cancel', 'finish', 'detach'));
