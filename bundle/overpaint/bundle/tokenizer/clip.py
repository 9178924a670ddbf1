"""CLIP's tokenizer from a checkpoint's `vocab.json` and `merges.txt`.

Byte-pair encoding over lower-cased text, a word's last piece ending in `</w>` (Radford et al. 2021,
openai/CLIP `simple_tokenizer.py`). The result equals transformers' CLIPTokenizer id by id; with it
comes a quirk that trained checkpoints rely on: the padding token is special wherever it stands, so
for SD 2 and SDXL's second encoder, which pad with `!`, a `!` in a prompt is the padding's id 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from overpaint.bundle.errors import CheckpointError, one_line
from overpaint.bundle.files.json import LARGEST_TOKENIZER, read_json, read_text

LARGEST_ID: Final = 1 << 24  # the largest vocabularies hold some 260,000 tokens
START: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"

# Contractions, runs of letters, single digits, runs of anything else.
_WORDS: Final = (
    r"<\|startoftext\|>|<\|endoftext\|>"
    r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


def read_clip_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of `folder`; `encode` puts the start and end tokens around a prompt.

    Raises:
        CheckpointError: `vocab.json` or `merges.txt` is missing, malformed, or contradicts itself.
    """
    folder = Path(folder)
    vocabulary = _vocabulary(folder / "vocab.json")
    merges = _merges(folder / "merges.txt")
    specials = _special_tokens(folder)
    if missing := [token for token in specials if token not in vocabulary]:
        raise CheckpointError(f"{folder / 'vocab.json'}: expected it to hold {', '.join(missing)}")
    try:
        model = models.BPE(
            vocabulary,
            merges,
            unk_token=END,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
        )
    except Exception as error:  # the Rust library raises bare Exception
        why = one_line(str(error))
        raise CheckpointError(f"{folder}: vocab.json and merges.txt disagree: {why}") from error
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]),
        (START, vocabulary[START]),
        trim_offsets=False,
        add_prefix_space=False,
    )
    tokenizer.add_special_tokens(list(specials.values()))
    return tokenizer


def read_pad_token(folder: str | Path) -> str:
    """The padding token: `<|endoftext|>` (CLIP-L), or what the tokenizer's config says."""
    return str(_special_token(Path(folder), "pad_token", END).content)


def _special_tokens(folder: Path) -> dict[str, AddedToken]:
    """By text. Where roles share a text, the last role's options hold, as in transformers."""
    roles = (("bos_token", START), ("eos_token", END), ("unk_token", END), ("pad_token", END))
    tokens = [_special_token(folder, role, default) for role, default in roles]
    return {token.content: token for token in tokens}


def _special_token(folder: Path, role: str, default: str) -> AddedToken:
    """A role's token as `tokenizer_config.json` or `special_tokens_map.json` has it."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / file
        if not path.is_file():
            continue
        config = read_json(path)
        token = config.get(role)
        if isinstance(token, str):
            token = _added_token(config, token)
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            options = ("lstrip", "normalized", "rstrip", "single_word")
            chosen = {name: bool(token[name]) for name in options if name in token}
            return AddedToken(token["content"], special=True, **chosen)
    return AddedToken(default, normalized=False, special=True)


def _added_token(config: dict[str, Any], content: str) -> dict[str, Any]:
    """A token that is named by its text alone: transformers 4 keeps its options in a list apart."""
    added = config.get("added_tokens_decoder")
    for token in added.values() if isinstance(added, dict) else ():
        if isinstance(token, dict) and token.get("content") == content:
            return token
    return {"content": content, "normalized": False}


def _vocabulary(path: Path) -> dict[str, int]:
    vocabulary = read_json(path, LARGEST_TOKENIZER)
    for token, index in vocabulary.items():
        if type(index) is not int or not 0 <= index < LARGEST_ID:
            raise CheckpointError(
                f"{path}: expected each token's id to be a whole number from 0 to {LARGEST_ID - 1}"
                f", got {one_line(repr(index))} for {one_line(repr(token))}"
            )
    return vocabulary


def _merges(path: Path) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(read_text(path, LARGEST_TOKENIZER).split("\n"), 1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        pair = line.rstrip("\r").split(" ")
        if len(pair) != 2:
            raise CheckpointError(f"{path}: line {number}: expected two pieces, got {line[:40]!r}")
        merges.append((pair[0], pair[1]))
    return merges
