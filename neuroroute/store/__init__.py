"""
What outlives a process: PostgreSQL (`postgres` the pool, `embedded` our own server, `migrate` the schema), key-value stores (`kv`), and one file
per table, which holds all SQL of that table.

A table class is built over the pool or over a transaction: `Users(database)`, `Users(transaction)`. Rows are frozen; ids and times come from here,
never from the database. Pages are newest first, `(rows, total)`.
"""
