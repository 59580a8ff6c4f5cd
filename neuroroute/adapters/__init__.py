"""Translators between client dialects and upstream protocols, and the one outbound transport."""
