"""TwoStage: which objects each frame holds, then what holds of each; probabilities, mixed with those of counts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backcast.core.errors import BadInput
from backcast.core.files import write_json
from backcast.scenes.counts import Counts, Markov, Neighbours
from backcast.scenes.forecast import GraphForecast
from backcast.scenes.ootsm.decoder import Decoder
from backcast.scenes.ootsm.encode import Encoder
from backcast.scenes.ootsm.losses import probabilities
from backcast.scenes.ootsm.mixing import Answers, Mixture, mixed
from backcast.scenes.ootsm.samples import Sample, pad
from backcast.scenes.problems.clip import Frame
from backcast.scenes.problems.vocabulary import Vocabulary

ASK = 0.02
"""Objects less likely than this in every frame asked for are not put to stage 2; Markov's predicates stand."""
PARTS = ("listing", "labelling")


@dataclass(frozen=True)
class TwoStage:
    """A forecaster of decoders for both stages, with counts and nearest windows beside them.

    Each stage has one member for every part of the training clips, fitted on the other parts; their chances are
    averaged. So every training clip has a member that has not seen it, by which the mixture was chosen.
    """

    encoder: Encoder
    listing: tuple[Decoder, ...] = field(repr=False)
    """Stage 1: the objects of each frame."""
    labelling: tuple[Decoder, ...] = field(repr=False)
    """Stage 2: the predicates of one object in each frame."""
    knn: Neighbours = field(repr=False)
    """Fitted on all training clips, with the Markov counts inside."""
    mixture: Mixture = field(default_factory=Mixture)
    known: tuple[str, ...] = ()
    """Ids of the clips it was fitted on."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Of what it forecasts."""
        return self.encoder.vocabulary

    @property
    def markov(self) -> Markov:
        """The counts."""
        return self.knn.markov

    def forecast(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> GraphForecast:
        """Both stages, mixed; lists what is at least ``mixture.listed`` likely."""
        return mixed(self.answers(name, seen, index), seen[-1], self.mixture, self.vocabulary)

    @torch.no_grad()
    def answers(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> Answers:
        """What the network, Markov and the nearest windows say, each by itself."""
        words, ahead = self.vocabulary, list(range(1, len(index) + 1))
        base = self.markov.forecast(name, seen, index)
        near = self.knn.beside(base, seen)
        empty = np.zeros((len(index), len(words.objects)))
        asked = pad([Sample(self.encoder.scene(seen), ahead, empty, len(index))], self.encoder)
        things = slice(self.encoder.thing(0), self.encoder.thing(len(words.objects)))
        chance = torch.stack([one(asked.prompt, asked.questions)[0, :, things].sigmoid() for one in self.listing])
        allowed = list(words.candidates)
        objects = empty.copy()
        objects[:, allowed] = chance.mean(0).numpy()[:, allowed]
        predicates = base.predicates.copy()
        likeliest = np.max([objects.max(0), base.objects.max(0), near.objects.max(0)], 0)
        wanted = [o for o in allowed if likeliest[o] >= ASK]
        if wanted:
            truth = np.zeros((len(index), len(words.predicates)))
            samples = [Sample(self.encoder.object(seen, o), ahead, truth, len(index), o) for o in wanted]
            predicates[:, wanted] = self._labels(samples).transpose(0, 1).numpy()
        own = GraphForecast(name, np.array(index), objects, predicates, objects >= self.mixture.listed)
        return own, base, near

    def _labels(self, samples: list[Sample]) -> torch.Tensor:
        asked, first = pad(samples, self.encoder), self.encoder.predicate(0)
        logits = [one(asked.prompt, asked.questions)[..., first:] for one in self.labelling]
        return torch.stack([probabilities(row, self.vocabulary) for row in logits]).mean(0)

    def save(self, folder: Path, about: dict[str, object] | None = None) -> None:
        """Writes the folder that ``load`` reads: JSON, safetensors and one .npz of counts and training graphs."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            rows = [(k, one.state_dict()) for k, one in enumerate(getattr(self, part))]
            state = {f"{k}.{key}": value for k, row in rows for key, value in row.items()}
            save_file(state, str(folder / f"{part}.safetensors"))
        arrays: dict[str, Any] = {**asdict(self.markov.counts), **self.knn.packed()}
        np.savez_compressed(folder / "counts.npz", **arrays)
        shape = {
            "width": self.listing[0].embed.embedding_dim,
            "layers": len(self.listing[0].blocks),
            "members": len(self.listing),
            "limit": self.encoder.limit,
        }
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
            for part in PARTS:
                state, members = load_file(str(folder / f"{part}.safetensors")), []
                for k in range(shape["members"]):
                    decoder = Decoder(encoder.size, shape["width"], shape["layers"])
                    mine = {key.partition(".")[2]: value for key, value in state.items() if key.startswith(f"{k}.")}
                    decoder.load_state_dict(mine)
                    members.append(decoder.eval())
                parts.append(tuple(members))
            with np.load(folder / "counts.npz", allow_pickle=False) as file:
                counts = Counts(**{one.name: file[one.name] for one in fields(Counts)})
                knn = Neighbours.unpacked(Markov(words, counts), file)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadInput(
                f"'{folder}' is not a model of 'backcast scene fit' ({type(error).__name__}: {error})"
            ) from None
        return cls(encoder, parts[0], parts[1], knn, mixture, tuple(line.get("known", ())))
