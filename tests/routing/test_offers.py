"""From the configuration to the catalogue."""

from neuroroute.core import settings as core_settings
from neuroroute.core.config import build, from_environment
from neuroroute.core.types import Model
from neuroroute.routing.offers import catalog_of


def test_a_known_model_that_a_provider_did_not_list_can_be_named_but_is_not_offered():
    """Who points OPENAI_BASE_URL at a server that lists little, or nothing useful, names models that it serves all the same."""
    settings = core_settings.read({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    listed = Model("house-model", "openai", "house-model")
    catalog = catalog_of(build(from_environment(settings)), settings, {"openai": [listed]}, {})
    assert catalog.find("gpt-4o-mini")[0].name == "openai/gpt-4o-mini"
    assert "gpt-4o-mini" not in catalog.listing() and "house-model" in catalog.listing()
    assert {entry.name for entry in catalog.candidates()} == {"house-model"}
