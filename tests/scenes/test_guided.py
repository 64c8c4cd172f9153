"""Generation under the grammar by llguidance: the same texts as our own trie, on every prefix; every draw parses."""

import itertools

import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.scenes.grammar import Labelling, Listing
from backcast.scenes.problems import Group, Vocabulary
from backcast.scenes.render import read_labelling, read_listing

pytest.importorskip("llguidance")
pytest.importorskip("torch")

from backcast.lm.base import Prompt
from backcast.lm.local import LocalLM
from backcast.scenes.guided import Guide, generate, lark

WORDS = Vocabulary(
    ("door", 'the "knob"', "cup/glass"),
    (Group("g", ("in", "in_front_of"), arity="one"), Group("h", ("r", "s"), allow_empty=True)),
)
REQUESTS = [Listing(WORDS, (3,)), Listing(WORDS, (3, 12)), Labelling(WORDS, (3,))]


def texts(request):
    """Every text of a request, by our own grammar."""
    found, begun = [], [()]
    while begun:
        chosen = begun.pop()
        slot = request.slot(chosen)
        found += [] if slot else ["".join(chosen)]
        begun += [(*chosen, string) for string in slot]
    return found


@pytest.mark.parametrize("request_", REQUESTS)
def test_equal_to_the_trie_on_every_prefix(tiny_llama, request_):
    """After every prefix, the tokens that lead to a text of ours are allowed and no others, and ends agree.

    Where only one character can follow, llguidance allows the usual token of what is forced, not its beginnings.
    """
    tokenizer = LocalLM(tiny_llama).tokenizer
    legal = texts(request_)
    pieces = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    special = set(tokenizer.all_special_ids)
    begun = {text[:end] for text in legal for end in range(len(text) + 1)}
    rng = np.random.default_rng(0)
    seen, free = set[str](), 0
    for text in rng.choice(legal, min(len(legal), 12), replace=False).tolist():
        guide, said = Guide(tokenizer, request_), ""
        for token in [*tokenizer(text, add_special_tokens=False).input_ids, None]:
            assert guide.complete == (said in legal)
            if said not in seen and not guide.complete:
                seen.add(said)
                want = [piece != "" and t not in special and said + piece in begun for t, piece in enumerate(pieces)]
                allowed = guide.allowed().tolist()
                forced = len({text[len(said)] for text in legal if text.startswith(said)}) == 1
                if forced:
                    assert any(allowed)
                    assert all(good for here, good in zip(allowed, want, strict=True) if here)
                else:
                    free += 1
                    assert allowed == want, said
            if token is not None:
                guide.take(token)
                said += pieces[token]
        assert said == text
    assert len(seen) > 10
    assert free > 3


def test_every_draw_parses(tiny_llama):
    """Draws at temperature 2 from an untrained model are texts of the grammar, with nothing to mend; greedy repeats."""
    lm, prompt = LocalLM(tiny_llama), Prompt((("user", "What next?"),))
    for request, seed in itertools.product(REQUESTS[1:], range(4)):
        text = generate(lm, prompt, request, temperature=2.0, seed=seed)
        assert text in texts(request)
        read = (read_listing if isinstance(request, Listing) else read_labelling)(text, request.frames, WORDS)
        assert not read.mended
    assert generate(lm, prompt, REQUESTS[0]) == generate(lm, prompt, REQUESTS[0], seed=5)


def test_what_may_not_stand(tiny_llama):
    """A token that leads nowhere is refused; names are quoted."""
    guide = Guide(LocalLM(tiny_llama).tokenizer, REQUESTS[0])
    with pytest.raises(BadInput, match="may not stand there"):
        guide.take(int(np.flatnonzero(~guide.allowed())[0]))
    assert '"the \\"knob\\""' in lark(REQUESTS[0])
