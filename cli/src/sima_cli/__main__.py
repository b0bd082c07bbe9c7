"""Starts `sima`. Loading it takes a moment, in which Ctrl-C ends it as quietly as later."""

import sys


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from sima_cli.main import app  # noqa: PLC0415 - that is what takes the moment

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
