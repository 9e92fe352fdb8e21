"""Rules that a history is held to, and signed reports of what came of it."""

from qflow.audit.compliance._evaluate import Outcome, Result, Scope, evaluating
from qflow.audit.compliance._file import Checked, check_report, report_file, verify_signed
from qflow.audit.compliance._finding import Finding, Named
from qflow.audit.compliance._html import report_page
from qflow.audit.compliance._make import Subject, make_receipts, making_report
from qflow.audit.compliance._parse import Rules, load_rules, parse_rules
from qflow.audit.compliance._report import Report, Signed, findings_of, receipts_of
from qflow.audit.compliance._store import Stored, load_report, store_report, stored_reports

__all__ = [
    "Checked",
    "Finding",
    "Named",
    "Outcome",
    "Report",
    "Result",
    "Rules",
    "Scope",
    "Signed",
    "Stored",
    "Subject",
    "check_report",
    "evaluating",
    "findings_of",
    "load_report",
    "load_rules",
    "make_receipts",
    "making_report",
    "parse_rules",
    "receipts_of",
    "report_file",
    "report_page",
    "store_report",
    "stored_reports",
    "verify_signed",
]
