-- Where a key may be used: paths of the gateway, addresses of clients. NULL = all.
ALTER TABLE api_keys
    ADD COLUMN allowed_routes text[],
    ADD COLUMN allowed_ips text[];
