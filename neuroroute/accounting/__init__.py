"""
Accounting: what each call cost, and the way of its row into the books.

`cost` is exact arithmetic in nano-dollars. `ledger` takes the record of a finished call without waiting; `flusher` brings records to Postgres
in batches and lets go of them only when they are there. `journal` keeps them on disk meanwhile (`records` as bytes, in `frames`), so that a
killed process loses none: `recovery` takes over what it left.
"""
