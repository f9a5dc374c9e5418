"""The `clnet` command: `clnet devices`, `doctor`, `bench` and `tune`.

A subcommand is a module with `configure(parser)`, which adds its options, and `run(options)`, which
returns the exit status; its docstring's first line is its help.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from clnet.cli import bench, devices, doctor, tune
from clnet.errors import ClnetError

COMMANDS = {"devices": devices, "doctor": doctor, "bench": bench, "tune": tune}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's); returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="clnet", description="Tensors and neural networks on every OpenCL device."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        module.configure(commands.add_parser(name, help=summary, description=summary))
    options = parser.parse_args(arguments)
    try:
        status = COMMANDS[options.command].run(options)
        sys.stdout.flush()
        return status
    except ClnetError as error:
        print(f"clnet {options.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # `clnet devices | head`: nobody reads the rest, and Python must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
