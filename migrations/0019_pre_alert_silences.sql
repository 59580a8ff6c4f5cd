-- What nobody is to be told of for a while. It still fires, and is shown.
CREATE TABLE alert_silences (
    id text PRIMARY KEY,
    name text,                               -- of the rule; NULL = all
    subject text,                            -- a provider, a budget, a machine; NULL = all
    until timestamptz NOT NULL,
    comment text NOT NULL,
    created_by text,                         -- a user; NULL = the command line
    created_at timestamptz NOT NULL
);
