"""
Routing: which model answers a call.

catalog.py the snapshot of what there is · build.py makes it · offers.py from the configuration · facts.py what is known of models ·
rules.py the operator's rules · forecast.py what a model would do with a call · posteriors.py what was learned of models · strategies.py
gates, policies, stickiness · explore.py trying others · threads.py who answered last · health.py breakers, live latency, retry budget ·
decision.py the question and the answer · router.py from one to the other · explain.py the answer for people · evidence.py what an answer
says of its model · trail.py what a usage row keeps of a decision · replay.py past calls under another policy · refit.py new priors from what
was learned · judge.py what a judge is asked · refresh.py, priors.py renew the facts (by hand, never at run time)

Nothing here does I/O or reads a clock of its own but the router's, which is an argument; a decision over twenty models takes some forty
microseconds.
"""
