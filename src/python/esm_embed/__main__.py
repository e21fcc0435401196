"""The command `esm-embed`, also as `python -m esm_embed`."""

import os
import signal
import sys

from ._native import command


def main() -> None:
    """Carries out the command line as the program does, and ends the process with its exit code."""
    # Python's handler would only set a flag. An ignored signal stays ignored, as under nohup.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    os._exit(command(["esm-embed", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
