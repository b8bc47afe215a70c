"""The entry point of the command `chiso`. Its modules take a second or more to load; whoever presses Ctrl-C meanwhile
ends a process that has nothing to stop yet, and should not be shown where it was."""

from __future__ import annotations

import signal


def main() -> None:
    """As services.cli.main."""
    before = signal.getsignal(signal.SIGINT)
    loading = before is signal.default_int_handler  # else it is ignored, as in the background of a script
    if loading:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from services import cli

    if loading:
        signal.signal(signal.SIGINT, before)
    cli.main()


if __name__ == "__main__":
    main()
