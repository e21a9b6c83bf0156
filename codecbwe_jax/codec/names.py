"""The codec's checkpoint namings, and the way between them.

A codec's parameters have one canonical form: plain weights under the names of transformers'
Xcodec2Model (`CodecNetwork.torch_rules`). Training checkpoints of X-Codec 2.0, its forks and
NeuCodec spell them otherwise; here stands the table between the two. Sources:
zhenye234/X-Codec-2.0, malaysia-ai/X-Codec-2.0-25TPS-24k, neuphonic/neucodec.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from codecbwe_jax.audio.window import hann
from codecbwe_jax.codec.settings import CodecSettings
from codecbwe_jax.errors import UserError, some
from codecbwe_jax.nn.snake import kaiser_sinc_taps
from codecbwe_jax.weights.rules import match

State = dict[str, np.ndarray]

HEAD_SIZE = 64

# (original, canonical) names; {t} is what a layer calls its tensor. Numbers of blocks and units
# are shifted.
_BLOCK, _UNIT = "CodecEnc.conv_blocks.{block}.block", "acoustic_encoder.block.{block}"
_LAYER, _CANONICAL_LAYER = "generator.backbone.transformers.{i}", "acoustic_decoder.layers.{i}"
TABLE: tuple[tuple[str, str], ...] = (
    ("CodecEnc.conv_blocks.0.{t}", "acoustic_encoder.conv1.{t}"),
    (f"{_BLOCK}.{{unit}}.block.0.act.{{t}}", f"{_UNIT}.res_unit{{unit}}.snake1.act.{{t}}"),
    (f"{_BLOCK}.{{unit}}.block.1.{{t}}", f"{_UNIT}.res_unit{{unit}}.conv1.{{t}}"),
    (f"{_BLOCK}.{{unit}}.block.2.act.{{t}}", f"{_UNIT}.res_unit{{unit}}.snake2.act.{{t}}"),
    (f"{_BLOCK}.{{unit}}.block.3.{{t}}", f"{_UNIT}.res_unit{{unit}}.conv2.{{t}}"),
    (f"{_BLOCK}.3.act.{{t}}", f"{_UNIT}.snake1.act.{{t}}"),
    (f"{_BLOCK}.4.{{t}}", f"{_UNIT}.conv1.{{t}}"),
    ("CodecEnc.conv_final_block.0.act.{t}", "acoustic_encoder.snake1.act.{t}"),
    ("CodecEnc.conv_final_block.1.{t}", "acoustic_encoder.conv2.{t}"),
    ("SemanticEncoder_module.initial_conv.{t}", "semantic_adapter.conv1.{t}"),
    ("SemanticEncoder_module.residual_blocks.1.{t}", "semantic_adapter.conv2.{t}"),
    ("SemanticEncoder_module.residual_blocks.3.{t}", "semantic_adapter.conv3.{t}"),
    ("SemanticEncoder_module.final_conv.{t}", "semantic_adapter.conv4.{t}"),
    ("fc_prior.{t}", "fc_encoder.{t}"),
    ("fc_post_a.{t}", "acoustic_decoder.fc.{t}"),
    ("generator.quantizer.{project}.{t}", "quantizer.{project}.{t}"),
    ("generator.backbone.embed.{t}", "acoustic_decoder.embed.{t}"),
    ("generator.backbone.{net}_net.{i}.{part}.{t}", "acoustic_decoder.{net}_net.{i}.{part}.{t}"),
    (f"{_LAYER}.att_norm.{{t}}", f"{_CANONICAL_LAYER}.input_layernorm.{{t}}"),
    (f"{_LAYER}.ffn_norm.{{t}}", f"{_CANONICAL_LAYER}.post_attention_layernorm.{{t}}"),
    (f"{_LAYER}.att.c_proj.{{t}}", f"{_CANONICAL_LAYER}.self_attn.o_proj.{{t}}"),
    (f"{_LAYER}.mlp.{{fc}}.{{t}}", f"{_CANONICAL_LAYER}.mlp.{{fc}}.{{t}}"),
    ("generator.backbone.final_layer_norm.{t}", "acoustic_decoder.norm.{t}"),
    ("generator.head.out.{t}", "acoustic_decoder.head.linear.{t}"),
)
# Blocks count from 1 there and from 0 here; units the other way round.
SHIFTS = {"block": -1, "unit": 1}
# One tensor there, three here: the rows of queries, keys and values.
FUSED = f"{_LAYER}.att.c_attn.weight"
PARTS = tuple(f"{_CANONICAL_LAYER}.self_attn.{n}_proj.weight" for n in "qkv")
# The semantic encoder keeps its own names, under another prefix.
SEMANTIC = ("semantic_model.", "semantic_encoder.")
W2V_BERT = ("feature_projection.", "encoder.layers.", "masked_spec_embed")
WEIGHT_NORM = re.compile(r"CodecEnc\..*\.weight")
_FIRST_WORDS = {name.partition(".")[0] for pair in (*TABLE, SEMANTIC) for name in pair}
# Of training only, or constants that the code makes.
DROPPED = re.compile(
    r"(fc_post_s|SemanticDecoder_module|discriminator|spec_discriminator|criteria|model_spk)\..*"
    r"|.*\.upsample\.filter|.*\.downsample\.lowpass\.filter|generator\.head\.istft\.window"
)


def is_known(key: str) -> bool:
    """Whether this is how a codec's checkpoint of any naming calls a tensor that is not dropped."""
    if key.partition(".")[0] not in _FIRST_WORDS:  # most are not, and there are many
        return False
    key = re.sub(r"\.weight_[gv]$", ".weight", _spelled(key))
    if canonical_names(key) or key.startswith(SEMANTIC[1]):
        return True
    return any(match(part, key) for part in (*PARTS, *(here for _, here in TABLE)))


def is_of_w2v_bert(key: str) -> bool:
    """Whether a checkpoint of facebook/w2v-bert-2.0 has such a tensor."""
    return key.startswith(W2V_BERT)


def canonical_names(key: str) -> tuple[str, ...]:
    """Canonical names of an original tensor: one, three for fused attention, none if the tensor
    is dropped or not known."""
    if key.startswith(SEMANTIC[0]):
        return (SEMANTIC[1] + key.removeprefix(SEMANTIC[0]),)
    if fields := match(FUSED, key):
        return tuple(part.format(**fields) for part in PARTS)
    for there, here in TABLE:
        fields = match(there, key)
        if fields and all(fields[name].isdigit() for name in SHIFTS if name in fields):
            return (here.format(**_shifted(fields, 1)),)
    return ()


def _shifted(fields: dict[str, str], sign: int) -> dict[str, str]:
    return {k: str(int(v) + sign * SHIFTS[k]) if k in SHIFTS else v for k, v in fields.items()}


def from_original(
    state: Mapping[str, np.ndarray],
    head_size: int = HEAD_SIZE,
    say: Callable[[str], None] = print,
) -> State:
    """A training checkpoint's tensors under canonical names.

    Accepts every spelling of weight norm and of Snake's beta (`act.bias`); folds weight norm
    where it finds it. The semantic encoder keeps all its layers.

    Args:
      state: PyTorch names -> arrays.
      head_size: of the decoder's attention.
      say: gets a line if a folded weight differs from the plain one stored beside it.

    Raises:
      UserError: if tensors are not known, or half of a weight norm is missing; all are listed.
    """
    folded = fold_weight_norm({_spelled(k): v for k, v in state.items()}, say)
    result: State = {}
    unknown = []
    for key, value in folded.items():
        if DROPPED.fullmatch(key):
            continue
        targets = canonical_names(key)
        if not targets:
            unknown.append(key)
        elif len(targets) == 3:
            if value.ndim != 2 or value.shape[0] % (3 * head_size):
                raise UserError(
                    f"{key} is {list(value.shape)}: no queries, keys and values of heads of "
                    f"{head_size}, the config's head_size"
                )
            q, k, v = np.split(value, 3)
            q, k = (_rotary_rows(x, head_size, to_halves=True) for x in (q, k))
            result.update(zip(targets, (q, k, v), strict=True))
        else:
            result[targets[0]] = value
    if unknown:
        raise UserError(
            f"not a codec's training checkpoint: {len(unknown)} unknown tensors: " + some(unknown)
        )
    return result


def to_original(state: Mapping[str, np.ndarray], head_size: int = HEAD_SIZE) -> State:
    """Canonical tensors -> the training checkpoint's names, with weight norm in the acoustic
    encoder (`weight_g` is the norm of `weight_v`) and the constants that its modules store."""
    result: State = {}
    for key, value in state.items():
        if fields := match(PARTS[0], key):
            parts = [state[part.format(**fields)] for part in PARTS]
            parts[:2] = [_rotary_rows(x, head_size, to_halves=False) for x in parts[:2]]
            result[FUSED.format(**fields)] = np.concatenate(parts)
            continue
        if any(match(part, key) for part in PARTS[1:]):
            continue
        name = _original_name(key)
        if WEIGHT_NORM.fullmatch(name):
            result[f"{name}_g"], result[f"{name}_v"] = _norm(value), value
        else:
            result[name] = value
        if name.endswith(".act.alpha"):
            taps = kaiser_sinc_taps()[None, None]
            unit = name.removesuffix(".act.alpha")
            result[f"{unit}.upsample.filter"] = taps
            result[f"{unit}.downsample.lowpass.filter"] = taps
        if name == "generator.head.out.bias":
            result["generator.head.istft.window"] = hann(len(value) - 2)
    return result


def _original_name(key: str) -> str:
    if key.startswith(SEMANTIC[1]):
        return SEMANTIC[0] + key.removeprefix(SEMANTIC[1])
    for there, here in TABLE:
        if fields := match(here, key):
            return there.format(**_shifted(fields, -1))
    raise UserError(f"{key} has no name in a training checkpoint")


def _spelled(key: str) -> str:
    key = key.replace("parametrizations.weight.original0", "weight_g")
    key = key.replace("parametrizations.weight.original1", "weight_v")
    return re.sub(r"\.act\.bias$", ".act.beta", key)


def fold_weight_norm(state: Mapping[str, np.ndarray], say: Callable[[str], None] = print) -> State:
    """Replace `weight_g` and `weight_v` by `weight = g v / ||v||`, one norm for each output.

    A plain `weight` beside them (NeuCodec's file) is dropped, as transformers does; if it
    differs, `say` gets a line, because neuphonic's own package runs with it.
    """
    result = {k: v for k, v in state.items() if not k.endswith((".weight_g", ".weight_v"))}
    halves = {k[:-2] for k in state if k.endswith((".weight_g", ".weight_v"))}
    missing = [n + end for n in sorted(halves) for end in ("_g", "_v") if n + end not in state]
    if missing:
        raise UserError(f"weight norm without its other half: missing {some(missing)}")
    stale = []
    for key, v in state.items():
        if not key.endswith(".weight_v"):
            continue
        name = key.removesuffix("_v")
        norm, gain = _norm(v), state[f"{name}_g"]
        if gain.shape != norm.shape:
            raise UserError(
                f"{name}_g is {list(gain.shape)}, expected {list(norm.shape)} beside {key}"
            )
        weight = v * (gain / norm)
        plain = result.get(name, weight)
        if plain.shape != weight.shape or not np.allclose(plain, weight, rtol=1e-4, atol=1e-6):
            stale.append(name)
        result[name] = weight
    if stale:
        say(
            f"{len(stale)} plain weights differ from the weight norm beside them, which is used: "
            + ", ".join(stale[:5])
        )
    return result


def _norm(v: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum(np.square(v), axis=tuple(range(1, v.ndim)), keepdims=True))


def _rotary_rows(weight: np.ndarray, head_size: int, to_halves: bool) -> np.ndarray:
    """Reorder the rows of a query or key projection between interleaved and half-split rotary
    pairs. Without effect on any output, as the rotation cancels; kept so that files are equal."""
    grouped = weight.reshape(
        -1, *((head_size // 2, 2) if to_halves else (2, head_size // 2)), weight.shape[-1]
    )
    return np.ascontiguousarray(grouped.swapaxes(1, 2).reshape(weight.shape))


def canonical(
    state: Mapping[str, np.ndarray],
    settings: CodecSettings,
    semantic: Mapping[str, np.ndarray] | None = None,
    say: Callable[[str], None] = print,
) -> State:
    """A codec's tensors under canonical names, from a checkpoint of any naming.

    Args:
      state: a training checkpoint (`CodecEnc.*`, `generator.*`, ...) or a transformers model's.
      settings: of the codec; of w2v-BERT's 24 layers, those that it uses are kept.
      semantic: a checkpoint of facebook/w2v-bert-2.0, for a `state` without these tensors.
      say: gets lines about what is odd but not wrong.

    Raises:
      UserError: if the naming is not known, or tensors in it are not.
    """
    if any(key.startswith(("CodecEnc.", "generator.")) for key in state):
        result = from_original(state, settings.backbone.head_size, say)
    elif any(key.startswith("acoustic_encoder.") for key in state):
        result = dict(state)
    else:
        some = ", ".join(list(state)[:3])
        raise UserError(
            f"not a codec's checkpoint: its tensors are named {some}, ...; known are training "
            "checkpoints (CodecEnc.*, generator.*) and transformers models (acoustic_encoder.*)"
        )
    if semantic:
        result |= from_w2v_bert(semantic)
    elif not any(key.startswith(SEMANTIC[1]) for key in result):
        raise UserError(
            "this checkpoint holds no semantic encoder (semantic_model.*): give the weights of "
            "facebook/w2v-bert-2.0 with --semantic"
        )
    return _keep_layers(result, settings.semantic.layers)


def from_w2v_bert(state: Mapping[str, np.ndarray]) -> State:
    """A checkpoint of facebook/w2v-bert-2.0 alone, under canonical names.

    Raises:
      UserError: if it is something else.
    """
    bare = {key.removeprefix("wav2vec2_bert."): value for key, value in state.items()}
    if "feature_projection.projection.weight" not in bare:
        some = ", ".join(list(state)[:3])
        raise UserError(f"not a checkpoint of w2v-bert-2.0: its tensors are named {some}, ...")
    return {SEMANTIC[1] + key: value for key, value in bare.items() if is_of_w2v_bert(key)}


def to_w2v_bert(state: Mapping[str, np.ndarray]) -> State:
    """The semantic encoder of canonical tensors under w2v-bert-2.0's own names."""
    prefix = SEMANTIC[1]
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _keep_layers(state: Mapping[str, np.ndarray], layers: int) -> State:
    prefix = "semantic_encoder.encoder.layers."

    def kept(key: str) -> bool:
        number = key.removeprefix(prefix).split(".")[0]
        return not key.startswith(prefix) or not number.isdigit() or int(number) < layers

    return {key: value for key, value in state.items() if kept(key)}
