"""
A corpus of labelled user prompts, written for this project and given away under CC0: what the prompt classifier learns its labels from.

`base/` holds hand-written prompts, `docs/` hand-written texts to work on, `asks/` instructions for those texts, one set of files per
language. `material` reads them, `phrases/` what people say around a
request, `styles` makes them look typed by other hands (typos, lower case, prefaces, application templates),
`build` puts it all together with a fixed seed and writes `prompts.jsonl.gz`. `group` is a family: one written prompt or one instruction
with everything made from it. Folds must not split a family.
"""
