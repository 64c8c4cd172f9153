"""A text as tokens in whole windows, each with the model's first token in front if its tokenizer puts one there."""

from collections.abc import Sequence


def with_beginnings(tokenizer, ids: Sequence[int], context: int) -> list[int]:
    """``ids`` so that every window of ``context`` tokens begins with the token that the tokenizer begins texts with.

    Some models (Gemma) lose their head without it, so the plain protocol, which has it in the first window only, would
    compare broken models. Unchanged for tokenizers that put nothing in front.
    """
    begin = tokenizer("a").input_ids[0]
    if begin != tokenizer.bos_token_id:
        return list(ids)
    rest = [token for at, token in enumerate(ids) if at or token != begin]
    return [token for at in range(0, len(rest), context - 1) for token in (begin, *rest[at : at + context - 1])]
