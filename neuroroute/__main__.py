"""`python -m neuroroute` and the command `neuroroute`."""

import gc
import signal
import sys


def main() -> int:
    """The exit status."""
    if sys.argv[1:2] in (["worker"], ["serve"]):
        gc.disable()  # until calls are served: what imports make stays, so looking through it is a tenth of a start in vain
    if sys.argv[1:2] == ["worker"]:  # started by the supervisor alone: no time for a command line
        # Ctrl-C reaches the whole group of the terminal: what follows is the supervisor's to say
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from neuroroute.core import settings
        from neuroroute.serve import worker

        slot, listener_fd, control_fd = map(int, sys.argv[2:5])
        return worker.run(settings.read(), slot, listener_fd, control_fd)
    from neuroroute.cli import main as run_command

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
