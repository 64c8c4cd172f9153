"""The command line: one file per verb in this folder, found by name, imported only when it is asked for.

A verb's file holds a frozen dataclass ``Options`` (tyro turns it into flags), ``main(options)``, which returns the
object that ``--json`` prints, and ``show(result)``, which prints it for people. ``Options.parse`` replaces tyro where
flags are not fixed; ``Options.exit_code`` reads a code other than 0 off the result. A verb with sub-verbs holds
``VERBS = {name: (Options, main, show)}`` instead.
"""

import contextlib
import errno
import importlib
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from backcast import __version__
from backcast.core.errors import BadInput, WorkFailed, nearest

VERBS = {
    "demo": "the main job on the embedded model, report at the end",
    "run": "run a recipe: NAME or FILE.toml, or --resume DIR",
    "reason": "REER: the reasoning that makes known-good texts likely",
    "curate": "which questions still teach a model: levels, duplicates, a balanced draw",
    "compress": "a model in fewer bits, honestly counted: WGM, SplitQuant, round to nearest",
    "export": "a packed model for other runtimes: plain folder, GGUF, compressed-tensors, ONNX",
    "serve": "a model behind the OpenAI interface, packed ones too",
    "judge": "score a model on a file: gap with interval",
    "look": "answer a question about an image or a video by looking closer, with a picture of where",
    "game": "exact best responses, certified equilibria, the gap of an agent",
    "scene": "what happens next in streams of typed graphs: convert, fit, forecast, score",
    "route": "vehicle routes for thousands of customers: solve, train, ablate",
    "new": "a folder to start from: text, scene or game",
    "report": "write the report of a run again, or open it",
    "compare": "two runs side by side: paired difference with interval",
    "methods": "the ten papers and their state",
    "doctor": "versions, device, caches: paste this into a bug report",
}
"""Every verb with its line of help, in the order of ``--help``."""

NOTHING_LOST = (errno.ENOSPC, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT, errno.ENOTDIR)

NOT_WRITTEN = re.compile(
    r"(No space left on device|File too large|Disk quota exceeded|Read-only file system)(?= \(os error \d+\))"
    r"|PytorchStreamWriter failed writing file"
)
"""What safetensors (Rust) and torch say where a file cannot be written."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 0 done, 1 the work failed, 2 bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except BadInput as error:
        return _say(error, 2)
    except WorkFailed as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from here", 130)
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.errno not in NOTHING_LOST:
            raise
        where = f" '{error.filename}'" if error.filename else ""
        return _say(f"cannot write{where}: {error.strerror}; make room or name another folder, then run it again", 2)
    except Exception as error:
        # Libraries that write by themselves raise kinds of their own for a full disk.
        found = NOT_WRITTEN.search(str(error))
        if found is None:
            raise
        return _say(f"cannot write: {found[0]}; make room or name another folder, then run it again", 2)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())  # noqa: T201
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"backcast {__version__}")  # noqa: T201
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        raise BadInput(f"unknown command '{verb}'{nearest(verb, VERBS)} (backcast --help lists them)")
    module = importlib.import_module(f"backcast.cli.{verb}")
    if hasattr(module, "VERBS"):
        return _run(_sub_verb(verb, rest, module.VERBS), rest[1:], f"backcast {verb} {rest[0]}")
    return _run((module.Options, module.main, module.show), rest, f"backcast {verb}")


def _sub_verb(verb: str, rest: list[str], verbs: dict[str, Any]) -> Any:
    if not rest or rest[0] in ("-h", "--help"):
        lines = [f"  {name:<10} {(entry[0].__doc__ or '').splitlines()[0]}" for name, entry in verbs.items()]
        print("\n".join([f"usage: backcast {verb} VERB ...", "", *lines]))  # noqa: T201
        raise SystemExit(0 if rest else 2)
    if rest[0] not in verbs:
        raise BadInput(f"unknown command '{verb} {rest[0]}'{nearest(rest[0], verbs)}")
    return verbs[rest[0]]


def _run(entry: Any, rest: list[str], prog: str) -> int:
    from backcast.cli import places
    from backcast.core import params
    from backcast.learn import ranks

    options_type, work, show = entry
    plain, address = places.address(rest)
    words = [word for word in plain if word != "--json"]
    own = getattr(options_type, "parse", None)
    options = own(words, prog) if own else params.parse(options_type, words, prog=prog)
    code = getattr(options_type, "exit_code", lambda _: 0)
    name = " ".join([*prog.split()[1:], *filter(None, [getattr(options, "recipe", None)])])
    if not ranks.first() and name in places.TRAINED:
        return ranks.follow()
    if len(words) == len(plain):
        with places.placed(address, name), places.led(name):
            result = work(options)
        show(result)
        return int(code(result))
    # Whatever a library prints goes to stderr: with --json, stdout holds one line.
    with contextlib.redirect_stdout(sys.stderr), places.placed(address, name), places.led(name):
        result = work(options)
    print(json.dumps(result, ensure_ascii=False, allow_nan=False))  # noqa: T201
    return int(code(result))


def usage() -> str:
    """The text of ``backcast --help``."""
    lines = [f"  {verb:<10} {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "backcast: start from outcomes known to be good and work backwards to whatever reproduces them.",
            "",
            "usage: backcast VERB ... [--json]",
            "",
            *lines,
            "",
            "--engine ray --address auto spreads compress, judge, reason, game gap, route solve and most recipes over",
            "the Ray cluster that this machine is a node of; the results are the same.",
            "backcast VERB --help shows a verb's flags. Exit codes: 0 done, 1 the work failed, 2 bad input.",
        ]
    )


def _say(error: object, code: int) -> int:
    from backcast.learn import ranks

    ranks.after_the_first()
    text = " ".join(str(error).split())
    print(f"backcast: {text}", file=sys.stderr)  # noqa: T201
    return code
