"""Small random models of real vision-language families, laid out on disk as the published ones are."""

from pathlib import Path

import torch

from backcast.lm.tiny import CLOSE, OPEN, PAD, tiny_tokenizer

QWEN = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"]
IDEFICS = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
IDEFICS += [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]


def template(name):
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text()


def save(folder, model, pixels, tokens, jinja):
    tokenizer = tiny_tokenizer(600)
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    tokenizer.chat_template = template(jinja)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in [PAD, OPEN, CLOSE, *tokens]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = model(ids, len(tokenizer))
    made.generation_config.eos_token_id = ids["<end_of_utterance>"] if "<image>" in ids else ids[CLOSE]
    made.save_pretrained(folder)
    pixels.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def text_part(ids, words, **more):
    return {
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.3,
        "bos_token_id": ids[OPEN],
        "eos_token_id": ids[CLOSE],
        "pad_token_id": ids[PAD],
        **more,
    }


def qwen_marks(ids):
    names = ("vision_start_token_id", "image_token_id", "vision_end_token_id", "video_token_id")
    return dict(zip(names, (ids[token] for token in QWEN), strict=True))


def qwen25(folder):
    """Qwen2.5-VL as published: patches of 14, merged 2 by 2, windows of 112."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    def model(ids, words):
        rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]}
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
        vision |= {"patch_size": 14, "window_size": 112, "fullatt_block_indexes": [1]}
        config = Qwen2_5_VLConfig(
            text_config=text_part(ids, words, rope_parameters=rope),
            vision_config=vision,
            **qwen_marks(ids),
            dtype=torch.float32,
        )
        return Qwen2_5_VLForConditionalGeneration(config)

    pixels = Qwen2VLImageProcessorPil(size={"shortest_edge": 4 * 784, "longest_edge": 64 * 784})
    return save(folder, model, pixels, QWEN, "qwen2_5_vl")


def qwen3(folder):
    """Qwen3-VL: patches of 16, merged 2 by 2, deep features into several layers."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    def model(ids, words):
        rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
        vision |= {"patch_size": 16, "deepstack_visual_indexes": [0], "num_position_embeddings": 64}
        config = Qwen3VLConfig(
            text_config=text_part(ids, words, rope_parameters=rope, head_dim=8),
            vision_config=vision,
            **qwen_marks(ids),
            dtype=torch.float32,
        )
        return Qwen3VLForConditionalGeneration(config)

    pixels = Qwen2VLImageProcessorPil(patch_size=16, size={"shortest_edge": 4 * 1024, "longest_edge": 64 * 1024})
    return save(folder, model, pixels, QWEN, "qwen3_vl")


def idefics3(folder):
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    return _idefics(folder, Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessorPil, "idefics3")


def smolvlm(folder):
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    return _idefics(folder, SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessorPil, "smolvlm")


def _idefics(folder, config, kind, pixels, jinja):
    """SmolVLM and Idefics3: the image and its tiles of 64 pixels, 4 tokens each."""

    def model(ids, words):
        vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        vision |= {"image_size": 64, "patch_size": 16, "initializer_range": 0.3}
        text = text_part(ids, words, model_type="llama")
        made = config(
            vision_config=vision,
            text_config=text,
            image_token_id=ids["<image>"],
            scale_factor=2,
            pad_token_id=ids[PAD],
            dtype=torch.float32,
        )
        return kind(made)

    sizes = {"size": {"longest_edge": 128}, "max_image_size": {"longest_edge": 64}}
    folder = save(folder, model, pixels(**sizes), IDEFICS, jinja)
    import json

    (Path(folder) / "processor_config.json").write_text(
        json.dumps(
            {"processor_class": kind.__name__.replace("ForConditionalGeneration", "Processor"), "image_seq_len": 4}
        )
    )
    return folder


FAMILIES = {"qwen2.5-vl": qwen25, "qwen3-vl": qwen3, "idefics3": idefics3, "smolvlm": smolvlm}
