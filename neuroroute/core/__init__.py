"""The ground floor: facts, errors, and the doors to JSON, time, ids, tokens. Imports nothing of the product."""
