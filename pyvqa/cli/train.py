"""Train a stage of a system; the same command on an interrupted run continues it."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyvqa.errors import ConfigError, DataError

EXAMPLES = """examples:
  pyvqa train ns-vqa/parser-pretrain --out runs/parser data.questions=train.h5
  pyvqa train ns-vqa/parser-pretrain --out runs/parser --optim.lr 1e-4 train.steps=20000
  pyvqa train runs/parser/config.yaml --out runs/again          repeat a run exactly
  torchrun --nproc-per-node 4 -m pyvqa.cli.train murel/vqa2 --out runs/murel

A run that was stopped, by Ctrl-C or by anything else, goes on with the command it was begun with
and ends as if it had never stopped. Ctrl-C finishes the step and saves; a second one stops at once.
Settings under train. that only say how a run is carried out (workers, device, checkpoint_every,
keep, max_minutes, ...) may differ then."""

# Seconds between two drawings of `view.html` while a run goes on.
_DRAW_EVERY = 60.0


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments; overrides may also be given as `--group.key value`."""
    parser.add_argument("config", help="a shipped config by name, e.g. murel/vqa2, or a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="e.g. optim.lr=1e-4 train.epochs=3"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="RUN",
        help="run folder; an interrupted run there is continued",
    )
    _accept_overrides_anywhere(parser)


def main(args: Namespace) -> int:
    """Train; give 0, or 130 or 143 when Ctrl-C or SIGTERM paused the run."""
    from pyvqa.systems import STAGES
    from pyvqa.train.config import load_config, read_source
    from pyvqa.train.distributed import join
    from pyvqa.train.logging import logger, show_messages
    from pyvqa.train.loop import fit
    from pyvqa.train.run import Run
    from pyvqa.train.stage import resolve_stage

    show_messages()
    name = read_source(args.config).get("stage")
    if not isinstance(name, str):
        raise ConfigError(
            f"{args.config}: stage is required; add e.g. stage: ns-vqa/parser-pretrain"
        )
    stage = resolve_stage(name, STAGES)
    config = load_config(args.config, args.overrides, stage.config_type)
    if config.stage != name:
        raise ConfigError("stage cannot be overridden; name a config of that stage instead")
    with join(config.train) as ranks:
        run = Run.open(args.out, config, writer=ranks.rank == 0)
        try:
            outcome = fit(run, stage, config, ranks, after_checkpoint=_page_writer())
            _draw(run)
        finally:
            run.close()
        if ranks.rank == 0:
            best = (
                f", best {config.train.best} {outcome.best:.6g}" if outcome.best is not None else ""
            )
            how = "finished" if outcome.finished else "paused; the same command continues it"
            logger.info("%s: step %d%s; %s", args.out, outcome.step, best, how)
    return 128 + outcome.signal if outcome.signal else 0


def take_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part a command line into other arguments and `key=value` overrides, wherever these stand.

    `--group.key value` and `--group.key=value` count as overrides because of the dot.
    """
    rest: list[str] = []
    overrides: list[str] = []
    tokens = iter(arguments)
    for token in tokens:
        option, equals, _ = token.partition("=")
        if option.startswith("--") and "." in option:
            value = token if equals else f"{token}={next(tokens, '')}"
            overrides.append(value.removeprefix("--"))
        elif equals and not token.startswith("-") and not (rest and rest[-1] == "--out"):
            overrides.append(token)
        else:
            rest.append(token)
    return rest, overrides


def _accept_overrides_anywhere(parser: ArgumentParser) -> None:
    """Let a parser find overrides before and after options, which argparse alone cannot."""
    parse = parser.parse_known_args

    def parse_known_args(args: Any = None, namespace: Any = None) -> Any:
        import sys

        rest, overrides = take_overrides(sys.argv[1:] if args is None else args)
        found, unknown = parse(rest, namespace)
        found.overrides = [*found.overrides, *overrides]
        return found, unknown

    setattr(parser, "parse_known_args", parse_known_args)  # noqa: B010 (a method is replaced)


def _page_writer() -> Callable[[Any], None]:
    """Make a hook that draws a run's page at checkpoints, but not too often."""
    last = time.monotonic()

    def write(run: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= _DRAW_EVERY:
            _draw(run)
            last = time.monotonic()

    return write


def _draw(run: Any) -> None:
    """Write `view.html`; a page that cannot be drawn is no reason to lose a run."""
    from pyvqa.files import write_text
    from pyvqa.train.logging import logger
    from pyvqa.view.curves import curves_page

    if not run.writer:
        return
    try:
        write_text(run.folder / "view.html", curves_page([run.folder]))
    except DataError as error:
        logger.warning("no view.html: %s", error)


if __name__ == "__main__":  # For `torchrun -m pyvqa.cli.train`.
    from pyvqa.cli.main import train

    raise SystemExit(train())
