"""What several end-to-end tests share."""

import json
import random

import pytest

from backcast.learn.rethink import TRIGGERS

COLOURS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black", "blood": "red", "gold": "yellow"}


def question(thing):
    return f"What colour is {thing}?"


def reply(rng, thing):
    """First a planning phrase, then a colour that is right half of the time; sometimes a doubt, and a colour again."""
    colour = COLOURS[thing] if rng.random() < 0.5 else rng.choice(sorted(COLOURS.values()))
    said = f"Let me think. The answer is {colour}."
    if rng.random() < 0.3:
        said += rng.choice([words for group in TRIGGERS.values() for words in group]) + f" The answer is {colour}."
    return said


@pytest.fixture(scope="session")
def half_right(tmp_path_factory):
    """(model folder, file of questions): a tiny Llama trained for a few seconds on answers half of which are right."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from backcast.lm.tiny import make_tiny_llama

    folder = make_tiny_llama(tmp_path_factory.mktemp("half") / "model")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    rng, optimizer = random.Random(0), torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        ids = []
        for thing in COLOURS:
            said = [{"role": "user", "content": question(thing)}, {"role": "assistant", "content": reply(rng, thing)}]
            ids.append(tokenizer.apply_chat_template(said, return_dict=False))
        width = max(map(len, ids))
        batch = torch.tensor([[*row, *[tokenizer.pad_token_id] * (width - len(row))] for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        labels = batch.masked_fill(mask == 0, -100)
        model(input_ids=batch, attention_mask=mask, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    path = folder.parent / "colours.jsonl"
    lines = [{"prompt": question(thing), "answer": colour, "kind": "exact"} for thing, colour in COLOURS.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder, path
