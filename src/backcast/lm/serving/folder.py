"""The process of ``transformers serve`` for one folder: ``python -m backcast.lm.serving.folder FOLDER NAME HOST PORT
[MODULE ...]``; the modules are imported first (``backcast.compress`` makes packed folders load)."""

import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

from backcast.lm.serving.parent import end_with_parent


def main(folder: str, name: str, host: str, port: str, *preload: str) -> None:
    """Serves until its standard input closes."""
    end_with_parent()
    for module in preload:
        importlib.import_module(module)
    from transformers.cli.serve import Serve
    from transformers.cli.serving.model_manager import ModelManager

    listed = [{"id": name, "object": "model", "owned_by": "backcast", "created": int(time.time())}]
    # Its own list is of the hub's cache, fails where there is none, and leaves out the one model that it does serve.
    setattr(ModelManager, "get_gen_models", staticmethod(lambda cache_dir=None: listed))  # noqa: ARG005, B010
    with tempfile.TemporaryDirectory() as here:
        # It names a model by its path and answers to no other name; so the path becomes the name.
        (Path(here) / name).symlink_to(folder, target_is_directory=True)
        os.chdir(here)
        Serve(name, host=host, port=int(port), trust_remote_code=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
