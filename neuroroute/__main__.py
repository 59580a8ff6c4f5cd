"""`python -m neuroroute` and the command `neuroroute`."""

import gc
import sys


def main() -> int:
    """The exit status."""
    if sys.argv[1:2] in (["nursery"], ["serve"]):
        gc.disable()  # until calls are served: what imports make stays, so looking through it is a tenth of a start in vain
    if sys.argv[1:2] == ["nursery"]:  # started by the supervisor alone: no time for a command line
        from neuroroute.serve import nursery

        return nursery.run(*map(int, sys.argv[2:4]))
    from neuroroute.cli import main as run_command

    return run_command()


if __name__ == "__main__":
    sys.exit(main())
