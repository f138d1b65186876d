"""Time the codecs of hivemind and torch on 10M float32; print the seconds as JSON.

Runs in the environment of requirements-peers.txt.
"""

import json
import sys
import warnings

import hivemind.compression
import numpy as np
import timing
import torch

warnings.filterwarnings("ignore")  # of libraries that are not ours


def hivemind_codec(codec):
    """Return a pair (encode, decode) of one of hivemind's codecs."""
    info = hivemind.compression.CompressionInfo(
        key=0, descriptor=torch.zeros(timing.SIZE)
    )
    return lambda x: codec.compress(x, info), codec.extract


def torch_top_k(density):
    """Return (encode, decode) by ``torch.topk``, with torch's 64-bit indices."""

    def encode(leaf):
        places = torch.topk(leaf.abs(), int(density * leaf.numel()), sorted=False)[1]
        return leaf[places], places

    def decode(payload):
        values, places = payload
        return torch.zeros(timing.SIZE).scatter_(0, places, values)

    return encode, decode


def torch_int8():
    """Return (encode, decode) by torch's own 8 bits with one scale for the tensor."""

    def encode(leaf):
        scale = float(leaf.abs().max()) / 127
        return torch.quantize_per_tensor(leaf, scale, 0, torch.qint8)

    return encode, lambda quantized: quantized.dequantize()


def packed_sign():
    """Return (encode, decode) of signs and a mean by torch and ``np.packbits``."""

    def encode(leaf):
        return np.packbits((leaf >= 0).numpy()), leaf.abs().mean()

    def decode(payload):
        bits = torch.from_numpy(np.unpackbits(payload[0], count=timing.SIZE))
        return (bits.float() * 2 - 1) * payload[1]

    return encode, decode


CODECS = {
    "hivemind Uniform8Bit": hivemind_codec(
        hivemind.compression.Uniform8BitQuantization()
    ),
    "hivemind Quantile8Bit": hivemind_codec(
        hivemind.compression.Quantile8BitQuantization()
    ),
    "hivemind Float16": hivemind_codec(hivemind.compression.Float16Compression()),
    "torch quantize_per_tensor": torch_int8(),
    "torch.topk, 1 %": torch_top_k(0.01),
    "torch sign, np.packbits": packed_sign(),
}


def nbytes(payload) -> int:
    """Return the bytes of what would travel."""
    if isinstance(payload, tuple):
        return sum(nbytes(part) for part in payload)
    if hasattr(payload, "buffer"):
        return len(payload.buffer)
    if isinstance(payload, np.ndarray):
        return payload.nbytes
    return payload.numel() * payload.element_size()


def main(rounds: int) -> None:
    """Measure a copy, and encode and decode of all codecs, in turn."""
    leaf = torch.randn(timing.SIZE, generator=torch.Generator().manual_seed(0))
    functions = {"copy": leaf.clone}
    results = {}
    for name, (encode, decode) in CODECS.items():
        functions[name] = lambda encode=encode, decode=decode: decode(encode(leaf))
        payload = encode(leaf)
        error = ((decode(payload) - leaf) ** 2).sum() / (leaf**2).sum()
        results[name] = {
            "method": name,
            "bytes": nbytes(payload) / timing.SIZE,
            "error": float(error),
        }
    seconds = timing.interleaved(functions, rounds)
    for name, result in results.items():
        result["seconds"] = seconds[name]
    json.dump({"copy": seconds["copy"], "results": results}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))
