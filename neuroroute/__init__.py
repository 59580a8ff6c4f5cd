"""NeuroRoute: an OpenAI-compatible proxy that sends each request to the model that suits it best."""

__version__ = "0.1.0"
