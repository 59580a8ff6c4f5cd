-- What feedback and outcomes taught of models. A version is a set of quality priors with the counts that were gathered on top of it; the last one is in force, and
-- going back to an earlier one makes a new version with its priors and counts.

ALTER TABLE feedback ADD COLUMN label text;

CREATE TABLE learned_versions (
    version bigint PRIMARY KEY,
    origin text NOT NULL CHECK (origin IN ('refit', 'rollback')),
    priors jsonb NOT NULL,                   -- {"provider/model": {label: quality}}, in place of the catalogue's
    report jsonb NOT NULL,                   -- the figures that it was promoted for
    created_at timestamptz NOT NULL
);

CREATE TABLE learned_counts (
    version bigint NOT NULL,                 -- 0: on top of the catalogue's own priors
    model text NOT NULL,                     -- provider/model
    label text NOT NULL,                     -- `default`: the classifier was not sure
    tercile smallint NOT NULL CHECK (tercile BETWEEN 0 AND 2),
    good double precision NOT NULL,          -- an opinion that is taken back is subtracted
    bad double precision NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (version, model, label, tercile)
);

CREATE TRIGGER learned_changed AFTER INSERT ON learned_versions FOR EACH ROW EXECUTE FUNCTION tell('neuroroute_learned', 'version');
