"""Says which architectures transformers and vLLM know, by reading their sources.

Importing either takes seconds and PyTorch, which a plan does not have; their tables are literals.
Where a table is not found, nothing is said to be unknown.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

_CAUSAL = ("transformers", "models/auto/modeling_auto.py", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")
_TOKENIZERS = ("transformers", "models/auto/tokenization_auto.py")
_SERVED = ("vllm", "model_executor/models/registry.py")
_SERVED_TABLES = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")


def can_train(model_type: str) -> bool:
    """Tell whether transformers has a causal language model of this type."""
    known = _read_keys(_CAUSAL[0], _CAUSAL[1], _CAUSAL[2])
    return not known or model_type in known


def can_serve(architecture: str, model_type: str) -> bool:
    """Tell whether vLLM has this architecture, or can take transformers' own of this type."""
    found = [_read_keys(*_SERVED, table) for table in _SERVED_TABLES]
    served = frozenset[str]().union(*found)
    return not served or architecture in served or can_train(model_type)


def has_tokenizer(name: str, model_type: str) -> bool:
    """Tell whether transformers has a tokenizer of this class, or for this type of model."""
    source = _read_source(*_TOKENIZERS)
    stem = name.removesuffix("Fast")
    return not source or any(f'"{word}"' in source for word in (name, stem, model_type) if word)


def _read_source(package: str, name: str) -> str:
    spec = find_spec(package)
    for place in (spec.submodule_search_locations if spec else None) or ():
        path = Path(place) / name
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""


@lru_cache(maxsize=8)
def _read_keys(package: str, name: str, table: str) -> frozenset[str]:
    """Return the keys of a literal table: a dictionary, or pairs in a call."""
    try:
        tree = ast.parse(_read_source(package, name))
    except SyntaxError:
        return frozenset()
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and (
            isinstance(target, ast.Name) and target.id == table and node.value is not None
        ):
            return frozenset(_list_keys(node.value))
    return frozenset()


def _list_keys(value: ast.expr) -> list[str]:
    if isinstance(value, ast.Call) and value.args:
        value = value.args[0]
    keys: list[ast.expr | None] = []
    if isinstance(value, ast.Dict):
        keys = list(value.keys)
    elif isinstance(value, ast.List):
        keys = [pair.elts[0] for pair in value.elts if isinstance(pair, ast.Tuple) and pair.elts]
    return [
        key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
    ]
