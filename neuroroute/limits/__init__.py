"""
Limits: how much a caller may ask for. `rate` (requests and tokens per window), `concurrency` (calls at once), `budget` (money).

All of a call's limits are taken together or not at all. On a warm path the answer is in the process: `window` counts exactly where there is
one process, `leases` holds parts of limits that several workers share through Redis. When Redis is away each worker goes on with its share.
"""
