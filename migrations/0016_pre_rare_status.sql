-- The calls of one status that is rare among those that did not go well (cut, interrupted): found, instead of looked for along the time.
CREATE INDEX usage_records_status ON usage_records (status, created_at DESC, request_id DESC) WHERE status <> 'ok';
