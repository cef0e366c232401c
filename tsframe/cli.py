"""The command line: ``tsframe plan | run | refine | status | verify | repair | pack``.

The commands are imported when they are called, so that ``tsframe --help`` answers at once. Exit
codes: 0 all cells settled, or stopped by SIGUSR1 before the time is up; 1 some cells failed; 2
refused, with one sentence that says why; 3 unfinished, or ended by a fault of the machine; 130
stopped by Ctrl-C; 143 stopped by SIGTERM; of ``verify`` 0 clean, 1 repairable, 2 damaged.
"""

import signal
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

__all__ = ["main"]

app = App(
    name="tsframe",
    help="Teacher-student sweeps: plan them, run them, look at how far they are.",
    suppress_keyboard_interrupt=False,
)
app.command(
    "tsframe.commands:plan", help="Say what a sweep would take: cells, chunks, disk and time."
)
app.command("tsframe.commands:run", help="Train what is missing of a sweep, then draw its figures.")
app.command("tsframe.refining:refine", help="Train more only where a boundary is uncertain.")
app.command("tsframe.commands:status", help="Say how far a store is: done, failed, to do.")
app.command("tsframe.upkeep:verify", help="Look for damage in a store.")
app.command("tsframe.upkeep:repair", help="Mend what verify finds, losing nothing that is right.")
app.command("tsframe.upkeep:pack", help="Write a copy of a store to publish, for plain xarray.")


def main(tokens: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code.

    Parameters
    ----------
    tokens : sequence of str, optional
        The words after ``tsframe``; by default those of the command line.
    """
    try:
        app(tokens, exit_on_error=False)
    except CycloptsError:
        sys.exit(2)  # cyclopts has said why
    except KeyboardInterrupt as stopped:
        number = getattr(stopped, "signum", signal.SIGINT)
        announced = number == getattr(signal, "SIGUSR1", None)
        leave(
            f"{'interrupted' if number == signal.SIGINT else signal.Signals(number).name}; what "
            "was finished is kept, the same command goes on.",
            0 if announced else 128 + number,
        )
    except RuntimeError as error:
        leave(str(error), 3)
    except (ValueError, TypeError, OSError, ImportError) as error:
        leave(str(error), 2)


def leave(sentence: str, code: int) -> None:
    """Say why and exit."""
    print(f"tsframe: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
