"""
Routing: which model answers a call.

catalog.py the snapshot of what there is · build.py makes it · offers.py from the configuration · facts.py what is known of models ·
rules.py the operator's rules · forecast.py what a model would do with a call · strategies.py gates, policies, stickiness · threads.py who
answered last · posteriors.py what was learned of models · explore.py trying others · health.py breakers, live latency, retry budget · decision.py the question and the answer · router.py from one to the other
· explain.py the answer for people · refresh.py, priors.py renew the facts (by hand, never at run time)

Nothing here does I/O or reads a clock of its own but the router's, which is an argument; a decision over twenty models takes some forty
microseconds.
"""
