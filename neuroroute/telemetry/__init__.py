"""
Telemetry: what a process tells about itself. `metrics` counts calls and hands them to Prometheus, added up over all workers of a machine;
`series` holds the numbers and `shared` passes them between workers.
"""
