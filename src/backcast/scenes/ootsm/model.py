"""TwoStage: which objects each frame holds, then what holds of each; probabilities, mixed with those of counts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from backcast.core.errors import BadInput
from backcast.core.files import write_json
from backcast.scenes.counts import BINS, Counts, Markov, bin_of
from backcast.scenes.forecast import Case, GraphForecast
from backcast.scenes.ootsm.decoder import Decoder
from backcast.scenes.ootsm.encode import Encoder
from backcast.scenes.ootsm.losses import probabilities
from backcast.scenes.ootsm.samples import Sample, pad
from backcast.scenes.problems.clip import Frame, dense
from backcast.scenes.problems.vocabulary import Vocabulary

ASK = 0.02
"""Objects less likely than this in every frame asked for are not put to stage 2; Markov's predicates stand."""


@dataclass(frozen=True)
class Mixture:
    """How the network and the counts are mixed, by horizon bin, and from which chance on an object is listed."""

    objects: tuple[float, ...] = (1.0,) * BINS
    """Weight of stage 1; the rest is Markov's chance that the object stays or comes."""
    predicates: tuple[float, ...] = (1.0,) * BINS
    """Weight of stage 2; the rest is Markov's."""
    listed: float = 0.5
    """Chance of being there from which an object is listed."""


@dataclass(frozen=True)
class TwoStage:
    """A forecaster of two decoders with counts beside them."""

    encoder: Encoder
    listing: Decoder = field(repr=False)
    """Stage 1: the objects of each frame."""
    labelling: Decoder = field(repr=False)
    """Stage 2: the predicates of one object in each frame."""
    markov: Markov = field(repr=False)
    mixture: Mixture = Mixture()
    known: tuple[str, ...] = ()
    """Ids of the clips it was fitted on."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Of what it forecasts."""
        return self.encoder.vocabulary

    def forecast(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> GraphForecast:
        """Both stages, mixed; lists what is at least ``mixture.listed`` likely."""
        own, base = self.stages(name, seen, index)
        return mixed(own, base, self.mixture)

    @torch.no_grad()
    def stages(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> tuple[GraphForecast, GraphForecast]:
        """The network's forecast alone, and Markov's."""
        words, ahead = self.vocabulary, list(range(1, len(index) + 1))
        base = self.markov.forecast(name, seen, index)
        empty = np.zeros((len(index), len(words.objects)))
        logits = self._ask(self.listing, [Sample(self.encoder.scene(seen), ahead, empty, len(index))])[0]
        objects = empty.copy()
        allowed = list(words.candidates)
        chance = logits[:, self.encoder.thing(0) : self.encoder.thing(len(words.objects))].sigmoid().numpy()
        objects[:, allowed] = chance[:, allowed]
        predicates = base.predicates.copy()
        things = [o for o in allowed if max(objects[:, o].max(), base.objects[:, o].max()) >= ASK]
        if things:
            truth = np.zeros((len(index), len(words.predicates)))
            samples = [Sample(self.encoder.object(seen, o), ahead, truth, len(index), o) for o in things]
            held = probabilities(self._ask(self.labelling, samples)[..., self.encoder.predicate(0) :], words)
            predicates[:, things] = held.transpose(0, 1).numpy()
        return GraphForecast(name, np.array(index), objects, predicates, objects >= self.mixture.listed), base

    def _ask(self, decoder: Decoder, samples: list[Sample]) -> torch.Tensor:
        batch = pad(samples, self.encoder)
        logits: torch.Tensor = decoder(batch.prompt, batch.questions)
        return logits

    def save(self, folder: Path, about: dict[str, object] | None = None) -> None:
        """Writes the folder that ``load`` reads: JSON, safetensors and one .npz of counts."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        shape = {
            "width": self.listing.embed.embedding_dim,
            "layers": len(self.listing.blocks),
            "limit": self.encoder.limit,
        }
        for part in ("listing", "labelling"):
            save_file(getattr(self, part).state_dict(), str(folder / f"{part}.safetensors"))
        np.savez_compressed(folder / "counts.npz", **asdict(self.markov.counts))
        line = {"vocabulary": self.vocabulary.to_dict(), "shape": shape, "mixture": asdict(self.mixture)}
        write_json(folder / "scenes.json", {**line, "known": list(self.known), "about": about or {}})

    @classmethod
    def load(cls, folder: Path) -> "TwoStage":
        """The model of a folder; raises BadInput when it is not one."""
        import json

        from safetensors.torch import load_file

        try:
            line = json.loads((folder / "scenes.json").read_text(encoding="utf-8"))
            words = Vocabulary.from_dict(line["vocabulary"], str(folder))
            shape, mixture = line["shape"], line["mixture"]
            encoder = Encoder(words, shape["limit"])
            parts = []
            for part in ("listing", "labelling"):
                decoder = Decoder(encoder.size, shape["width"], shape["layers"])
                decoder.load_state_dict(load_file(str(folder / f"{part}.safetensors")))
                parts.append(decoder.eval())
            with np.load(folder / "counts.npz", allow_pickle=False) as file:
                counts = Counts(**{name: file[name] for name in file.files})
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadInput(
                f"'{folder}' is not a model of 'backcast scene fit' ({type(error).__name__}: {error})"
            ) from None
        found = Mixture(tuple(mixture["objects"]), tuple(mixture["predicates"]), mixture["listed"])
        return cls(encoder, parts[0], parts[1], Markov(words, counts), found, tuple(line.get("known", ())))


def mixed(own: GraphForecast, base: GraphForecast, mixture: Mixture) -> GraphForecast:
    """Convex in both stages, by horizon bin: near the last frame counts are hard to beat."""
    bins = bin_of(np.arange(1, len(own.index) + 1))
    first = np.array(mixture.objects)[bins][:, None]
    second = np.array(mixture.predicates)[bins][:, None, None]
    objects = first * own.objects + (1 - first) * base.objects
    predicates = second * own.predicates + (1 - second) * base.predicates
    return replace(own, objects=objects, predicates=predicates, listed=objects >= mixture.listed)


def mix_weights(model: TwoStage, asked: Sequence[Case]) -> TwoStage:
    """The model with the weights of least log loss on held-out cases, and the threshold of the best object F1."""
    words = model.vocabulary
    pairs = [model.stages(case.id, case.seen, [frame.index for frame in case.future]) for case in asked]
    truths = [dense(case.future, words) for case in asked]
    grid = np.linspace(0, 1, 11)
    objects, predicates = np.zeros((BINS, len(grid))), np.zeros((BINS, len(grid)))
    for (own, base), (present, held) in zip(pairs, truths, strict=True):
        bins = bin_of(np.arange(1, len(own.index) + 1))
        for g, weight in enumerate(grid):
            there = _log_loss(weight * own.objects + (1 - weight) * base.objects, present)
            np.add.at(objects[:, g], bins, there[:, list(words.candidates)].sum(1))
            label = _log_loss(weight * own.predicates + (1 - weight) * base.predicates, held)
            np.add.at(predicates[:, g], bins, (label.sum(2) * present).sum(1))
    weights = Mixture(tuple(grid[objects.argmin(1)].tolist()), tuple(grid[predicates.argmin(1)].tolist()))
    chances = np.concatenate([mixed(own, base, weights).objects.ravel() for own, base in pairs])
    truth = np.concatenate([present.ravel() for present, _ in truths])
    thresholds = np.arange(0.1, 0.91, 0.05)
    f1 = [2 * ((chances >= t) & truth).sum() / ((chances >= t).sum() + truth.sum()) for t in thresholds]
    return replace(model, mixture=replace(weights, listed=round(float(thresholds[int(np.argmax(f1))]), 2)))


def _log_loss(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(-np.where(truth, np.log(clipped), np.log(1 - clipped)))
