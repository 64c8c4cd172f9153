"""TwoStage: which objects each frame holds, then what holds of each; probabilities, mixed with those of counts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from backcast.core.errors import BadInput
from backcast.core.files import write_json
from backcast.scenes.counts import Counts, Markov
from backcast.scenes.forecast import GraphForecast
from backcast.scenes.ootsm.decoder import Decoder
from backcast.scenes.ootsm.encode import Encoder
from backcast.scenes.ootsm.losses import probabilities
from backcast.scenes.ootsm.mixing import Mixture, mixed
from backcast.scenes.ootsm.samples import Sample, pad
from backcast.scenes.problems.clip import Frame
from backcast.scenes.problems.vocabulary import Vocabulary

ASK = 0.02
"""Objects less likely than this in every frame asked for are not put to stage 2; Markov's predicates stand."""


@dataclass(frozen=True)
class TwoStage:
    """A forecaster of two decoders with counts beside them."""

    encoder: Encoder
    listing: Decoder = field(repr=False)
    """Stage 1: the objects of each frame."""
    labelling: Decoder = field(repr=False)
    """Stage 2: the predicates of one object in each frame."""
    markov: Markov = field(repr=False)
    mixture: Mixture = field(default_factory=Mixture)
    known: tuple[str, ...] = ()
    """Ids of the clips it was fitted on."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Of what it forecasts."""
        return self.encoder.vocabulary

    def forecast(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> GraphForecast:
        """Both stages, mixed; lists what is at least ``mixture.listed`` likely."""
        own, base = self.stages(name, seen, index)
        return mixed(own, base, self.mixture, self.vocabulary)

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
            shape, mixture = line["shape"], Mixture.of(line["mixture"])
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
        return cls(encoder, parts[0], parts[1], Markov(words, counts), mixture, tuple(line.get("known", ())))
