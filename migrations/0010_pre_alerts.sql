-- What went wrong, and when it was well again. At most one open alert for each rule and subject, whoever notices: who adds the row tells people.
CREATE TABLE alerts (
    id text PRIMARY KEY,
    name text NOT NULL,                      -- of the rule
    rule text NOT NULL,                      -- its kind: error_rate, memory, ...
    subject text NOT NULL,                   -- a provider, a budget, a machine; '' = the gateway as a whole
    value double precision NOT NULL,         -- when it fired
    above double precision NOT NULL,
    unit text NOT NULL,
    message text NOT NULL,
    instance text NOT NULL,                  -- the machine that noticed
    fired_at timestamptz NOT NULL,
    resolved_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,                    -- a user
    told_at timestamptz,                     -- when the webhook was told that it fires
    telling_failed text                      -- why it could not be
);
CREATE UNIQUE INDEX alerts_open ON alerts (name, subject) WHERE resolved_at IS NULL;
CREATE INDEX alerts_by_time ON alerts (fired_at, id);

-- What each machine measures, for the one that judges. Nothing of value: it is said again within seconds.
CREATE UNLOGGED TABLE alert_reports (
    instance text PRIMARY KEY,
    at timestamptz NOT NULL,
    report jsonb NOT NULL
);

-- Which process judges, until when, and how the rules stand.
CREATE UNLOGGED TABLE alert_watch (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    holder text NOT NULL,
    until timestamptz NOT NULL,
    at timestamptz NOT NULL,
    rules jsonb NOT NULL
);
