#!/usr/bin/env python3
"""demo_table.py: the table of `crstore list --json`, read from standard input."""
import json
import sys

COLUMNS = ["CRID", "PARENT", "KIND", "TRACKER", "SCANNED", "DIRTY", "NEW", "STORED KiB", "FROZEN ms", "TOTAL ms"]


def row(checkpoint):
    pages = checkpoint["pages"]
    return [checkpoint["crid"], checkpoint["parent_crid"] or "-", checkpoint["kind"], checkpoint["tracker"],
            pages["scanned"], pages["dirty"], pages["new"], checkpoint["bytes_stored"] // 1024,
            f"{checkpoint['frozen_ns'] / 1e6:.2f}", f"{checkpoint['total_ns'] / 1e6:.0f}"]


rows = [COLUMNS] + [[str(cell) for cell in row(checkpoint)] for checkpoint in json.load(sys.stdin)]
widths = [max(len(line[n]) for line in rows) for n in range(len(COLUMNS))]
for line in rows:
    print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths)))
