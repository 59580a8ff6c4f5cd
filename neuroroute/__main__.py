"""`python -m neuroroute` and the command `neuroroute`."""

import sys


def main() -> int:
    """The exit status."""
    if sys.argv[1:2] == ["worker"]:  # started by the supervisor alone: no time for a command line
        from neuroroute.core import settings
        from neuroroute.serve import worker

        slot, listener_fd, control_fd = map(int, sys.argv[2:5])
        return worker.run(settings.read(), slot, listener_fd, control_fd)
    from neuroroute.cli import main as command_line

    return command_line()


if __name__ == "__main__":
    sys.exit(main())
