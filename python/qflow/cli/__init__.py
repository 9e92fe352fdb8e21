"""The `qflow` command."""

from qflow.cli._app import app, main

__all__ = ["app", "main"]
