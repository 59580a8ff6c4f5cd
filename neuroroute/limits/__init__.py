"""
Limits: how much a caller may ask for. `rate` (requests and tokens per window), `concurrency` (calls at once), `budget` (money).

All of a call's limits are taken together or not at all, and on a warm path the answer is in the process. `window` counts exactly where there is
one process. Several processes share a limit through `leases`: each holds a `share` of units that the common store has already counted. The
store is Redis (`lease.lua`) or, for the workers of one machine, the `book` that one of them keeps for its `neighbours`. When it is away each
worker goes on with a part of every limit, and all parts together are the limit.
"""
