"""
Caching: nothing paid for twice. `keys` says when two calls are the same, `policy` which calls may be answered from the cache and for how
long, `entry` is a kept answer, `responses` keeps them: first in the process, then in the key-value store that all workers share.
"""
