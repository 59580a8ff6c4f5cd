-- Whether answers to like questions serve for this key; NULL: as its policy or the configuration says.
ALTER TABLE api_keys ADD COLUMN semantic_cache boolean;
