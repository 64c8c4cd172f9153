"""A Hugging Face tokenizer as GGUF metadata: byte-level BPE whose way of cutting text llama.cpp knows by name."""

import json
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_BY_PATTERN = {
    _ENDINGS + r"\p{N}{1,3}" + _REST: "llama-bpe",
    _ENDINGS + r"\p{N}" + _REST: "qwen2",
}

NORMAL, UNKNOWN, CONTROL, USER, UNUSED = 1, 2, 3, 4, 5
"""Token types of the format."""


def add_words(writer: Any, folder: Path, vocabulary: int) -> None:
    """Writes tokens, merges, special ids and the chat template; raises BadInput for any other kind of tokenizer."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise BadInput(f"--to gguf reads tokenizer.json, and '{folder}' has none; re-save the tokenizer as a fast one")
    plain = json.loads(path.read_text(encoding="utf-8"))
    how = plain["model"]
    if how.get("type") != "BPE" or how.get("byte_fallback"):
        raise BadInput(
            f"--to gguf writes byte-level BPE tokenizers, and this one is '{how.get('type')}'; use --to dense"
        )
    words: list[str] = [f"[PAD{i}]" for i in range(vocabulary)]
    types = [UNUSED] * vocabulary
    for word, at in how["vocab"].items():
        words[at], types[at] = word, NORMAL
    for added in plain.get("added_tokens", []):
        words[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cutter(plain.get("pre_tokenizer") or {}))
    writer.add_token_list(words)
    writer.add_token_types(types)
    pairs = how["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in pairs])
    _special(writer, folder, {word: at for at, word in enumerate(words)}, plain)


def cutter(how: dict[str, Any]) -> str:
    """llama.cpp's name of a pre-tokenizer (what cuts text before any merge); raises BadInput if it has none."""
    steps = how.get("pretokenizers", [how]) if how.get("type") == "Sequence" else [how]
    kinds = [step.get("type") for step in steps]
    byte_level = steps[-1] if kinds[-1] == "ByteLevel" else {}
    plain = not byte_level.get("add_prefix_space")
    if plain and kinds == ["ByteLevel"] and byte_level.get("use_regex", True):
        return "gpt-2"
    if plain and kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if plain and kinds == ["Split", "ByteLevel"] and not byte_level.get("use_regex", True):
        pattern = steps[0].get("pattern", {}).get("Regex", "")
        if pattern in _BY_PATTERN:
            return _BY_PATTERN[pattern]
    raise BadInput(
        f"--to gguf: llama.cpp has no name for this tokenizer's way of cutting text ({kinds}); use --to dense"
    )


def _special(writer: Any, folder: Path, ids: dict[str, int], plain: dict[str, Any]) -> None:
    config = _json(folder / "tokenizer_config.json")
    for key, add in (
        ("bos_token", writer.add_bos_token_id),
        ("eos_token", writer.add_eos_token_id),
        ("unk_token", writer.add_unk_token_id),
        ("pad_token", writer.add_pad_token_id),
    ):
        word = config.get(key)
        word = word.get("content") if isinstance(word, dict) else word
        if word in ids:
            add(ids[word])
    writer.add_add_bos_token(_begins(plain, config, ids))
    template = folder / "chat_template.jinja"
    text = template.read_text(encoding="utf-8") if template.exists() else config.get("chat_template")
    if isinstance(text, str):
        writer.add_chat_template(text)


def _begins(plain: dict[str, Any], config: dict[str, Any], ids: dict[str, int]) -> bool:
    """Whether encoding puts the first token in front: the post-processor says so, not the flag of the configuration."""
    del config, ids
    steps = plain.get("post_processor") or {}
    steps = steps.get("processors", [steps])
    return any(
        part.get("SpecialToken") is not None
        for step in steps
        if step.get("type") == "TemplateProcessing"
        for part in step.get("single", [])[:1]
    )


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
