"""Entry point: runs the program and turns whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from lambdatrace.cli.environment import Environment
from lambdatrace.errors import LambdatraceError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "lambdatrace"
EXIT_INTERRUPTED = 128 + 2  # as a shell reports SIGINT
EXIT_BROKEN_PIPE = 128 + 13  # and SIGPIPE
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Run `lambdatrace` with the arguments of this process, then exit."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # Closed, as `2>&-` does it; else the next file that is opened would be in its place.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123  # until the end
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a stand-in for it, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # A window's executions are millions of objects and no cycles: looking for these again and again
    # takes as long as all the rest; and so are the modules that are loaded from here on.
    gc.set_threshold(200_000)
    _leave(program(sys.argv[1:], Environment()))


def _leave(code: int) -> NoReturn:
    """End this process, without freeing all there is first: it goes with the process anyway.

    To do it object by object takes a tenth of the time that `list` needs besides loading typer.
    """
    atexit._run_exitfuncs()
    try:
        print(end="", flush=True)
    except (OSError, ValueError):
        sys.exit(code)  # which says what there is to say of it
    try:
        print(end="", file=sys.stderr, flush=True)
    finally:
        os._exit(code)  # where nobody listens there is nothing to say


def program(arguments: Sequence[str], environment: Environment) -> int:
    """Run one command and return its exit code; never raises for what a user can cause."""
    # A shell that completes may want to know of any command.
    completes = "_LAMBDATRACE_COMPLETE" in os.environ
    try:
        # Here, for it takes a third of the time: somebody may press Ctrl-C meanwhile.
        from lambdatrace.cli.app import make_app

        app = make_app(None if completes else arguments)
        # Alone it says what it is: Click would hand over all of its help as an error's message.
        words = list(arguments) or ["--help"]
        code = app(args=words, prog_name=PROGRAM, standalone_mode=False, obj=environment)
        environment.stdout.flush()
    except LambdatraceError as error:
        environment.error(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _broken_pipe(environment)
    except OSError as error:
        if "--install-completion" in arguments:
            environment.error(
                f"completion cannot be installed: {error}",
                "have your shell read what lambdatrace --show-completion prints",
            )
            return 1
        if error.errno not in _FULL:
            return _other(error, environment)
        environment.error(f"what was found cannot be written: {error.strerror}", "make room for it")
        return _unwritten(environment, 1)
    except SystemExit as end:
        # Typer makes 1 of a broken pipe, whatever it is told.
        if isinstance(end.__context__, BrokenPipeError):
            return _broken_pipe(environment)
        raise
    except Exception as error:  # noqa: BLE001  # the last line of defence
        return _other(error, environment)
    return code if isinstance(code, int) else 0


def _other(error: Exception, environment: Environment) -> int:
    # Typer brought its parser along in some versions and imported it in others: its errors are
    # known by what they can do.
    describe: Any = getattr(error, "format_message", None)
    if callable(describe):
        context = getattr(error, "ctx", None)
        path = getattr(context, "command_path", PROGRAM)
        environment.error(describe().replace("\n", " "), f"see {path} --help")
        return int(getattr(error, "exit_code", 2))
    if type(error).__name__ == "Abort":
        return EXIT_INTERRUPTED
    if environment.debug:
        import traceback

        traceback.print_exception(error, file=environment.stderr)
    environment.error(
        f"unexpected {type(error).__name__}: {error}",
        "this is a bug in lambdatrace: please report it, with what LAMBDATRACE_DEBUG=1 shows",
    )
    return 1


def _broken_pipe(environment: Environment) -> int:
    """The reader went away, as `head` does: no error."""
    return _unwritten(environment, EXIT_BROKEN_PIPE)


def _unwritten(environment: Environment, code: int) -> int:
    """`code`, after what is left and cannot be written was thrown away."""
    if environment.stdout is sys.__stdout__:
        # Or the interpreter would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
    return code
