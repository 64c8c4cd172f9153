"""Fitting both stages, and the weights that mix them with counts."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from backcast.core.errors import BadInput
from backcast.core.progress import Progress
from backcast.scenes.counts import Neighbours, count
from backcast.scenes.forecast import cases
from backcast.scenes.ootsm.decoder import Decoder
from backcast.scenes.ootsm.descent import Descent
from backcast.scenes.ootsm.encode import Encoder
from backcast.scenes.ootsm.losses import (
    horizon_weights,
    labelling_loss,
    listing_loss,
    probabilities,
    soft_transitions,
    transition_prior,
)
from backcast.scenes.ootsm.mixing import mix_weights
from backcast.scenes.ootsm.model import TwoStage
from backcast.scenes.ootsm.samples import Batch, draw, pad
from backcast.scenes.ootsm.settings import Settings
from backcast.scenes.problems.clip import Clips, dense
from backcast.scenes.problems.split import folds

MOST = 200
"""Clips of each part, drawn by the seed, on which the mixture is chosen."""


def fit(clips: Clips, settings: Settings = Settings()) -> TwoStage:  # noqa: B008
    """Fits both stages once for every part of the training clips, on the others, and their mixing with counts.

    Clips of one group lie in one part. Deterministic by ``settings.seed``. Raises BadInput for fewer groups than parts.
    """
    encoder = Encoder(clips.vocabulary)
    members: list[tuple[Decoder, ...]] = []
    for part, rest in _without(clips, settings):
        members.append(tuple(fit_stage(number, part, rest, encoder, settings) for number in (1, 2)))
    listing, labelling = zip(*members, strict=True)
    known = tuple(clip.id for clip in clips.clips)
    return weighed(TwoStage(encoder, listing, labelling, Neighbours.fit(clips), known=known), clips, settings)


def weighed(model: TwoStage, clips: Clips, settings: Settings) -> TwoStage:
    """The model of ``fit`` with its mixture chosen at ``settings.fraction`` on its own training clips.

    Every clip is forecast by the member, the counts and the windows that have not seen its part.
    """
    made, asked = [], []
    for part, rest in _without(clips, settings):
        known = {clip.id for clip in rest.clips}
        held = [clip for clip in clips.clips if clip.id not in known]
        if len(held) > MOST:
            rng = np.random.default_rng([settings.seed, part])
            held = [held[i] for i in sorted(rng.choice(len(held), MOST, replace=False).tolist())]
        mine, _ = cases(held, settings.fraction)
        blind = replace(
            model, listing=(model.listing[part],), labelling=(model.labelling[part],), knn=Neighbours.fit(rest)
        )
        made += [blind.answers(case.id, case.seen, [frame.index for frame in case.future]) for case in mine]
        asked += mine
    if not asked:
        raise BadInput("the clips leave no future frame to choose mixing weights on; give longer clips")
    return replace(model, mixture=mix_weights(made, asked, clips.vocabulary))


def _without(clips: Clips, settings: Settings) -> Iterator[tuple[int, Clips]]:
    """(part, all clips but those of the part)."""
    for part, members in enumerate(folds(clips.clips, settings.parts, settings.seed)):
        out = set(members)
        yield part, Clips(clips.vocabulary, tuple(clip for i, clip in enumerate(clips.clips) if i not in out))


def fit_stage(number: int, part: int, train: Clips, encoder: Encoder, settings: Settings) -> Decoder:
    """One member of stage ``number``, 1 or 2, by the seed and its part."""
    torch.manual_seed(1000 * settings.seed + 10 * part + number)
    rng = np.random.default_rng([settings.seed, part, number])
    decoder = Decoder(encoder.size, settings.width, settings.layers, settings.dropout)
    _start_from_shares(decoder, train, encoder)
    descent = Descent(decoder, settings.rate, settings.steps)
    loss_of = _listing(encoder, settings) if number == 1 else _labelling(train, encoder, settings)
    decoder.train()
    with Progress(f"part {part + 1} of {settings.parts}, stage {number}", settings.steps) as progress:
        for _ in range(settings.steps):
            picked = rng.integers(0, len(train.clips), settings.batch)
            samples = [one for i in picked for one in draw(train.clips[i], encoder, rng, number)]
            if not samples:
                continue
            batch = pad(samples, encoder)
            loss = loss_of(decoder.in_buckets(batch.prompt, batch.questions), batch)
            descent.step(loss, f"stage {number}")
            progress.advance(loss=f"{loss.item():.4f}")
    return decoder.eval()


def _start_from_shares(decoder: Decoder, train: Clips, encoder: Encoder) -> None:
    """Biases at each object's and predicate's log-odds, so that no step is spent on learning how rare things are."""
    words = train.vocabulary
    there, holds = np.zeros(len(words.objects)), np.zeros(len(words.predicates))
    frames = 0
    for clip in train.clips:
        present, held = dense(clip.frames, words)
        frames += len(present)
        there += present.sum(0)
        holds += held.sum((0, 1))
    for first, hits, n in ((encoder.thing(0), there, frames), (encoder.predicate(0), holds, there.sum())):
        share = (hits + 0.5) / (n + 1)
        with torch.no_grad():
            decoder.bias[first : first + len(hits)] = torch.from_numpy(np.log(share / (1 - share))).float()


def _listing(encoder: Encoder, settings: Settings) -> Callable[[Tensor, Batch], Tensor]:
    words = encoder.vocabulary
    allowed = torch.tensor(words.candidates)
    ids = slice(encoder.thing(0), encoder.thing(len(words.objects)))

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        weights = batch.real * horizon_weights(batch.ahead, batch.last, settings.beta)
        return listing_loss(logits[..., ids], batch.truth, allowed, weights)

    return loss


def _labelling(train: Clips, encoder: Encoder, settings: Settings) -> Callable[[Tensor, Batch], Tensor]:
    words = encoder.vocabulary
    ids = slice(encoder.predicate(0), encoder.size)
    table = torch.from_numpy(_transitions(train)).float()

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        found = labelling_loss(logits[..., ids], batch.truth, batch.real, words)
        if settings.transition == 0:
            return found
        p = probabilities(logits[..., ids], words)
        next_to = (batch.ahead[:, 1:] == batch.ahead[:, :-1] + 1).float() * batch.real[:, 1:]
        if next_to.sum() == 0:
            return found
        # Objects of one class at a time would be few in a batch: the table is that of all objects asked about.
        said = soft_transitions(p[:, :-1].flatten(0, 1), p[:, 1:].flatten(0, 1), next_to.flatten())
        share = (next_to.sum(1)[:, None, None, None] * table[batch.things]).sum(0)
        return found + settings.transition * transition_prior(said, share)

    return loss


def _transitions(train: Clips) -> np.ndarray:
    """(O, R, 2, 2): counts of a predicate now and in the next frame, for objects in both, plus one."""
    hold = count(train).hold[0]
    table = np.ones((*hold.shape[:2], 2, 2))
    table[..., 1] += hold[..., 1]
    table[..., 0] += hold[..., 0] - hold[..., 1]
    return np.asarray(table / table.sum((-1, -2), keepdims=True))
