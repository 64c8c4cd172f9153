"""Fitting both stages, and the weights that mix them with counts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from backcast.core.errors import BadInput, WorkFailed
from backcast.core.progress import Progress
from backcast.scenes.counts import Markov, count
from backcast.scenes.forecast import cases
from backcast.scenes.ootsm.decoder import Decoder
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


def fit(clips: Clips, settings: Settings = Settings()) -> TwoStage:  # noqa: B008
    """Fits both stages on training clips, and their mixing with counts on a fifth of the groups, held out for that.

    Deterministic by ``settings.seed``. Raises BadInput for fewer than five groups.
    """
    held_out = set(folds(clips.clips, 5, settings.seed)[0])
    train = Clips(clips.vocabulary, tuple(c for i, c in enumerate(clips.clips) if i not in held_out))
    check = Clips(clips.vocabulary, tuple(clips.clips[i] for i in sorted(held_out)))
    encoder = Encoder(clips.vocabulary)
    stages = [_stage(number, train, encoder, settings) for number in (1, 2)]
    model = TwoStage(encoder, stages[0], stages[1], Markov.fit(train), known=tuple(c.id for c in clips.clips))
    asked, _ = cases(check.clips, settings.fraction)
    if not asked:
        raise BadInput("the held-out clips leave no future frame to choose mixing weights on; give longer clips")
    return replace(model, mixture=mix_weights(model, asked))


def _stage(number: int, train: Clips, encoder: Encoder, settings: Settings) -> Decoder:
    torch.manual_seed(settings.seed + number)
    rng = np.random.default_rng([settings.seed, number])
    decoder = Decoder(encoder.size, settings.width, settings.layers, settings.dropout)
    _start_from_shares(decoder, train, encoder)
    optimiser = torch.optim.AdamW(decoder.parameters(), settings.rate, weight_decay=0.01)
    warm = max(1, settings.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / warm, 0.5 * (1 + np.cos(np.pi * s / settings.steps)) + 0.02)
    )
    loss_of = _listing(encoder, settings) if number == 1 else _labelling(train, encoder, settings)
    decoder.train()
    with Progress(f"stage {number}", settings.steps) as progress:
        for _ in range(settings.steps):
            picked = rng.integers(0, len(train.clips), settings.batch)
            samples = [one for i in picked for one in draw(train.clips[i], encoder, rng, number)]
            if not samples:
                continue
            batch = pad(samples, encoder)
            loss = loss_of(decoder(batch.prompt, batch.questions), batch)
            if not torch.isfinite(loss):
                raise WorkFailed(f"stage {number}: the loss is {loss.item()}; lower --rate")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(decoder.parameters(), 0.5)
            optimiser.step()
            schedule.step()
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
