"""Names what can be wrong with an exported model, each with what to do next.

The tree, below :class:`infra.errors.OpenCharacterError` (exit code 1)::

    ExportError
    ├── BrokenWeights       a tensor is missing, unknown, misshapen or not finite
    ├── ChangedVocabulary   tokens or embeddings are not those of the base model
    ├── UnfitTemplate       the serving template would not render what training rendered
    ├── MovedLoss           the reloaded model does not give the last evaluation loss
    ├── EndlessAnswers      the served model does not end its answers by itself
    └── BrokenGguf          the GGUF file does not hold what the exported folder holds
"""

from __future__ import annotations

from infra.errors import OpenCharacterError


class ExportError(OpenCharacterError):
    """Error about an exported model that must not be used."""


class BrokenWeights(ExportError):
    """Error about tensors that are missing, unknown, misshapen or not finite."""


class ChangedVocabulary(ExportError):
    """Error about tokens or embeddings that are not those of the base model."""


class UnfitTemplate(ExportError):
    """Error about a serving template that would not render what training rendered."""


class MovedLoss(ExportError):
    """Error about a reloaded model that does not give the last evaluation loss."""


class EndlessAnswers(ExportError):
    """Error about a served model that does not end its answers by itself."""


class BrokenGguf(ExportError):
    """Error about a GGUF file that does not hold what the exported folder holds."""
