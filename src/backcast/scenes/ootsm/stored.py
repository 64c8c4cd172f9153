"""The folder of a fit: which kind it is, and the language model of it; ``model.TwoStage`` stores its own kind."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.core.files import write_json
from backcast.scenes.counts import Counts, Markov
from backcast.scenes.ootsm.mixing import Mixture
from backcast.scenes.problems.vocabulary import Vocabulary

if TYPE_CHECKING:
    from backcast.scenes.ootsm.language import Language
    from backcast.scenes.ootsm.model import TwoStage

FILE = "scenes.json"


def is_fit(folder: Path) -> bool:
    """Whether 'backcast scene fit' wrote the folder."""
    return (folder / FILE).is_file()


def load(folder: Path) -> "TwoStage | Language":
    """The model of a folder; raises BadInput when it is not one, or when its language model has changed since."""
    try:
        line = json.loads((folder / FILE).read_text(encoding="utf-8"))
        language = "base" in line
    except (OSError, ValueError, TypeError) as error:
        raise not_a_model(folder, error) from None
    if language:
        return _language(folder, line)
    from backcast.scenes.ootsm.model import TwoStage

    return TwoStage.load(folder)


def save_language(model: "Language", folder: Path, base: str, about: dict[str, object]) -> None:
    """Writes what ``load`` reads beside the adapters, which the fit put there; ``base`` is kept by name alone."""
    np.savez_compressed(folder / "counts.npz", **asdict(model.markov.counts))
    line = {"vocabulary": model.vocabulary.to_dict(), "base": base, "mixture": asdict(model.mixture)}
    shape = {"limit": model.asker.limit, "fingerprints": [model.listing.fingerprint, model.labelling.fingerprint]}
    write_json(folder / FILE, {**line, **shape, "known": list(model.known), "about": about})


def _language(folder: Path, line: dict[str, Any]) -> "Language":
    from backcast.scenes.ootsm.adapting import STAGES, adapted
    from backcast.scenes.ootsm.language import Language
    from backcast.scenes.ootsm.prompts import Asker

    try:
        words = Vocabulary.from_dict(line["vocabulary"], str(folder))
        mixture = Mixture.of(line["mixture"])
        base, limit, prints = str(line["base"]), int(line["limit"]), list(line["fingerprints"])
        with np.load(folder / "counts.npz", allow_pickle=False) as file:
            counts = Counts(**{name: file[name] for name in file.files})
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise not_a_model(folder, error) from None
    lms = [adapted(base, folder / stage) for stage in STAGES]
    if [lm.fingerprint for lm in lms] != prints:
        raise BadInput(f"'{folder}': its model '{base}' or an adapter is not what it was at the fit; fit again")
    asker = Asker(words, told=False, limit=limit)
    return Language(asker, lms[0], lms[1], Markov(words, counts), mixture, tuple(line.get("known", ())))


def not_a_model(folder: Path, error: Exception) -> BadInput:
    """The refusal of a folder that is no fit."""
    return BadInput(f"'{folder}' is not a model of 'backcast scene fit' ({type(error).__name__}: {error})")
