"""An honest robustness benchmark for image models, with Stein-shrinkage batch normalization.

Everything in ``__all__`` is stable under semantic versioning. Names are imported on first use, so that importing this
package does not import torch.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from stein_bench.version import __version__

if TYPE_CHECKING:
    from stein_bench.api.attacking import attack
    from stein_bench.api.comparing import compare, gate
    from stein_bench.api.evaluating import UntrustworthyReportError, evaluate
    from stein_bench.api.report import Report
    from stein_bench.errors import RunError, SteinBenchError, UsageError
    from stein_bench.normalization.convert import convert_batchnorm, restore_batchnorm

_HOMES = {
    "Report": "api.report",
    "RunError": "errors",
    "SteinBenchError": "errors",
    "UntrustworthyReportError": "api.evaluating",
    "UsageError": "errors",
    "attack": "api.attacking",
    "compare": "api.comparing",
    "convert_batchnorm": "normalization.convert",
    "evaluate": "api.evaluating",
    "gate": "api.comparing",
    "restore_batchnorm": "normalization.convert",
}
__all__ = [
    "Report",
    "RunError",
    "SteinBenchError",
    "UntrustworthyReportError",
    "UsageError",
    "__version__",
    "attack",
    "compare",
    "convert_batchnorm",
    "evaluate",
    "gate",
    "restore_batchnorm",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(_import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
