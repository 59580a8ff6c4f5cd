"""
Moving in: another gateway's configuration and keys, said in ours.

`draft` is what an import has made so far: our configuration, what could not be carried and why, and the variables that hold the secrets.
`services` knows where the providers live that others call by a word, `litellm` and `litellm_keys` read LiteLLM's files, `openrouter` reads
OpenRouter's. All of it is pure: nothing here asks a server; `cli.imports` reads files, writes and applies.
"""
