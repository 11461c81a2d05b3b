"""Pieces of a page: text made harmless, tables, bars, pictures.

Names come from other people's files: everything passes through text() before
it is put between tags, and the page may load nothing and run nothing.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

_BAR_WIDTH = 52  # units of the drawing; a label of 7 characters fits
_BAR_HEIGHT = 90
_TOP = 16  # room for the number above the highest bar
_BOTTOM = 18

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1c1e21;
  --faint: #5c6470; --line: #d6dae0; --panel: #f4f6f8; --bar: #2f6fb5;
  --bad: #b3261e; --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c;
  --text: #e6e8eb; --faint: #a3acb8; --line: #3a414b; --panel: #20252b;
  --bar: #6aa7e8; --bad: #ff8a80; --warn: #ffcc66; } }
* { box-sizing: border-box; }
body { background: var(--ground); color: var(--text); margin: 0 auto;
  padding: 1.5rem; max-width: 75rem; line-height: 1.45; font-size: 15px;
  font-family: system-ui, "Noto Sans", "Noto Sans KR", "Noto Sans CJK KR",
  "Apple SD Gothic Neo", "Malgun Gothic", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; } .faint { color: var(--faint); }
.warn { color: var(--warn); } .bad { color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; white-space: nowrap; }
td.name, th.name { text-align: left; overflow-wrap: anywhere; }
td.name { min-width: 6rem; }
td.name:first-child:has(+ td.name + td.name) { min-width: 2rem; }
td.bar { min-width: 11rem; } td.bar span { display: block; height: .8rem;
  margin-top: .3rem; background: var(--bar); border-radius: 2px;
  min-width: 1px; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace;
  font-size: .85rem; }
pre { background: var(--panel); padding: .8rem; border-radius: 6px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.row { display: flex; flex-wrap: wrap; gap: 1.2rem; }
.row > figure { margin: 0; }
figure.chart { background: var(--panel); border-radius: 6px;
  padding: .6rem .8rem; max-width: 100%; }
figure.chart svg { max-width: 100%; height: auto; display: block; }
figure.chart rect { fill: var(--bar); }
figure.chart text { fill: var(--text); font-size: 11px;
  text-anchor: middle; }
figure.chart line { stroke: var(--line); }
figcaption { font-size: .8rem; overflow-wrap: anywhere; }
.sheet { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); }
.sheet figure { margin: 0; max-width: 160px; }
.sheet img { display: block; width: 160px; height: 160px;
  object-fit: contain; background: var(--panel); border-radius: 4px; }
.sheet .none { display: flex; width: 160px; height: 160px; padding: .8rem;
  align-items: center; justify-content: center; text-align: center;
  background: var(--panel); border-radius: 4px; color: var(--faint);
  font-size: .8rem; }
.sheet figcaption { margin-top: .25rem; color: var(--faint); }
.wide { grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); }
.wide figure { display: flex; gap: .6rem; max-width: none; }
.wide img, .wide .none { flex: none; }
.pair { display: flex; gap: .4rem; }
.wide .pair figure { display: block; max-width: 160px; }
.wide .pair figcaption { margin-top: .25rem; }
.wide figcaption { margin: 0; min-width: 0; }
"""


def text(value: object) -> str:
    """Returns any value as text that is no markup and shows what is there.

    Control characters are written out, and each name is kept apart from the
    direction of writing around it.
    """
    shown = "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in str(value)
    )
    return f"<bdi>{html.escape(shown)}</bdi>"


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]], num_names: int = 1
) -> str:
    """Returns a table.

    Args:
      head: the titles of the columns.
      rows: values; a Markup is put in as it is.
      num_names: how many columns on the left are text, not numbers.
    """

    def cells(tag: str, values: Sequence[object]) -> str:
        found = []
        for place, value in enumerate(values):
            kind = ' class="name"' if place < num_names else ""
            if isinstance(value, Markup):
                found.append(f'<{tag} class="bar">{value.content}</{tag}>')
            else:
                found.append(f"<{tag}{kind}>{text(value)}</{tag}>")
        return "<tr>" + "".join(found) + "</tr>"

    body = "\n".join(cells("td", row) for row in rows)
    titles = f"<thead>{cells('th', head)}</thead>\n" if any(head) else ""
    return (
        f'<div class="scroll"><table>\n{titles}<tbody>{body}</tbody>\n'
        "</table></div>"
    )


class Markup:
    """HTML that was made here, to be put into a table as it is."""

    def __init__(self, content: str) -> None:
        self.content = content


def bar(share: float) -> Markup:
    """Returns a bar for a share of 0 to 1 of a cell's width."""
    return Markup(f'<span style="width:{100 * share:.1f}%"></span>')


def chart(title: str, labels: Sequence[str], values: Sequence[int]) -> str:
    """Returns bars over labels as a drawing, with the numbers above them."""
    width = _BAR_WIDTH * len(values)
    height = _TOP + _BAR_HEIGHT + _BOTTOM
    most = max(1, *values)
    parts = []
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        x = place * _BAR_WIDTH
        size = value / most * _BAR_HEIGHT
        y = _TOP + _BAR_HEIGHT - size
        middle = x + _BAR_WIDTH / 2
        parts.append(
            f'<rect x="{x + 4}" y="{y:.1f}" width="{_BAR_WIDTH - 8}"'
            f' height="{size:.1f}"/>'
            f'<text x="{middle}" y="{y - 4:.1f}">{value}</text>'
            f'<text x="{middle}" y="{height - 4}">{html.escape(label)}</text>'
        )
    base = _TOP + _BAR_HEIGHT + 0.5
    return (
        f'<figure class="chart"><figcaption>{text(title)}</figcaption>'
        f'<svg viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" aria-label="{html.escape(title)}">'
        f"{''.join(parts)}"
        f'<line x1="0" y1="{base}" x2="{width}" y2="{base}"/></svg></figure>'
    )


def picture(address: str | None, caption: str, missing: str) -> str:
    """Returns a picture with a caption; without one, why it is missing.

    Args:
      address: of the picture, as page_pictures returns it.
      caption: markup.
      missing: text.
    """
    if address is None:
        shown = f'<div class="none">{text(missing)}</div>'
    else:
        shown = f'<img src="{html.escape(address)}" alt="">'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def page(title: str, body: Sequence[str]) -> str:
    """Returns a whole page of one file; it may load and run nothing."""
    content = "\n".join(body)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{content}
</body>
</html>
"""
