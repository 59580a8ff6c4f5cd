"""
A corpus of labelled user prompts, written for this project and given away under CC0: what the prompt classifier learns its labels from.

`base/` holds hand-written prompts, `docs/` texts to work on, `asks/` instructions for those texts, `phrases/` what people say around a
request, each by language. `material` reads them, `styles` makes them look typed by other hands (typos, lower case, prefaces, application
templates), `build` puts it all together with a fixed seed and writes `prompts.jsonl.gz`, which is committed. `group` is a family: one
written prompt or one instruction with everything made from it. Folds must not split a family.
"""
