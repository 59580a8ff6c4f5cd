"""
What this gateway offers at present: the configuration's layers and the servers that were found, made into a catalogue whenever one of them changes.

A change swaps the whole catalogue at once; calls that run keep the one that they began with.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from neuroroute.core.config import DATABASE, Config, ConfigFaulty, Layer, build, from_environment
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.settings import Settings
from neuroroute.core.types import Model, Provider
from neuroroute.routing.catalog import Catalog, CatalogHolder
from neuroroute.routing.offers import catalog_of, rule_faults

_log = logging.getLogger("neuroroute.offer")


@dataclass(frozen=True, slots=True)
class Found:
    """
    What servers say themselves. models: per provider; local: servers on this machine that answered unasked.
    """

    models: Mapping[str, Sequence[Model]] = field(default_factory=dict)
    local: Mapping[str, Provider] = field(default_factory=dict)


class Offer:
    """
    The configuration in effect (`config`) and its catalogue (`holder.current`).

    layers: the sources of the configuration over the environment, the later ones win. Raises: ConfigFaulty with every fault at once.
    """

    def __init__(self, settings: Settings, layers: Sequence[Layer] = (), found: Found = Found()) -> None:
        self._settings, self._found = settings, found
        self._environment = from_environment(settings)
        self.on_swap: Callable[[Catalog], None] = lambda catalog: None
        self._layers: dict[str, Layer] = {layer.source: layer for layer in layers}
        self.config, catalog = self._made(self._layers, found)
        self.holder = CatalogHolder(catalog)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The sources in effect, the strongest last."""
        return (self._environment, *self._layers.values())

    @property
    def below(self) -> tuple[Layer, ...]:
        """The sources that what admins change lies over."""
        return tuple(layer for layer in self.layers if layer.source != DATABASE)

    def tried(self, layer: Layer) -> tuple[Config, Catalog]:
        """What would be in effect with a source in a new state. Raises ConfigFaulty."""
        return self._made(self._with(layer), self._found)

    def take(self, layer: Layer) -> None:
        """A source in a new state. Raises ConfigFaulty: then all stays as it is."""
        layers = self._with(layer)
        self.config, catalog = self._made(layers, self._found)
        self._layers = layers
        self._swap(catalog)

    def _with(self, layer: Layer) -> dict[str, Layer]:
        """The database's word is the last one, whichever source came last."""
        layers = self._layers | {layer.source: layer}
        return {source: layers[source] for source in sorted(layers, key=lambda source: source == DATABASE)}

    def find(self, found: Found) -> None:
        """Servers say something new."""
        if found == self._found:
            return
        try:
            _, catalog = self._made(self._layers, found)
        except ConfigFaulty as fault:  # a reference that only the new models break: the old catalogue still serves
            _log.warning("the models that were found do not fit the configuration: %s", fault)
            return
        self._found = found
        self._swap(catalog)

    def _swap(self, catalog: Catalog) -> None:
        if catalog.version != self.holder.current.version:
            _log.info("%d models of %d providers", len(catalog.entries), len(catalog.providers))
        for warning in catalog.warnings:
            _log.warning("%s", warning)
        self.holder.swap(catalog)
        self.on_swap(catalog)

    def _made(self, layers: Mapping[str, Layer], found: Found) -> tuple[Config, Catalog]:
        config = build(self._environment, *layers.values(), checks=[rule_faults])
        try:
            return config, catalog_of(config, self._settings, found.models, found.local)
        except ValueError as fault:
            raise ConfigFaulty([str(fault)]) from fault
