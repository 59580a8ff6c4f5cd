-- Lists of the calls of one label, which may be a rare one among millions.
CREATE INDEX usage_records_by_label ON usage_records (label, created_at DESC, request_id DESC);
