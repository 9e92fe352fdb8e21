"""The history for other programs: as Arrow batches, and as files that prove what they hold."""

from qflow.audit.export._check import ExportReport, verify_export
from qflow.audit.export._folder import LogFolder
from qflow.audit.export._formats import Format
from qflow.audit.export._write import Exported, export

__all__ = ["ExportReport", "Exported", "Format", "LogFolder", "export", "verify_export"]
