"""A tiny decoder over a closed vocabulary: a causal prompt, then any number of questions that share it."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Decoder(nn.Module):
    """Prompt (B, L) and questions (B, Q) of token numbers to logits (B, Q, tokens); 0 pads both.

    The prompt is read causally, once; each question sees the prompt and itself, so asking many at once is the same as
    asking one at a time. Positions count back from the prompt's end. Input and output share their embeddings.
    """

    def __init__(self, tokens: int, width: int = 64, layers: int = 2, dropout: float = 0.1, limit: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.place = nn.Embedding(limit + 1, width)
        self.blocks = nn.ModuleList(Block(width, 4, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(tokens))
        for table in (self.embed, self.place):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, prompt: Tensor, questions: Tensor) -> Tensor:
        """Logits of every token at every question."""
        length, asked = prompt.shape[1], questions.shape[1]
        real = prompt != 0
        # Prompts are padded on the right: position 1 is a prompt's last token, 0 is a question's.
        back = (real.sum(1, keepdim=True) - torch.arange(length)).clamp(min=0, max=self.place.num_embeddings - 1)
        places = torch.cat([back, back.new_zeros(prompt.shape[0], asked)], 1)
        x = self.embed(torch.cat([prompt, questions], 1)) + self.place(places)
        causal = torch.ones(length, length).tril().bool()
        mask = torch.zeros(prompt.shape[0], length + asked, length + asked, dtype=torch.bool)
        mask[:, :length, :length] = causal & real[:, None, :]
        mask[:, length:, :length] = real[:, None, :]
        mask |= torch.eye(length + asked).bool()
        for block in self.blocks:
            x = block(x, mask[:, None])
        out: Tensor = nn.functional.linear(self.norm(x[:, length:]), self.embed.weight, self.bias)
        return out

    def in_buckets(self, prompt: Tensor, questions: Tensor, buckets: int = 4) -> Tensor:
        """The same logits, row by row, from groups of rows of like length: two thirds of a mixed batch is padding."""
        lengths, asked = (prompt != 0).sum(1), (questions != 0).sum(1)
        order = (lengths + asked).argsort()
        parts = []
        for rows in order.tensor_split(min(buckets, len(order))):
            long, many = int(lengths[rows].max()), int(asked[rows].max())
            found = self(prompt[rows, :long], questions[rows, :many])
            parts.append(nn.functional.pad(found, (0, 0, 0, questions.shape[1] - many)))
        return torch.cat(parts)[order.argsort()]


class Block(nn.Module):
    """One layer: attention, then a feed-forward part, each behind a norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, width) with a mask (B, 1, L, L) of what each place may see."""
        batch, length, width = x.shape
        parts = self.qkv(self.first(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(batch, length, width)
        x = x + self.drop(self.out(seen))
        out: Tensor = x + self.drop(self.down(nn.functional.gelu(self.up(self.second(x)))))
        return out
