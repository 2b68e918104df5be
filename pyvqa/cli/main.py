"""`pyvqa COMMAND ...`: find the command, run it, turn what goes wrong into one line.

Exit codes: 0 done, 1 something a user can mend (one line on stderr), 2 bad arguments, 130
interrupted, 141 when the reader of the output has gone.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence

# command -> (module, what it does); a module is imported only when its command is chosen.
COMMANDS: dict[str, tuple[str, str]] = {
    "info": ("pyvqa.cli.info", "versions, devices and which kernels are built"),
    "demo": ("pyvqa.cli.demo", "answer questions about fresh scenes; needs no data"),
    "synth": ("pyvqa.cli.synth", "write the built-in world in an official layout"),
    "render": ("pyvqa.cli.render", "pictures and masks of any CLEVR scene file"),
    "prepare": ("pyvqa.cli.prepare", "turn official files into what training reads"),
    "train": ("pyvqa.cli.train", "train a stage of a system, or continue it"),
    "ask": ("pyvqa.cli.ask", "answer a question about a picture, with the reasons"),
    "eval": ("pyvqa.cli.evaluate", "a trained model's scores on an official split"),
    "compare": ("pyvqa.cli.compare", "runs side by side: who is best, by which metric"),
    "execute": ("pyvqa.cli.execute", "run symbolic programs over scene files"),
    "convert": ("pyvqa.cli.convert", "weights of the original releases, both ways"),
    "view": ("pyvqa.cli.view", "pages of training curves and of reasoning traces"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `pyvqa` and return its exit code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    split = next((i for i, a in enumerate(argv) if not a.startswith("-")), len(argv))
    parser = _top_parser()
    options = parser.parse_args(argv[:split])
    if split == len(argv):
        parser.print_help(sys.stderr)
        return 2
    name = argv[split]
    if name not in available():
        close = difflib.get_close_matches(name, available(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "`pyvqa --help` lists the commands"
        parser.error(f"unknown command {name!r}; {hint}")
    return run_command(name, argv[split + 1 :], f"pyvqa {name}", show_traceback=options.traceback)


def train() -> int:
    """Run `pyvqa-train`."""
    return run_command("train", sys.argv[1:], "pyvqa-train")


def evaluate() -> int:
    """Run `pyvqa-eval`."""
    return run_command("eval", sys.argv[1:], "pyvqa-eval")


def prepare() -> int:
    """Run `pyvqa-prepare`."""
    return run_command("prepare", sys.argv[1:], "pyvqa-prepare")


def ask() -> int:
    """Run `pyvqa-ask`."""
    return run_command("ask", sys.argv[1:], "pyvqa-ask")


def available() -> list[str]:
    """Return the commands of this installation."""
    return [name for name, (module, _) in COMMANDS.items() if importlib.util.find_spec(module)]


def command_parser(name: str, prog: str) -> argparse.ArgumentParser:
    """Build the argument parser of one command, importing its module."""
    module = importlib.import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(
        prog=prog,
        description=module.__doc__,
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    module.add_arguments(parser)
    parser.set_defaults(run=module.main)
    return parser


def run_command(
    name: str, arguments: Sequence[str], prog: str, *, show_traceback: bool = False
) -> int:
    """Parse one command's arguments, run it and return its exit code."""
    parser = command_parser(name, prog)
    args = parser.parse_args(list(arguments))
    return explained(lambda: int(args.run(args)), show_traceback=show_traceback or args.traceback)


def explained(action: Callable[[], int], *, show_traceback: bool = False) -> int:
    """Run `action`; give its exit code, or print one line and give the code of what went wrong."""
    try:
        code = action()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, e.g. `pyvqa info | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except Exception as error:
        if show_traceback:
            traceback.print_exc()
        _say(_message(error))
        return 1
    return code


def _message(error: Exception) -> str:
    from pyvqa.errors import PyvqaError

    if isinstance(error, PyvqaError):
        return str(error)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}; check the path, the rights and the free space"
    if isinstance(error, MemoryError):
        return "not enough memory; use smaller batches or files"
    return f"unexpected {type(error).__name__}: {error}; please report it with --traceback"


def _say(message: str) -> None:
    print(f"pyvqa: {' '.join(message.split())}", file=sys.stderr)


def _top_parser() -> argparse.ArgumentParser:
    import pyvqa

    lines = [f"  {name:<9} {COMMANDS[name][1]}" for name in available()]
    parser = argparse.ArgumentParser(
        prog="pyvqa",
        usage="pyvqa [--version] [--traceback] COMMAND ...",
        description="Visual reasoning systems on one C++/CUDA core.",
        epilog="commands:\n" + "\n".join(lines) + "\n\n`pyvqa COMMAND --help` has examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pyvqa {pyvqa.__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


if __name__ == "__main__":
    sys.exit(main())
