"""Trains a PyTorch model for some seconds and prints its speed as one JSON line. scripts/compare-training calls it.

Two models, of the published sizes: the double decoder out of a checkout of its authors' repository, and a decoder-only
transformer as one writes it in plain PyTorch today (RMSNorm, RoPE, GELU, scaled_dot_product_attention, tied embedding).
Both train on one row of random tokens per step: forward, backward, clipping and fused AdamW.
"""

import argparse
import importlib.util
import json
import pathlib
import resource
import statistics
import sys
import time
import types

import torch
from torch import nn
from torch.nn import functional

ENCODER_LAYERS, DECODER_LAYERS, HEAD_DIM, VOCABULARY, ROW = 8, 4, 64, 32768, 2048
BLOCKS = 6


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.heads = dim // HEAD_DIM
        self.projections = nn.Linear(dim, 3 * dim, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, x, rotation):
        batch, length, dim = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, HEAD_DIM).transpose(1, 2)
            for part in self.projections(x).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(
            rotate(query, rotation), rotate(key, rotation), value, is_causal=True
        )
        return self.output(mixed.transpose(1, 2).reshape(batch, length, dim))


def rotate(x, rotation):
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1).to(x.dtype)


class Layer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.before_attention, self.before_mlp = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.attention = Attention(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim, bias=False), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim, bias=False)
        )

    def forward(self, x, rotation):
        x = x + self.attention(self.before_attention(x), rotation)
        return x + self.mlp(self.before_mlp(x))


class PlainDecoder(nn.Module):
    """As many layers as the double decoder has in both halves: equal parameters."""

    def __init__(self, dim):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, dim)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(dim) for _ in range(ENCODER_LAYERS + DECODER_LAYERS))
        self.norm = nn.RMSNorm(dim)
        frequencies = 10000.0 ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
        angles = torch.outer(torch.arange(ROW), frequencies)
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())

    def forward(self, ids, labels):
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x, (self.cosine, self.sine))
        logits = functional.linear(self.norm(x), self.embedding.weight)
        return functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def rotary_without_torchtune():
    """Their model takes one class from torchtune, whose package does not import beside every version of torchao."""
    try:
        from torchtune.modules import RotaryPositionalEmbeddings  # noqa: F401

        return
    except Exception:
        pass
    for name in [name for name in sys.modules if name.split(".")[0] == "torchtune"]:
        del sys.modules[name]
    found = importlib.util.find_spec("torchtune")
    if found is None:
        sys.exit("train_torch: the authors' model needs the package torchtune")
    file = pathlib.Path(found.origin).parent / "modules" / "position_embeddings.py"
    spec = importlib.util.spec_from_file_location("position_embeddings", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    package, modules = types.ModuleType("torchtune"), types.ModuleType("torchtune.modules")
    modules.RotaryPositionalEmbeddings = module.RotaryPositionalEmbeddings
    package.modules = modules
    sys.modules.update({"torchtune": package, "torchtune.modules": modules})


class AuthorsDoubleDecoder(nn.Module):
    def __init__(self, checkout, dim):
        super().__init__()
        rotary_without_torchtune()
        sys.path.insert(0, checkout)
        from models.double_decoder import Double_Decoder

        self.model = Double_Decoder(
            vocab_size=VOCABULARY,
            dim=dim,
            num_heads=dim // HEAD_DIM,
            num_encoder_layers=ENCODER_LAYERS,
            num_decoder_layers=DECODER_LAYERS,
            seq_len=ROW,
            shared=True,
            logit_biases=False,
        )
        self.blocks = torch.tensor([ROW * i // BLOCKS for i in range(1, BLOCKS)])

    def forward(self, ids, labels):
        return self.model(input_ids=ids, labels=labels, blocks=self.blocks, sft=False)["loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--authors", help="checkout of the authors' repository; without it the plain decoder")
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--bf16", action="store_true", help="autocast; weights stay in float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    plain = AuthorsDoubleDecoder(options.authors, options.dim) if options.authors else PlainDecoder(options.dim)
    plain.train()
    model = torch.compile(plain, dynamic=False) if options.compile else plain
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    ids, labels = torch.randint(0, VOCABULARY, (2, 1, ROW))

    def step():
        begin = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bf16):
            loss = model(ids, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - begin

    for _ in range(2):  # compiles, and makes the optimizer's state
        step()
    begin, seconds = time.perf_counter(), []
    while len(seconds) < 3 or time.perf_counter() - begin < options.seconds:
        seconds.append(step())
    print(
        json.dumps(
            {
                "tokens_per_second": ROW / statistics.median(seconds),
                "best_tokens_per_second": ROW / min(seconds),
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "steps": len(seconds),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
