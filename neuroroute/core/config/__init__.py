"""
Configuration: what is offered to clients, and how it is routed; from a YAML file, the environment and the database.

`models` is its shape, `text` reads a YAML file and knows where each key stands, `layers` puts the sources over each other and checks the sum,
`watch` follows the file, `patch` changes what a layer says. Every fault is told with its place, its key and what is allowed, all of a source together.
"""

from neuroroute.core.config.alerts import AlertConfig, AlertWebhookConfig
from neuroroute.core.config.layers import DATABASE, ENVIRONMENT, NAMED, Effective, build, effective, from_environment, mask_of
from neuroroute.core.config.learning import JudgeConfig, LearningConfig
from neuroroute.core.config.models import (
    BudgetConfig,
    CacheConfig,
    Config,
    HedgingConfig,
    LimitsConfig,
    ModelConfig,
    PolicyConfig,
    PriceConfig,
    ProviderConfig,
    RoutingConfig,
    RuleConfig,
    SecurityConfig,
    TimeoutsConfig,
    WeightsConfig,
    json_schema,
)
from neuroroute.core.config.patch import Change, changes, masked, patched
from neuroroute.core.config.text import ConfigFaulty, Layer, dump, parse, read, read_foreign
from neuroroute.core.config.watch import ConfigFile

__all__ = [
    "DATABASE",
    "ENVIRONMENT",
    "NAMED",
    "AlertConfig",
    "AlertWebhookConfig",
    "BudgetConfig",
    "CacheConfig",
    "Change",
    "Config",
    "ConfigFaulty",
    "ConfigFile",
    "Effective",
    "HedgingConfig",
    "JudgeConfig",
    "Layer",
    "LearningConfig",
    "LimitsConfig",
    "ModelConfig",
    "PolicyConfig",
    "PriceConfig",
    "ProviderConfig",
    "RoutingConfig",
    "RuleConfig",
    "SecurityConfig",
    "TimeoutsConfig",
    "WeightsConfig",
    "build",
    "changes",
    "dump",
    "effective",
    "from_environment",
    "json_schema",
    "mask_of",
    "masked",
    "parse",
    "patched",
    "read",
    "read_foreign",
]
