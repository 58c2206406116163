"""Tensor names and shapes of the building blocks that several families share."""

from collections.abc import Iterator

from vlmprof.models.checkpoint import Init, Json, TensorSpec


def linear(
    name: str, outputs: int, inputs: int, *, bias: bool, init: Init = Init.FAN_IN
) -> Iterator[TensorSpec]:
    """A dense layer; the weight is stored as (outputs, inputs)."""
    yield TensorSpec(f"{name}.weight", (outputs, inputs), init)
    if bias:
        yield TensorSpec(f"{name}.bias", (outputs,), Init.ZEROS)


def layer_norm(name: str, size: int) -> Iterator[TensorSpec]:
    yield TensorSpec(f"{name}.weight", (size,), Init.ONES)
    yield TensorSpec(f"{name}.bias", (size,), Init.ZEROS)


def rms_norm(name: str, size: int, init: Init = Init.ONES) -> Iterator[TensorSpec]:
    yield TensorSpec(f"{name}.weight", (size,), init)


def decoder(
    prefix: str, text: Json, *, qkv_bias: bool = False, qk_norm: bool = False
) -> Iterator[TensorSpec]:
    """A Llama-like decoder: Llama itself, Qwen2 (`qkv_bias`) and Qwen3 (`qk_norm`)."""
    tied = text.get("tie_word_embeddings", False)
    embedding = (text["vocab_size"], text["hidden_size"])
    yield TensorSpec(f"{prefix}.embed_tokens.weight", embedding, Init.HEAD if tied else Init.EMBEDDING)
    for index in range(text["num_hidden_layers"]):
        layer = f"{prefix}.layers.{index}"
        yield from rms_norm(f"{layer}.input_layernorm", text["hidden_size"])
        yield from _grouped_attention(f"{layer}.self_attn", text, qkv_bias=qkv_bias, qk_norm=qk_norm)
        yield from rms_norm(f"{layer}.post_attention_layernorm", text["hidden_size"])
        yield from _gated_mlp(f"{layer}.mlp", text)
    yield from rms_norm(f"{prefix}.norm", text["hidden_size"])


def head(name: str, text: Json) -> Iterator[TensorSpec]:
    """The output projection of a model whose embeddings are not tied."""
    yield TensorSpec(f"{name}.weight", (text["vocab_size"], text["hidden_size"]), Init.HEAD)


def _grouped_attention(name: str, text: Json, *, qkv_bias: bool, qk_norm: bool) -> Iterator[TensorSpec]:
    hidden = text["hidden_size"]
    head_dim = text.get("head_dim", hidden // text["num_attention_heads"])
    queries = text["num_attention_heads"] * head_dim
    keys = text["num_key_value_heads"] * head_dim
    yield from linear(f"{name}.q_proj", queries, hidden, bias=qkv_bias, init=Init.QUERY_KEY)
    yield from linear(f"{name}.k_proj", keys, hidden, bias=qkv_bias, init=Init.QUERY_KEY)
    yield from linear(f"{name}.v_proj", keys, hidden, bias=qkv_bias)
    yield from linear(f"{name}.o_proj", hidden, queries, bias=False)
    if qk_norm:
        yield from rms_norm(f"{name}.q_norm", head_dim, Init.DOUBLED)
        yield from rms_norm(f"{name}.k_norm", head_dim, Init.DOUBLED)


def _gated_mlp(name: str, text: Json) -> Iterator[TensorSpec]:
    hidden, inner = text["hidden_size"], text["intermediate_size"]
    yield from linear(f"{name}.gate_proj", inner, hidden, bias=False)
    yield from linear(f"{name}.up_proj", inner, hidden, bias=False)
    yield from linear(f"{name}.down_proj", hidden, inner, bias=False)
