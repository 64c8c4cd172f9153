"""SmolLM2-135M on real clips: zero-shot under the grammar, batches, five adapter steps, memory and seconds.

python benchmarks/effects/scenes_smollm2.py CLIPS [--seed 0]

CLIPS is a clips file ('backcast scene convert ACTION_GENOME --to CLIPS'); its three shortest clips are asked. Checked:
texts generated under the grammar parse with nothing to mend, chances are finite, four questions in one pass score as
each by itself does, five adapter steps on one fixed batch lower its loss, and memory stays below 6 GB. One thread.
"""

import argparse
import resource
import time
from typing import Any

import numpy as np
import torch
from effects_file import write
from peft import LoraConfig, get_peft_model

from backcast.lm.local import LocalLM
from backcast.lm.models import resolve
from backcast.scenes.chances import Beam, marginals
from backcast.scenes.forecast import Case
from backcast.scenes.grammar import Labelling, Listing
from backcast.scenes.guided import generate
from backcast.scenes.ootsm import Adapting
from backcast.scenes.ootsm.adapting import draw_row, loss_of
from backcast.scenes.ootsm.prompts import Asker
from backcast.scenes.problems import Clip, Clips, Vocabulary, read_clips
from backcast.scenes.render import read_labelling, read_listing

MODEL = "smollm2"
BEAM = Beam(1, 0.02)
"""One beginning of an answer is followed, to keep to minutes."""


def questions(clips: list[Clip]) -> list[Case]:
    """Each clip's last frame, asked after the six before it."""
    return [Case(clip.id, clip.frames[-7:-1], clip.frames[-1:]) for clip in clips]


def generated(lm: LocalLM, asked: list[Case], asker: Asker) -> dict[str, object]:
    """Both stages' texts by llguidance, read leniently: what the reader had to mend."""
    words = asker.vocabulary
    texts, mended = 0, 0
    for case in asked:
        text = generate(lm, asker.listing(case.seen), Listing(words, (1,)))
        mended += sum(read_listing(text, (1,), words).mended.values())
        thing = min(case.seen[-1].objects)
        print(f"{case.id}: {text!r}", flush=True)
        text = generate(lm, asker.labelling(case.seen, thing), Labelling(words, (1,)))
        mended += sum(read_labelling(text, (1,), words).mended.values())
        print(f"  {words.objects[thing]}: {text!r}", flush=True)
        texts += 2
    return {"texts": texts, "mended": mended, "parsed": f"{100 * (mended == 0):d} %"}


def timed(lm: LocalLM, asked: list[Case], asker: Asker) -> dict[str, object]:
    """Chances of both stages, and CPU-seconds a frame (objects) and an object-frame (its labels)."""
    words = asker.vocabulary
    start = time.process_time()
    listed = marginals(lm, [(asker.listing(case.seen), Listing(words, (1,))) for case in asked], BEAM)
    middle = time.process_time()
    things = [(case, min(case.seen[-1].objects)) for case in asked]
    held = marginals(lm, [(asker.labelling(c.seen, o), Labelling(words, (1,))) for c, o in things], BEAM)
    end = time.process_time()
    values = np.array([p for found in (*listed, *held) for p in found.values()])
    return {
        "finite": bool(np.isfinite(values).all() and (values >= 0).all() and (values <= 1 + 1e-9).all()),
        "chances": len(values),
        "CPU-s a frame": round((middle - start) / len(asked), 2),
        "CPU-s an object-frame": round((end - middle) / len(things), 2),
        "object-frames": len(things),
    }


def batched(asked: list[Case], words: Vocabulary) -> float:
    """Largest difference of chances: four questions side by side in shared passes, against each by itself."""
    asker = Asker(words, told=False, limit=200)
    things = [(case, thing) for case in asked for thing in case.seen[-1].objects][:4]
    items = [(asker.labelling(case.seen, o), Labelling(words, (1,))) for case, o in things]
    many = marginals(LocalLM(resolve(MODEL), share_passes=True), items, BEAM)
    alone = LocalLM(resolve(MODEL), share_passes=False)
    each = [marginals(alone, [item], BEAM)[0] for item in items]
    return max(abs(a[key] - b.get(key, 0.0)) for a, b in zip(many, each, strict=True) for key in a)


def five_steps(clips: Clips, seed: int) -> dict[str, object]:
    """The loss of one fixed batch of four questions before and after five adapter steps."""
    asker, rng = Asker(clips.vocabulary, told=False, limit=200), np.random.default_rng(seed)
    lm, settings = LocalLM(resolve(MODEL)), Adapting()
    drawn = [draw_row(clip, asker, rng, "listing") for clip in clips.clips[:4]]
    rows = [row for row in drawn if row]
    torch.manual_seed(seed)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=settings.rank, lora_alpha=settings.rank)
    model: Any = get_peft_model(lm.model, config)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], settings.rate)
    start, losses = time.process_time(), []
    for step in range(6):
        loss = loss_of(model, lm, rows, settings.beta)
        losses.append(round(loss.item(), 4))
        if step < 5:
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    spent = (time.process_time() - start) / 5
    return {"losses": losses, "lower": losses[-1] < losses[0], "CPU-s a step": round(spent, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips = read_clips(options.clips)
    shortest = sorted(clips.clips, key=lambda clip: len(clip.frames))[:3]
    asked, asker = questions(shortest), Asker(clips.vocabulary, told=True)
    lm = LocalLM(resolve(MODEL), name=MODEL)
    result: dict[str, object] = {"model": MODEL, "clips": [case.id for case in asked]}
    result["generated"] = generated(lm, asked, asker)
    result["scored"] = timed(lm, asked, asker)
    print(result, flush=True)
    result["largest difference, batch 4 and batch 1"] = batched(asked, clips.vocabulary)
    result["five steps"] = five_steps(clips, options.seed)
    result["peak GB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)
    print(result, flush=True)
    print(write(f"scenes_smollm2_seed_{options.seed}", result))


if __name__ == "__main__":
    main()
