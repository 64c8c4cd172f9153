"""A local model behind HTTP, in the shapes of ``fake_server``."""

import contextlib
import threading
from http.server import ThreadingHTTPServer

import torch

from tests.lm import fake_server as fake


class ServedLlama:
    """What ``fake_server`` needs of a model, from a local one."""

    def __init__(self, local):
        self.tokenizer, self.model = local.tokenizer, local.model

    def encode(self, text):
        # The server adds "<s>" where a tokenizer would put its first token; this one's is its own.
        return self.tokenizer(text.removeprefix("<s>"), add_special_tokens=False).input_ids

    def decode(self, ids):
        return self.tokenizer.decode(ids)

    def piece(self, token):
        return self.tokenizer.decode([token]).encode()

    def render(self, messages):
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    @torch.inference_mode()
    def _table(self, ids):
        return torch.log_softmax(self.model(torch.tensor([ids])).logits[0].float(), -1)

    def scores(self, ids):
        table = self._table(ids)
        return [float(table[i - 1, ids[i]]) for i in range(1, len(ids))]

    def odds(self, ids):
        values, tokens = self._table(ids)[-1].topk(2)
        return dict(zip(tokens.tolist(), values.tolist(), strict=True))

    def draw(self, ids, count, temperature, seed):
        found = []
        while len(found) < count:
            found.append(int(self._table(ids + found)[-1].argmax()))
        return found


@contextlib.contextmanager
def served(local, kind="vllm"):
    """The address of a server of ``local``, a ``LocalLM``."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), fake.handler(fake.Server(fake.Config(kind=kind), ServedLlama(local))))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        http.server_close()
