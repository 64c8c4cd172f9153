"""What the parts cost beside a plain TRL step on a tiny model; the forward pass for log-probabilities is printed apart.

    python benchmarks/learn_overhead.py [--rounds 4] [--steps 15]

Side by side in one process, round by round: TRL's own GRPOTrainer, then GroupTrainer with replay and planning credit
on the same prompts. Everything that ours adds to TRL's methods is timed where it happens: the parts themselves, and the
trainer's own books around them. Shares are of the median plain step, in CPU-seconds of this process (one thread).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

PROMPTS, GROUP, LENGTH = 8, 8, 64


def build(kind, folder, steps, **parts):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from backcast.learn import GRPOConfig

    def reward(prompts, **_):
        """Every other prompt is flat, so that replay has work."""
        return [float(i % 3 == 0) if int(p.split()[1][:-1]) % 2 else 1.0 for i, p in enumerate(prompts)]

    return kind(
        AutoModelForCausalLM.from_pretrained(folder),
        reward,
        args=GRPOConfig(
            output_dir=str(folder / "out"),
            per_device_train_batch_size=PROMPTS * GROUP,
            num_generations=GROUP,
            max_completion_length=LENGTH,
            max_steps=steps,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            logging_steps=1000,
        ),
        train_dataset=Dataset.from_list([{"prompt": f"Count {i}:"} for i in range(40)]),
        processing_class=AutoTokenizer.from_pretrained(folder),
        **parts,
    )


class Clock:
    """CPU time by name, one entry a step: methods are wrapped, what they spend inside one another is kept apart."""

    def __init__(self):
        self.now, self.steps = {}, []

    def wrap(self, owner, method, name, less=()):
        """Counts ``owner.method`` under ``name``, less what was counted under ``less`` while it ran."""
        plain = getattr(owner, method)

        def call(*args, **kwargs):
            before = sum(self.now.get(other, 0.0) for other in less)
            start = time.process_time()
            try:
                return plain(*args, **kwargs)
            finally:
                spent = time.process_time() - start - (sum(self.now.get(other, 0.0) for other in less) - before)
                self.now[name] = self.now.get(name, 0.0) + spent

        setattr(owner, method, call)
        return lambda: setattr(owner, method, plain)

    def step(self, trainer):
        """Closes the books of each ``training_step`` (generation and optimisation of one batch)."""
        plain = trainer.training_step

        def call(*args, **kwargs):
            self.now = {}
            start = time.process_time()
            found = plain(*args, **kwargs)
            self.steps.append({**self.now, "step": time.process_time() - start})
            return found

        trainer.training_step = call

    def median(self, name):
        return statistics.median(step.get(name, 0.0) for step in self.steps)


def ours(clock, folder, steps, replay, credit):
    """A round with parts; TRL's share of each overridden method is told from ours by timing both."""
    from trl import GRPOTrainer

    from backcast.learn import GroupTrainer

    trainer = build(GroupTrainer, folder, steps, shapers=[replay, credit])
    clock.step(trainer)
    undo = [
        clock.wrap(GRPOTrainer, "_generate_and_score_completions", "theirs, generation"),
        clock.wrap(GRPOTrainer, "_compute_loss", "theirs, loss"),
    ]
    clock.wrap(trainer, "_behaviour", "forward pass")
    parts = ("replay", "credit", "measuring grams", "forward pass", "theirs, generation")
    clock.wrap(trainer, "_generate_and_score_completions", "books", less=parts)
    clock.wrap(trainer, "_compute_loss", "books of the loss", less=("theirs, loss",))
    trainer.train()
    for back in undo:
        back()


class Timed:
    """A shaper with a clock around it."""

    def __init__(self, inner, clock, name, watching=None):
        self.__dict__.update(inner=inner, clock=clock, called=name, watching=watching)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def _spend(self, name, work, batch):
        start = time.process_time()
        found = work(batch)
        self.clock.now[name] = self.clock.now.get(name, 0.0) + time.process_time() - start
        return found

    def observe(self, batch):
        return self._spend(self.watching or self.called, self.inner.observe, batch)

    def __call__(self, batch):
        return self._spend(self.called, self.inner, batch)


def main():
    read = argparse.ArgumentParser()
    read.add_argument("--rounds", type=int, default=4)
    read.add_argument("--steps", type=int, default=15)
    asked = read.parse_args()
    import torch
    from trl import GRPOTrainer

    from backcast.learn import PlanningCredit, SampleReplay
    from backcast.lm.tiny import make_tiny_llama

    torch.set_num_threads(1)
    plain, full = Clock(), Clock()
    with tempfile.TemporaryDirectory() as home:
        folder = make_tiny_llama(Path(home) / "tiny")
        replay = Timed(SampleReplay(), full, "replay")
        credit = Timed(PlanningCredit(), full, "credit", "measuring grams")
        for _ in range(asked.rounds):
            trainer = build(GRPOTrainer, folder, asked.steps)
            plain.step(trainer)
            trainer.train()
            ours(full, folder, asked.steps, replay, credit)
    base = plain.median("step")
    print(
        f"plain TRL step, {PROMPTS * GROUP} answers of at most {LENGTH} tokens: {base:.4f} CPU-s "
        f"(median of {len(plain.steps)}, {asked.rounds} rounds in turn)"
    )
    names = ("replay", "credit", "measuring grams", "books", "books of the loss")
    for name in names:
        print(f"{name:28s} {full.median(name):.4f} CPU-s  {full.median(name) / base:6.2%} of a step")
    shapers = sum(full.median(name) for name in names[:3])
    total = statistics.median(sum(step.get(name, 0.0) for name in names) for step in full.steps)
    print(f"{'the shapers':28s} {shapers:.4f} CPU-s  {shapers / base:6.2%} of a step (bound: under 3 %)")
    print(f"{'all that is ours':28s} {total:.4f} CPU-s  {total / base:6.2%} of a step (bound: under 3 %)")
    extra = full.median("forward pass")
    print(f"{'log-probability forward pass':28s} {extra:.4f} CPU-s  {extra / base:6.2%} of a step (apart)")
    whole = full.median("step")
    print(
        f"{'step with parts, whole':28s} {whole:.4f} CPU-s  ratio to plain {whole / base:.3f} (noisy; forward pass in)"
    )


if __name__ == "__main__":
    main()
