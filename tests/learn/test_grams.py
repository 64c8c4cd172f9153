import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.learn.grams import _STRAIGHT, Matcher, TokenText, _plain, shipped
from backcast.lm.tiny import tiny_tokenizer


def found(grams, text):
    matcher = Matcher(grams)
    return [text[match.start : match.end] for match in matcher.find(text)]


def test_whole_words_only():
    """U10: "so" is no part of "solve", nor of "so-called"'s neighbour "also"."""
    assert found(["so"], "We solve it, also here. So it is; so.") == ["So", "so"]


def test_the_longest_gram_wins():
    """U10: at one word the longest; a gram inside a longer match is not counted again."""
    assert found(["let me", "let me check", "me"], "Let me check; let me go") == ["Let me check", "let me"]


def test_grams_that_overlap_are_both_found():
    """U10: their union is marked once."""
    text = "let me think about it"
    matcher = Matcher(["let me think", "think about it"])
    assert [text[m.start : m.end] for m in matcher.find(text)] == ["let me think", "think about it"]
    offsets = [(0, 3), (3, 6), (6, 12), (12, 18), (18, 21)]
    assert matcher.mask(text, offsets).all()


def test_case_and_apostrophes_do_not_matter():
    """U10: curly and straight are equal; spans stay those of the text even where lower case is longer."""
    assert found(["let's see"], "İ LET’S  SEE") == ["LET’S  SEE"]
    assert found(["## step", "wait"], "## Step 1: Wait!") == ["## Step", "Wait"]


@given(st.text())
def test_lower_case_keeps_every_character_in_its_place(text):
    """Letter by letter is the rule; the fast way over the whole text gives the same, sigmas and dotted I included."""
    for given_text in (text, text + "ΑΣ İ ’"):
        plain = "".join(low if len(low := c.lower()) == 1 else c for c in given_text.translate(_STRAIGHT))
        assert _plain(given_text) == plain


def test_every_token_that_a_match_touches_is_marked():
    """U10: across token boundaries, but not for a token that shares only the space before a match."""
    text = "so, let me check it"
    mask = Matcher(["let me check"]).mask(text, [(0, 2), (2, 4), (4, 9), (9, 16), (16, 19)])
    assert mask.tolist() == [False, False, True, True, False]
    assert Matcher(["let me check"]).mask(text, [(0, 3), (3, 5), (5, 16)]).tolist() == [False, True, True]
    assert Matcher(["it"]).mask(text, [(12, 17), (17, 19)]).tolist() == [False, True]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "so", "solve"]), max_size=12))
def test_matches_equal_a_plain_search(parts):
    """Oracle: at each word, try the grams from the longest to the shortest; drop what lies inside the last match."""
    grams = ["a", "a b", "b c a", "so"]
    text = " ".join(parts)
    expected, reached = [], 0
    for i in range(len(parts)):
        for gram in sorted(grams, key=len, reverse=True):
            n = len(gram.split())
            if parts[i : i + n] == gram.split():
                if i + n > reached:
                    expected.append(gram)
                    reached = i + n
                break
    assert found(grams, text) == expected


@pytest.mark.parametrize(
    ("grams", "message"),
    [
        ([], "list of grams is empty"),
        ("let me", "must be a list of phrases, found the text 'let me'"),
        (["  "], "has 0 words"),
        (["a b c d e f g h i"], "has 9 words; give 1 to 8"),
    ],
)
def test_lists_that_cannot_be_used(grams, message):
    with pytest.raises(BadInput, match=message):
        Matcher(grams)


def test_the_shipped_list_is_usable():
    """Every phrase fits the matcher, none twice, and it fires on a plain piece of reasoning but not on every word."""
    grams = shipped()
    assert len(grams) == len(set(grams)) > 100
    text = "First of all, we know that 3 + 4 = 7. Wait, let me double check: 7 - 4 = 3. So the answer is 7."
    share = sum(m.end - m.start for m in Matcher(grams).find(text)) / len(text)
    assert 0.3 < share < 0.8


@pytest.fixture(scope="module")
def tokens():
    return TokenText(tiny_tokenizer())


def test_offsets_are_those_of_the_tokenizer(tokens):
    """On the tokenizer's own ids, text and spans equal what it reports itself."""
    text = "Let's think: the plan is 12 + 30."
    encoded = tokens.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    assert tokens(encoded.input_ids) == (text, [tuple(span) for span in encoded.offset_mapping])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 511), max_size=30))
def test_any_ids_at_all_have_text(tokens, ids):
    """A policy writes ids that no tokenizer would: spans stay in order, cover the text, and agree with decoding."""
    ids = [i for i in ids if i < len(tokens.tokenizer)]
    text, spans = tokens(ids)
    expected = tokens.tokenizer.decode(ids, skip_special_tokens=True)
    if "\ufffd" not in expected:
        assert text == expected
    assert len(spans) == len(ids)
    assert all(start <= end <= len(text) for start, end in spans)
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(spans))
    assert set().union(*(range(*span) for span in spans), set()) == set(range(len(text)))


def test_split_characters_belong_to_both_their_tokens(tokens):
    """The two bytes of a letter in two tokens: both tokens cover the letter."""
    ids = tokens.tokenizer("é", add_special_tokens=False).input_ids
    assert len(ids) == 2
    assert tokens(ids) == ("é", [(0, 1), (0, 1)])


def test_windows_agree_with_bytes(tokens):
    """The way for other decoders gives the same spans on plain text."""
    ids = tokens.tokenizer("let us see, wait for rain", add_special_tokens=False).input_ids
    assert tokens._from_windows(ids) == tokens._from_bytes(ids)


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(BadInput, match="Slow gives no character offsets"):
        TokenText(Slow())
