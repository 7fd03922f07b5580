"""A report as one HTML file: it needs no network, runs no script and prints on A4."""

from __future__ import annotations

import base64
from html import escape

from mitosis_core.reporting.figures import Figure
from mitosis_core.reporting.report import Picture, PictureGroup, Report, Table

_STYLE = """
@page { size: A4; margin: 14mm 15mm 16mm; }
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 10pt/1.45 "Source Sans 3", "Source Sans", "Segoe UI", Helvetica, Arial, sans-serif; color: #221f26;
  background: #fff; max-width: 190mm; margin: 8mm auto; padding: 0 5mm; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
h1 { font-size: 18pt; line-height: 1.2; margin: 0; }
h2 { font-size: 11.5pt; margin: 7mm 0 2mm; break-after: avoid; }
p { margin: 0 0 2mm; } .quiet { color: #5d5866; font-size: 9pt; }
header { border-bottom: 0.6mm solid #6b2d73; padding-bottom: 3mm; margin-bottom: 3mm; }
.warning { border-left: 1mm solid #b25b00; background: #fdf3e3; padding: 2mm 3mm; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(52mm, 1fr)); gap: 2mm; }
.figures div { border: 0.2mm solid #cfc9d4; border-radius: 1.5mm; padding: 2mm 3mm; font-size: 9pt;
  break-inside: avoid; }
.figures b { display: block; font-size: 15pt; line-height: 1.3; }
.figures .words b { font-size: 11pt; line-height: 1.5; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; font-size: 8.5pt; }
th, td { text-align: left; vertical-align: top; padding: 1mm 2mm 1mm 0; border-bottom: 0.2mm solid #d9d5dc; }
thead { display: table-header-group; } tr { break-inside: avoid; }
.pictures { display: grid; gap: 2mm; }
figure { margin: 0; break-inside: avoid; } img { display: block; width: 100%; border-radius: 1mm; }
figcaption { font-size: 8pt; color: #5d5866; }
footer { break-inside: avoid; margin-top: 8mm; border-top: 0.2mm solid #d9d5dc; padding-top: 2mm; font-size: 8.5pt;
  color: #5d5866; }
@media print { body { margin: 0; padding: 0; max-width: none; } }
"""
# Whatever a name holds, nothing is fetched and nothing runs.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def html_report(report: Report) -> bytes:
    """The report, UTF-8."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(report.title)}</title><style>{_STYLE}</style></head><body>",
        f'<header><h1 dir="auto">{escape(report.title)}</h1>'
        f'<p dir="auto">{escape(report.subtitle)}</p><p class="quiet">Made {escape(report.made)}</p></header>',
        *(f'<p class="warning" dir="auto">{escape(one)}</p>' for one in report.warnings),
        f'<div class="figures">{"".join(map(_figure, report.figures))}</div>',
        *(_table(one) if isinstance(one, Table) else _pictures(one) for one in report.sections),
        f"<footer>{escape(report.foot)}</footer>",
        "</body></html>\n",
    ]
    return "\n".join(parts).encode()


def _figure(one: Figure) -> str:
    kind = "" if len(one.value) < 12 else ' class="words"'
    return f'<div{kind}>{escape(one.label)}<b>{escape(one.value)}</b><span dir="auto">{escape(one.note)}</span></div>'


def _table(one: Table) -> str:
    whole = sum(one.widths)
    columns = "".join(f'<col style="width:{100 * width / whole:.1f}%">' for width in one.widths)
    head = "".join(f"<th>{escape(name)}</th>" for name in one.columns)
    rows = "".join(f"<tr>{''.join(f'<td dir=auto>{escape(cell)}</td>' for cell in row)}</tr>" for row in one.rows)
    return (
        f"<section><h2>{escape(one.title)}</h2><table><colgroup>{columns}</colgroup>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{_note(one.note)}</section>"
    )


def _pictures(one: PictureGroup) -> str:
    grid = f"grid-template-columns:repeat(auto-fill,minmax({one.side_mm:g}mm,1fr))"
    shown = f'<div class="pictures" style="{grid}">{"".join(map(_picture, one.pictures))}</div>'
    return f"<section><h2>{escape(one.title)}</h2>{shown}{_note(one.note)}</section>"


def _picture(one: Picture) -> str:
    data = base64.b64encode(one.jpeg).decode()
    return (
        f'<figure><img alt="{escape(one.label)}" src="data:image/jpeg;base64,{data}">'
        f'<figcaption dir="auto">{escape(one.label)}</figcaption></figure>'
    )


def _note(text: str) -> str:
    return f'<p class="quiet" dir="auto">{escape(text)}</p>' if text else ""
