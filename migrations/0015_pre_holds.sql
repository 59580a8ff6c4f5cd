-- What processes hold outlives a crash of the server (without one wait for the disk: a commit here is not waited for), and a message that comes
-- late, after its sender gave it up and sent another one, changes nothing.
ALTER TABLE budget_holds SET LOGGED;
ALTER TABLE budget_holds ADD COLUMN turn bigint NOT NULL DEFAULT 0;   -- counts the messages of a holder

-- One process tells what it holds of one budget and asks for more: `need` for calls that wait (`one`: the least that helps one of them), up to its
-- part of what is left, among at least `parts` processes. The answer is binding: what is not granted here is nobody's to spend.
-- Where nobody runs anything, a budget that is not spent grants one more call, whatever it can cost; a strict one does not.
CREATE FUNCTION hold_money(
    scope_ text, subject_ text, period_ text, since timestamptz, most numeric, strict boolean, held numeric, free numeric, running bigint,
    need numeric, one numeric, holder_ text, turn_ bigint, parts bigint, ttl_s double precision,
    OUT spent numeric, OUT others numeric, OUT others_free numeric, OUT holders bigint, OUT granted numeric
) LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
    others_run bigint;
    known_turn bigint;
    room numeric;
    lack numeric := greatest(one - free, 0);
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(hashtextextended(scope_ || ' ' || subject_ || ' ' || period_, 7239457));
    moment := clock_timestamp();
    SELECT coalesce(sum(cost_nanousd), 0) INTO spent FROM usage_daily AS d
    WHERE at >= since AND d.part = scope_
        AND d.a = CASE WHEN scope_ = 'tag' THEN split_part(subject_, '=', 1) ELSE subject_ END
        AND d.b = CASE WHEN scope_ = 'tag' THEN substr(subject_, strpos(subject_, '=') + 1) ELSE '' END;
    SELECT coalesce(sum(held_nanousd), 0), coalesce(sum(free_nanousd), 0), coalesce(sum(calls), 0), count(*) + 1
    INTO others, others_free, others_run, holders FROM budget_holds AS h
    WHERE h.scope = scope_ AND h.subject = subject_ AND h.period = period_ AND h.holder <> holder_ AND h.until > moment;
    granted := 0;
    SELECT h.turn INTO known_turn FROM budget_holds AS h
    WHERE h.scope = scope_ AND h.subject = subject_ AND h.period = period_ AND h.holder = holder_;
    IF known_turn >= turn_ THEN
        RETURN;
    END IF;
    room := most - spent - others - held;
    IF need > 0 THEN
        IF room >= need THEN
            granted := greatest(need, trunc(room / greatest(holders, parts)));
        ELSIF room > 0 AND room >= lack THEN
            granted := room;
        ELSIF room + free > 0 AND running = 0 AND others_run = 0 AND NOT strict THEN
            granted := lack;
        END IF;
    END IF;
    IF held + granted > 0 OR running > 0 THEN
        INSERT INTO budget_holds AS h
        VALUES (
            scope_, subject_, period_, holder_, held + granted, free + granted, running + (need > 0 AND granted > 0)::int,
            moment + ttl_s * interval '1 second', turn_
        )
        ON CONFLICT (scope, subject, period, holder) DO UPDATE SET
            held_nanousd = excluded.held_nanousd, free_nanousd = excluded.free_nanousd, calls = excluded.calls, until = excluded.until,
            turn = excluded.turn;
    ELSE
        DELETE FROM budget_holds AS h WHERE h.scope = scope_ AND h.subject = subject_ AND h.period = period_ AND h.holder = holder_;
    END IF;
END
$$;
