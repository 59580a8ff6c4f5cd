"""
Routing: which model answers a call.

catalog.py the snapshot of what there is · facts.py what is known of models · rules.py the operator's rules · forecast.py what a model would do
with a call · strategies.py gates, policies, stickiness · health.py breakers, live latency, retry budget · decision.py the question and the
answer · router.py from one to the other · explain.py the answer for people · refresh.py renews the facts

Nothing here does I/O or reads a clock of its own; a decision over twenty models takes tens of microseconds.
"""
