-- What nothing uses any more: the triggers' old functions, and an index that usage_records_status made superfluous.
DROP TRIGGER usage_records_times ON usage_records;
DROP FUNCTION sum_up;
DROP FUNCTION sum_times;
DROP INDEX usage_records_not_ok;
