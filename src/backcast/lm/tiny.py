"""Tiny models with real tokenizers and chat templates, made offline in milliseconds: for tests and trials."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from backcast.lm.chat import CHATML

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, OPEN, CLOSE = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

_SPECIAL = [PAD, OPEN, CLOSE]
"""The first ids of the vocabulary, in this order."""

_TEXT = """The river rises in the hills and runs to the sea. When it rains for three days, the fields are under water.
Okay, I am given a task: explain why. First I should say what the reader wants to know, then give the reasons in order.
"Is that so?" she asked. He nodded, and they walked on along the old road, past the mill and the empty houses.
To make bread, mix 500 g of flour with 350 g of water, 10 g of salt and a little yeast; wait, fold it, and wait again.
Question: what is 12 + 30? Answer: the answer is 42. The options are A, B, C and D; only one of them is right.
Dear neighbour, thank you for your letter. We would like to meet you on Monday at seven to talk about the garden wall.
system user assistant <think> </think> <answer> </answer>
"""


def make_tiny_llama(
    folder: Path, seed: int = 0, *, hidden: int = 64, layers: int = 2, vocabulary: int = 512, context: int = 4096
) -> Path:
    """Saves a random Llama (about 107,000 parameters) as a Hugging Face folder and returns the folder.

    The tokenizer is a byte-level BPE with offsets, trained on a few sentences, so it takes any text. The chat template
    is ChatML with the assistant's tokens marked. The weights are drawn wide enough that what comes next depends
    clearly on what came before. The same arguments give the same weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer(vocabulary)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,
        tie_word_embeddings=True,
        pad_token_id=_SPECIAL.index(PAD),
        bos_token_id=_SPECIAL.index(OPEN),
        eos_token_id=_SPECIAL.index(CLOSE),
        dtype=torch.float32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_tokenizer(vocabulary: int = 512) -> "PreTrainedTokenizerFast":
    """A byte-level BPE tokenizer of at most ``vocabulary`` tokens, with ChatML's special tokens and template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=_SPECIAL, initial_alphabet=sorted(alphabet), show_progress=False
    )
    core.train_from_iterator(_TEXT.splitlines(keepends=True), trainer)
    build: Any = PreTrainedTokenizerFast  # untyped upstream
    tokenizer: PreTrainedTokenizerFast = build(
        tokenizer_object=core, bos_token=OPEN, eos_token=CLOSE, pad_token=PAD, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHATML
    return tokenizer


VISION = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"]

CHATML_IMAGES = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""ChatML whose messages may be lists of texts and images."""


def tiny_vlm(seed: int = 0) -> tuple[Any, Any]:
    """(model, processor): a random Qwen2.5-VL of about 60,000 parameters that really looks at its images.

    Images are read by Pillow alone, without torchvision: patches of 4 x 4 pixels, one token for every 8 x 8 pixels,
    between one and sixteen tokens an image. The processor takes no videos, which would need torchvision. The same seed
    gives the same weights.
    """
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    processor = _image_processor()
    ids = {token: processor.tokenizer.convert_tokens_to_ids(token) for token in VISION}
    text = {
        "vocab_size": len(processor.tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]},
        "bos_token_id": _SPECIAL.index(OPEN),
        "eos_token_id": _SPECIAL.index(CLOSE),
        "pad_token_id": _SPECIAL.index(PAD),
    }
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 32,
        "patch_size": 4,
        "window_size": 16,
        "fullatt_block_indexes": [0],
        "initializer_range": 0.3,
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        tie_word_embeddings=True,
        dtype=torch.float32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = _SPECIAL.index(CLOSE)
    return model, processor


def _image_processor() -> Any:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    from backcast.lm.processors import images_only

    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": VISION})
    size = {"shortest_edge": 8 * 8, "longest_edge": 16 * 8 * 8}
    pixels = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, temporal_patch_size=2, size=size)
    tokenizer.chat_template = CHATML_IMAGES
    tokenizer.padding_side = "left"  # as generation needs it
    return images_only("qwen2_5_vl", pixels, tokenizer, CHATML_IMAGES)


def make_tiny_vlm(folder: Path, seed: int = 0) -> Path:
    """Saves ``tiny_vlm`` as a Hugging Face folder, as the stock one is laid out, and returns the folder."""
    model, processor = tiny_vlm(seed)
    model.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    return folder
