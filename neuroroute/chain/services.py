"""What the stages may use. Built once by `app`; frozen; passed by hand."""

import logging
from typing import TYPE_CHECKING

from neuroroute.access.keyring import Keyring
from neuroroute.accounting.ledger import Ledger
from neuroroute.adapters.transport import Transport
from neuroroute.caching.policy import Rules
from neuroroute.caching.responses import ResponseCache
from neuroroute.chain.allowance import Allowance
from neuroroute.chain.budget_rules import BudgetRules
from neuroroute.chain.flight import Flights
from neuroroute.chain.flight_shared import SharedFlights
from neuroroute.chain.learning import Learning
from neuroroute.chain.limit_rules import LimitRules
from neuroroute.chain.overload import Load
from neuroroute.chain.tapes import Tapes
from neuroroute.classifier import Classifier
from neuroroute.core.dataclass import dataclass, field
from neuroroute.core.settings import Settings
from neuroroute.limits.budget import Budgets
from neuroroute.limits.concurrency import Concurrency
from neuroroute.limits.queue import Queues
from neuroroute.limits.rate import Limiter
from neuroroute.limits.throttle import Throttles
from neuroroute.routing.catalog import CatalogHolder
from neuroroute.routing.health import Health, RetryBudget
from neuroroute.routing.router import Router
from neuroroute.routing.threads import Threads
from neuroroute.store.objects import OwnedObjects
from neuroroute.store.responses import StoredResponses
from neuroroute.store.usage import UsageRecord
from neuroroute.telemetry.metrics import Metrics
from neuroroute.telemetry.tracing import Traces

if TYPE_CHECKING:
    from neuroroute.chain.hedge import Hedging
    from neuroroute.chain.semantic import Semantic
    from neuroroute.chain.texts import Texts


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    keyring: Keyring
    load: Load
    limit_rules: LimitRules
    limiter: Limiter
    concurrency: Concurrency
    queues: Queues
    throttles: Throttles
    budget_rules: BudgetRules
    budgets: Budgets
    cache: ResponseCache
    cache_rules: Rules
    semantic: "Semantic"
    classifier: Classifier
    readings: Allowance  # of prompts whose model is named
    catalog: CatalogHolder
    router: Router
    threads: Threads
    health: Health
    retry_budget: RetryBudget
    hedging: "Hedging"
    transport: Transport
    responses: StoredResponses
    objects: OwnedObjects
    tapes: Tapes
    flights: Flights
    shared_flights: SharedFlights
    ledger: Ledger[UsageRecord]
    learning: Learning
    metrics: Metrics
    traces: Traces | None  # None: nobody wants them
    texts: "Texts | None"  # None: no text of a call is kept
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("neuroroute"))
