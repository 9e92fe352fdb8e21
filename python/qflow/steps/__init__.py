"""One attempt of one step: HTTP, OpenAPI, a Python function, a script."""

from qflow.steps._functions import Functions, function
from qflow.steps._limits import Limits
from qflow.steps._runner import Runner

__all__ = ["Functions", "Limits", "Runner", "function"]
