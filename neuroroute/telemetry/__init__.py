"""
Telemetry: what a process tells about itself, and when it calls for help.

`metrics` counts calls and hands them to Prometheus, added up over all workers of a machine; `series` holds the numbers and `shared` passes them
between workers. Of these numbers `figures` makes what `alert_rules` judges, `machine` adds memory and CPU; `watch` does it every few seconds, in one
process of a deployment, keeps the alerts in the database, and `alerts` tells the webhook.
"""
