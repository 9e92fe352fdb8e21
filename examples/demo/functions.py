"""The Python half of the demo's flow."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import qflow


@qflow.function
def read_orders(path: str) -> list[dict[str, Any]]:
    """The orders of a JSON lines file."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


@qflow.function
async def summarise(charges: list[dict[str, Any]]) -> dict[str, Any]:
    """How many orders were charged, and what they cost."""
    amounts = [charge["amount_cents"] for charge in charges]
    return {
        "orders": len(amounts),
        "median_cents": statistics.median(amounts),
        "largest": max(charges, key=lambda charge: charge["amount_cents"])["order"],
    }


@qflow.function
def write_report(path: str, summary: dict[str, Any], approved_by: str) -> dict[str, Any]:
    """Write the report. A second time, it writes the same bytes."""
    text = (
        f"Charged orders: {summary['orders']}\n"
        f"Total: {summary['total_cents'] / 100:.2f}\n"
        f"Median order: {summary['median_cents'] / 100:.2f}\n"
        f"Largest order: {summary['largest']}\n"
        f"Approved by: {approved_by}\n"
    )
    Path(path).write_text(text, encoding="utf-8")
    return {"report": path, **summary}
