"""
Running the gateway: one process, or a supervisor of several workers that share one listening socket.

`run` is what `neuroroute serve` does; `database` owns the embedded server and the migrations, `process` runs one application from its start to
the end of its drain, `supervisor` keeps workers alive and replaces them, `worker` is what such a worker runs, `banner` greets.

Signals: SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reads the configuration again; SIGUSR2 replaces the workers one by one.
"""

from neuroroute.serve.run import StartFailed, run

__all__ = ["StartFailed", "run"]
