"""The page: score, areas, items, histograms, before and after. All text of others is escaped.

Takes what `check --json` and `measure --json` print, as parsed JSON. What is missing or of another
type is left out or shown as "-": a page is written of whatever is there. Called by:
rt.report.command. Calls: chart, style, rt.measure.histogram.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from tickpath.rt.measure.histogram import Histogram, describe_ns, from_json, percentile_row
from tickpath.rt.report.chart import draw
from tickpath.rt.report.style import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Json = dict[str, object]
CAUSES_SHOWN_MAX = 12
GAP_LENGTH_MAX = 60
NUMBER_MAX = 1e15
FOLDED_FROM = 4  # of the states below: ok, unsupported
STATES = {
    "conflict": ("bad", 0),
    "drift": ("bad", 1),
    "pending reboot": ("warn", 2),
    "unknown": ("info", 3),
    "ok": ("good", 4),
    "unsupported": ("dim", 5),
}
SEVERITIES = {"critical": 0, "high": 1, "medium": 2, "low": 3}


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found at one time; either may be missing."""

    check: Json | None = None
    measure: Json | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """One tool's figures as the page shows them."""

    title: str
    histogram: Histogram
    run: Json


def write_page(title: str, after: Findings, before: Findings) -> str:
    """Return the whole page as text; encode it as UTF-8."""
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        f"<h1>{text(title)}</h1>",
        *_origin(after),
    ]
    if after.check is not None:
        parts += _score(after.check, before.check)
    if after.measure is not None:
        parts += _measurements(after.measure, before.measure)
        parts += _comparison(after.measure)
    if after.check is not None:
        parts += _items(after.check, before.check)
    return "\n".join([*parts, "</body>\n</html>\n"])


def text(value: object) -> str:
    """Write any value as text that HTML shows as it is."""
    if value is None:
        return "-"
    shown = "".join(one if one.isprintable() or one == "\n" else "�" for one in str(value))
    return escape(shown, quote=True)


def table_of(value: object, name: str) -> Json:
    """Return a member that is an object, else an empty one."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def rows_of(value: object, name: str) -> list[Json]:
    """Return the objects of a member that is a list."""
    found = value.get(name) if isinstance(value, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def words_of(value: object, name: str) -> list[object]:
    """Return a member that is a list, whatever is in it."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def number(value: object) -> float | None:
    """Return a number, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= NUMBER_MAX else None  # NaN is not


def _origin(after: Findings) -> list[str]:
    host = table_of(after.measure, "host")
    at = number((after.measure or {}).get("at"))
    pieces = [f"kernel {text(host['release'])}"] if "release" in host else []
    if host:
        pieces.append("PREEMPT_RT" if host.get("is_rt") else "no PREEMPT_RT")
        pieces.append(f"hypervisor: {text(host.get('hypervisor') or 'none')}")
    if at is not None and 0 <= at < 1e11:
        pieces.append(time.strftime("measured %Y-%m-%d %H:%M UTC", time.gmtime(at)))
    profile = table_of(after.check, "profile")
    if profile:
        isolated = ", ".join(text(cpu) for cpu in words_of(profile, "isolated")) or "none"
        pieces.append(f"profile {text(profile.get('name'))}, isolated CPUs {isolated}")
    return [f'<p class="dim">{" · ".join(pieces)}</p>'] if pieces else []


def _score(check: Json, before: Json | None) -> list[str]:
    score, old = number(check.get("score")), number((before or {}).get("score"))
    shown = "-" if score is None else f"{score:g}"
    confidence = table_of(check, "confidence")
    parts = [
        '<section class="card head"><div>',
        f'<div class="score {_grade(score)}">{shown}</div>',
        f'<p class="dim">of 100{"" if old is None else f", before: {old:g}"}</p>',
        f"<p>confidence: {text(confidence.get('level'))}</p></div>",
        '<div class="areas">',
    ]
    for area, value in table_of(check, "areas").items():
        each, was = number(value), number(table_of(before, "areas").get(area))
        told = "-" if each is None else f"{each:g}" + ("" if was is None else f" (was {was:g})")
        bar = '<span class="dim">nothing to judge</span>'
        if each is not None:
            bar = (
                f'<meter min="0" max="100" low="60" high="90" optimum="100" value="{each:g}" '
                f'aria-label="{text(area)}"></meter>'
            )
        parts.append(f"<span>{text(area)}</span>{bar}<span>{told}</span>")
    reasons = [f'<p class="dim">{text(one)}</p>' for one in words_of(confidence, "reasons")]
    return [*parts, "</div></section>", *reasons]


def _grade(score: float | None) -> str:
    if score is None:
        return "dim"
    return "good" if score >= 90 else "warn" if score >= 60 else "bad"


def _items(check: Json, before: Json | None) -> list[str]:
    items = rows_of(check, "items")
    items.sort(key=_urgency)
    was = {str(one.get("id")): str(one.get("state")) for one in rows_of(before, "items")}
    counts: dict[str, int] = {}
    for one in items:
        counts[str(one.get("state"))] = counts.get(str(one.get("state")), 0) + 1
    told = ", ".join(f"{count} {text(state)}" for state, count in counts.items())
    changed = sum(str(one.get("state")) != was.get(str(one.get("id"))) for one in items)
    parts = [f'<h2>Items</h2><p class="dim">{told}</p><section class="card">']
    for _, group in itertools.groupby(items, lambda one: str(one.get("state"))):
        rows = list(group)
        parts += _group([_item(one, was.get(str(one.get("id")))) for one in rows], rows[0])
    parts.append("</section>")
    if before is not None:
        parts.append(f'<p class="dim">{changed} of {len(items)} changed since before.</p>')
    return parts


def _group(shown: list[str], first: Json) -> list[str]:
    """Fold what is well or does not exist here: nobody has to read it."""
    if _state(first)[1] < FOLDED_FROM:
        return shown
    head = f"<details><summary>{len(shown)} {text(first.get('state'))}</summary>"
    return [head, *shown, "</details>"]


def _urgency(item: Json) -> tuple[int, str, int]:
    """Order items: what is wrong first, of one state together, the severest first."""
    severity = SEVERITIES.get(str(item.get("severity")), len(SEVERITIES))
    return _state(item)[1], str(item.get("state")), severity


def _state(item: Json) -> tuple[str, int]:
    return STATES.get(str(item.get("state")).replace("_", " ").replace("-", " "), ("info", 3))


def _item(item: Json, was: str | None) -> str:
    state = str(item.get("state"))
    told = f"{text(state)}" if was in (None, state) else f"{text(was)} → {text(state)}"
    rows = [
        ("desired", text(item.get("desired"))),
        ("persisted", text(item.get("persisted"))),
        ("live", text(item.get("live"))),
        ("read", ", ".join(f"<code>{text(each)}</code>" for each in words_of(item, "where"))),
        ("why", text(item.get("why"))),
        ("to do", f"<code>{text(item['fix'])}</code>" if item.get("fix") else "nothing"),
    ]
    body = "".join(f"<dt>{name}</dt><dd>{value or '-'}</dd>" for name, value in rows)
    opened = " open" if _state(item)[1] < 2 and item.get("severity") == "critical" else ""
    return (
        f'<details{opened}><summary><span class="tag {_state(item)[0]}">{told}</span> '
        f'<code>{text(item.get("id"))}</code> <span class="dim">{text(item.get("severity"))}'
        f"{_gap(item)}</span></summary><dl>{body}</dl></details>"
    )


def _gap(item: Json) -> str:
    """Say in a few words what an item is and should be, where it is not well."""
    live, desired = (str(item.get(name) or "-") for name in ("live", "desired"))
    if _state(item)[1] >= FOLDED_FROM or len(live) + len(desired) > GAP_LENGTH_MAX:
        return ""
    return f": {text(live)}, wanted {text(desired)}"


def figures_of(measure: Json | None) -> list[Figures]:
    """Return the runs that can be read, rounds of one tool and kind added up."""
    found: dict[str, Figures] = {}
    for run in rows_of(measure, "runs"):
        try:
            histogram = from_json(run.get("histogram"))
        except ValueError:
            continue
        title = f"{run.get('tool')}: {run.get('what')}"
        if title in found:
            found[title].histogram.merge(histogram)
        else:
            found[title] = Figures(title, histogram, run)
    return list(found.values())


def _measurements(measure: Json, before: Json | None) -> list[str]:
    figures = figures_of(measure)
    old = {one.title: one for one in figures_of(before)}
    if not figures:
        return []
    parts = ["<h2>Latency</h2>"]
    for one in figures:
        was = old.get(one.title)
        parts += [
            f'<section class="card"><h3>{text(one.title)}</h3>',
            f"<p>{_verdict(one.run)}</p>",
            _percentiles([("after" if was else "now", one), *([("before", was)] if was else [])]),
            draw(one.histogram, was.histogram if was else None, f"histogram of {one.title}"),
            '<p class="dim"><span class="key"></span>after<span class="key was"></span>before</p>'
            if was
            else "",
            _causes(rows_of(one.run, "causes")),
            "</section>",
        ]
    return parts


def _verdict(run: Json) -> str:
    word = str(run.get("verdict"))
    colour = "good" if word == "conclusive" else "warn"
    reasons = "; ".join(text(each) for each in words_of(run, "reasons"))
    return f'<b class="{colour}">{text(word)}</b>{": " if reasons else ""}{reasons}'


def _percentiles(sides: Sequence[tuple[str, Figures]]) -> str:
    names = [*percentile_row(sides[0][1].histogram)]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f"<tr><td>{title}</td><td>{one.histogram.samples:,}</td>"
        + "".join(f"<td>{describe_ns(v)}</td>" for v in percentile_row(one.histogram).values())
        + "</tr>"
        for title, one in sides
    )
    return (
        '<div class="scroll"><table><caption>microseconds; - where there are too few samples'
        f"</caption><tr><th></th><th>samples</th>{head}</tr>{body}</table></div>"
    )


def _causes(causes: Iterable[Json]) -> str:
    rows = [one for one in causes if number(one.get("count"))][:CAUSES_SHOWN_MAX]
    if not rows:
        return ""
    body = "".join(
        f'<tr><td class="text">{text(one.get("kind"))} {text(one.get("name"))}</td>'
        f"<td>{number(one.get('count')) or 0:,.0f}</td>"
        f"<td>{number(one.get('per_second')) or 0:,.1f}</td>"
        f'<td class="text">{text(one.get("meaning") or "")}</td></tr>'
        for one in rows
    )
    return (
        "<details><summary>what the kernel counted meanwhile on these CPUs</summary>"
        '<div class="scroll"><table><tr><th>what</th><th>count</th><th>a second</th>'
        f"<th></th></tr>{body}</table></div></details>"
    )


def _comparison(measure: Json) -> list[str]:
    ab = table_of(measure, "ab")
    if not ab:
        return []
    sides = table_of(ab, "sides")
    names = {name: text(table_of(sides, name).get("side")) for name in ("A", "B")}
    parts = [
        f'<h2>A and B</h2><section class="card"><p>A <code>{names["A"]}</code>, '
        f"B <code>{names['B']}</code></p><p>{_verdict(ab)}</p>"
    ]
    try:
        both = {name: from_json(table_of(sides, name).get("histogram")) for name in ("A", "B")}
    except ValueError:
        both = {}
    if both:
        parts.append(draw(both["B"], both["A"], "histogram of B over A"))
        parts.append('<p class="dim"><span class="key"></span>B<span class="key was"></span>A</p>')
    body = "".join(_difference(one) for one in rows_of(ab, "differences"))
    parts.append(
        '<div class="scroll"><table><caption>microseconds; all intervals together hold with 95 % '
        "confidence</caption><tr><th></th><th>A</th><th>B</th><th>interval</th><th></th></tr>"
        f"{body}</table></div></section>"
    )
    return parts


def _difference(one: Json) -> str:
    ends = [number(one.get(name)) for name in ("low_ns", "high_ns")]
    interval = " to ".join(f"{end / 1000:+,.1f}" for end in ends if end is not None) or "-"
    return (
        f"<tr><td>{text(one.get('percentile'))}</td><td>{describe_ns(number(one.get('a_ns')))}</td>"
        f"<td>{describe_ns(number(one.get('b_ns')))}</td><td>{interval}</td>"
        f'<td class="text">{text(one.get("word"))}</td></tr>'
    )
