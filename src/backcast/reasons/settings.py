"""The settings of the search and its three presets: the paper's, the released code's, and one for small models."""

from dataclasses import dataclass, replace
from typing import Literal

from backcast.core.errors import BadInput, nearest
from backcast.core.params import bounded

Objective = Literal["nll", "tail", "clipped", "authors", "pmi"]
Proposal = Literal["edit", "plan", "insert", "delete"]


@dataclass(frozen=True)
class Search:
    """How to search for the reasoning that makes a good text likely. Defaults are the paper's (preset ``paper``)."""

    objective: Objective = "nll"
    """What is minimised, over the tokens of the answer: nll (all of them; 2509.06160), tail, clipped, authors (tail and
    clip; their code), pmi."""
    clip: float = 2.0
    """Most that one token counts, in nats, under clipped and authors (their code: clip(lp, -2, 0))."""
    nll_stop: float | None = 0.25
    """The search ends below this mean NLL, in nats per token (their config: stop_thresh 0.25; PPL 1.284)."""
    max_steps: int = 10
    """Segments visited at most (their config: max_step 10)."""
    sweeps: int = 1
    """Sweeps over the segments; a sweep that changes nothing is the last (their code: one)."""
    expansions: int = 2
    """Candidates drawn per visit and kind of proposal (their config: num_expansion 2)."""
    proposals: tuple[Proposal, ...] = ("edit",)
    """Kinds of candidates: edit (theirs), plan (what must this paragraph contain), insert, delete (ours)."""
    start: Literal["write", "template"] = "write"
    """The first thinking: written by the generator, who sees the answer (theirs), or a template (ours, weak models)."""
    temperature: float = 0.8
    """Of the generator (their config: 0.8)."""
    top_p: float = 0.85
    """Of the generator (their config: 0.85)."""
    start_tokens: int = 8000
    """Most tokens of the first thinking (their config: max_tokens 8000)."""
    proposal_tokens: int = 8000
    """Most tokens of one proposal (their config: max_tokens 8000)."""
    min_start_tokens: int = 100
    """A shorter first thinking drops the item (their code: 100)."""
    min_segments: int = 2
    """Fewer segments drop the item (their code: exactly one is dropped)."""
    segment_characters: int = 100
    """Shorter pieces are glued to a neighbour (their code: 100)."""
    scoring: Literal["plain", "infer"] = "plain"
    """The prompt under which the answer is scored: the request as it is, as in training (paper), or wrapped in a long
    instruction (their code)."""
    frame: Literal["chat", "answer"] = "chat"
    """Where the answer stands after the thinking: directly (chat format) or inside <answer> tags (their code)."""
    openings: bool = False
    """Begin the first thinking with one of their opening words, English or Chinese by the request (their code)."""
    paragraphs: int = 4
    """Template start: at most this many segments, one per paragraph of the answer (ours)."""
    max_overlap: float | None = 0.10
    """A candidate, or finished thinking, that shares more of its n-grams with the answer is rejected (ours:
    the objective alone is minimised by copying). None only reports."""
    overlap_ngram: int = 4
    """Words per n-gram of the leak guard (ours)."""
    max_repetition: float | None = 0.30
    """Most of the words that the commonest trigram may cover (paper, by a secondary source)."""
    last_share: float | None = 0.10
    """Thinking phrases in this last share of the thinking drop it (paper, by a secondary source)."""
    batch: int = 8
    """Items searched in lock step; their model calls go out together (ours)."""
    seed: int = 0
    """Every draw follows from it."""

    def __post_init__(self) -> None:
        counts = "max_steps sweeps expansions batch paragraphs overlap_ngram start_tokens proposal_tokens min_segments"
        bounded(self, counts, 1)
        bounded(self, "temperature nll_stop min_start_tokens segment_characters", 0)
        bounded(self, "clip", 0, above=True)
        bounded(self, "top_p last_share", 0, 1, above=True)
        bounded(self, "max_overlap max_repetition", 0, 1)
        if not self.proposals:
            raise ValueError("proposals must name at least one of edit, plan, insert, delete")


AUTHORS = Search(
    objective="authors",
    scoring="infer",
    frame="answer",
    openings=True,
    max_overlap=None,
    max_repetition=None,
    last_share=None,
)
"""The released program (commit 277acc6): clipped tail objective, their scoring prompt, no leak guard and no filters."""

SMALL = Search(
    nll_stop=None,
    max_steps=12,
    expansions=4,
    proposals=("plan",),
    start="template",
    proposal_tokens=60,
    min_start_tokens=0,
    min_segments=1,
    paragraphs=4,
)
"""For models too weak to follow the edit prompt: a plan per paragraph, 4 candidates of 60 tokens; the
likelihood decides. No stop threshold: at this size only a copy of the answer would reach it. No deletions: they brought
the search nothing (docs/log.md) and cost a fifth of the scoring."""

PRESETS = {"paper": Search(), "authors": AUTHORS, "small": SMALL}


def preset(name: str, **changes: object) -> Search:
    """The preset ``name`` with ``changes`` (those that are not None); raises BadInput naming the nearest preset."""
    if name not in PRESETS:
        raise BadInput(f"unknown preset '{name}'{nearest(name, PRESETS)}")
    given = {key: value for key, value in changes.items() if value is not None}
    try:
        return replace(PRESETS[name], **given)  # type: ignore[arg-type]
    except ValueError as error:
        raise BadInput(f"{error}; see backcast reason --help") from None
