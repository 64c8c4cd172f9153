"""Several ways to compress one model, side by side: the two stages behind the recipes of this room."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backcast.compress.job import compress
from backcast.compress.score import Perplexity, Protocol, Reading, kept, perplexity, ratio, read_folder, windows
from backcast.compress.stream import Job, Settings
from backcast.core.errors import BadInput
from backcast.core.run import Gap, StageResult, Table
from backcast.core.vitals import Vital


@dataclass(frozen=True)
class Text:
    """A text to score on, and how."""

    words: str
    protocol: Protocol = "strided"
    context: int = 512
    most: int | None = 8
    """Only the first so many windows."""


def pack(folder: Path, source: Path, title: str, arms: Mapping[str, Settings], jobs: int = 1) -> StageResult:
    """Packs the model once per arm, into ``folder/<arm>``; the table of sizes."""
    made = {name: compress(Job(source, folder / name, how, jobs=jobs), title) for name, how in arms.items()}
    columns = ["arm", "advertised bits", "true bits", "folder, MB", "relative squared error", "CPU-s", "sample"]
    rows = [
        [
            name,
            figures["claimed_bits"],
            figures["true_bits"],
            figures["bytes_after"] / 1e6,
            figures["relative_mse"],
            figures["cpu_seconds"],
            figures["sample"],
        ]
        for name, figures in made.items()
    ]
    before = next(iter(made.values()))["bytes_before"] / 1e6
    vitals = [
        Vital(
            f"reload difference, {name}",
            figures["reload_max_difference"],
            0.0,
            None,
            "largest difference of logits between the packed kernels and plain decoding; compress itself refuses more",
        )
        for name, figures in made.items()
    ]
    return StageResult(
        vitals=vitals,
        tables=[Table("Sizes", columns, rows, note=f"the original folder has {before:.1f} MB")],
        lineage=[f"{title} packed as {name}: {figures['true_bits']:.3f} bits" for name, figures in made.items()],
        outputs={name: {**figures, "out": name} for name, figures in made.items()},
    )


def score(source: Path, packed: Mapping[str, Path], text: Text, title: str) -> StageResult:
    """Perplexity of the original and of every arm on the same windows, KL divergence to the original, agreement."""
    kept.cache_clear()  # the folders may have been written again
    tokenizer = kept(source.absolute())[1]
    ids = tokenizer(text.words).input_ids
    places = windows(len(ids), text.protocol, text.context)[: text.most]
    baseline = perplexity(read_folder(source, ids, places), text.protocol, text.context)
    gaps, vitals, rows = [], [], [["original", baseline.value, None, None]]
    for name, folder in packed.items():
        reading = read_folder(folder, ids, places, source)
        found = perplexity(reading, text.protocol, text.context)
        kl, agreement = apart(reading)
        gaps.append(_gap(name, baseline, found))
        rows.append([name, found.value, kl, agreement])
        vitals += _vitals(name, kl, agreement)
    table = Table("Against the original", ["arm", "perplexity", "KL, nats per token", "same top token"], rows)
    return StageResult(gaps=gaps, vitals=vitals, tables=[table], lineage=[f"scored on {baseline.metric} of {title}"])


def apart(reading: Reading) -> tuple[float, float]:
    """(mean KL to the other model in nats per token, share of tokens with the same likeliest one)."""
    if reading.kl is None or reading.agreed is None:
        raise BadInput("this reading was taken without another model; there is nothing to compare with")
    kl, agreed = ratio(reading.kl, reading.tokens).value, ratio(reading.agreed, reading.tokens).value
    assert kl is not None
    assert agreed is not None
    return kl, agreed


def _gap(name: str, baseline: Perplexity, found: Perplexity) -> Gap:
    return Gap("score", f"{name}: {found.metric}", baseline.value, found.value, found.low, found.high, found.windows)


def _vitals(name: str, kl: float, agreement: float) -> list[Vital]:
    return [
        Vital(f"KL, {name}", kl, 0.0, 0.5, "nats per token from the original; above 0.5 the model is another one"),
        Vital(f"same top token, {name}", agreement, 0.7, 1.0, "below 0.7 greedy text soon differs from the original's"),
    ]
