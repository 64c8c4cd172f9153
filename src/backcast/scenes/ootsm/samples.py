"""Training samples of both stages: a clip cut anywhere, its prompt, the questions and their answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backcast.scenes.ootsm.encode import Encoder
from backcast.scenes.problems.clip import Clip, Frame, dense

QUESTIONS = 16
"""Most future frames asked about in one sample, drawn without replacement."""


@dataclass(frozen=True)
class Batch:
    """B samples of at most L prompt tokens and Q questions; padded with token 0 and weight 0."""

    prompt: Tensor
    """(B, L) token numbers."""
    questions: Tensor
    """(B, Q) token numbers."""
    truth: Tensor
    """(B, Q, O or R) 0 or 1."""
    ahead: Tensor
    """(B, Q) frames ahead, recorded as the question is written."""
    last: Tensor
    """(B, 1) frames of the sample's future."""
    real: Tensor
    """(B, Q) 1 for a question, 0 for padding."""
    things: Tensor
    """(B,) the object asked about; -1 in stage 1."""


@dataclass(frozen=True)
class Sample:
    """One prompt with its questions."""

    prompt: list[int]
    ahead: list[int]
    truth: np.ndarray
    last: int
    thing: int = -1


def pad(samples: Sequence[Sample], encoder: Encoder) -> Batch:
    """Samples side by side."""
    length = max(len(one.prompt) for one in samples)
    asked = max(len(one.ahead) for one in samples)
    prompt = torch.zeros(len(samples), length, dtype=torch.long)
    questions = torch.zeros(len(samples), asked, dtype=torch.long)
    ahead = torch.zeros(len(samples), asked)
    truth = torch.zeros(len(samples), asked, samples[0].truth.shape[1])
    for i, one in enumerate(samples):
        n = len(one.ahead)
        prompt[i, : len(one.prompt)] = torch.tensor(one.prompt)
        questions[i, :n] = torch.tensor([encoder.ahead(h) for h in one.ahead])
        ahead[i, :n] = torch.tensor(one.ahead, dtype=torch.float)
        truth[i, :n] = torch.from_numpy(one.truth.astype(np.float32))
    last = torch.tensor([[float(one.last)] for one in samples])
    things = torch.tensor([one.thing for one in samples])
    return Batch(prompt, questions, truth, ahead, last, (questions > 0).float(), things)


def draw(clip: Clip, encoder: Encoder, rng: np.random.Generator, stage: int, objects: int = 3) -> list[Sample]:
    """The samples of one clip at a random cut: one of stage 1, or up to ``objects`` of stage 2.

    Stage 2 also asks about objects that the past does not hold. A clip of one frame gives none.
    """
    if len(clip.frames) < 2:
        return []
    end = int(rng.integers(0, len(clip.frames) - 1))
    return cut_samples(clip.frames, end, encoder, rng, stage, objects)


def cut_samples(
    frames: Sequence[Frame], end: int, encoder: Encoder, rng: np.random.Generator, stage: int, objects: int
) -> list[Sample]:
    """The samples of frames cut after number ``end``."""
    seen, future = frames[: end + 1], frames[end + 1 :]
    present, held = dense(future, encoder.vocabulary)
    if stage == 1:
        asked = _some(np.arange(len(future)), QUESTIONS, rng)
        return [Sample(encoder.scene(seen), (asked + 1).tolist(), present[asked], len(future))]
    found = []
    for thing in _some(np.flatnonzero(present.any(0)), objects, rng).tolist():
        asked = _some(np.flatnonzero(present[:, thing]), QUESTIONS, rng)
        prompt = encoder.object(seen, thing)
        found.append(Sample(prompt, (asked + 1).tolist(), held[asked, thing], len(future), thing))
    return found


def _some(values: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return values if len(values) <= most else np.sort(rng.choice(values, most, replace=False))
