"""The five paradigms of the review's Figure 1, drawn as SVG in the colours of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

INK, SOFT = "currentColor", "color-mix(in srgb, currentColor 32%, transparent)"
TASKS = tuple(f"var(--kit-line-{number})" for number in range(3))
LAYERS = (3, 4, 2)  # units of the network that stands for all networks
STEP, GAP = 44, 24  # between layers, between units


def token(task: int, x: float, y: float) -> str:
    """An example of a task: disc, square or triangle, so that colour is not needed."""
    shapes = (
        f'<circle cx="{x}" cy="{y}" r="6"',
        f'<rect x="{x - 5.5}" y="{y - 5.5}" width="11" height="11"',
        f'<path d="M{x} {y - 7}l7 12.5h-14z"',
    )
    return f'{shapes[task]} fill="{TASKS[task]}"/>'


def line(x: float, y: float, to_x: float, to_y: float, colour: str = INK, width: float = 1.2) -> str:
    return f'<path d="M{x} {y}L{to_x} {to_y}" stroke="{colour}" stroke-width="{width}" fill="none"/>'


def arrow(path: str) -> str:
    """A line with a head at its end."""
    return f'<path d="{path}" stroke="{INK}" stroke-width="1.3" fill="none" marker-end="url(#kit-head)"/>'


def words(text: str, x: float, y: float, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="kit-words">{text}</text>'


def unit(x: float, y: float, colour: str = INK) -> str:
    return f'<circle cx="{x}" cy="{y}" r="4.5" fill="var(--kit-soft)" stroke="{colour}" stroke-width="1.3"/>'


def network(x: float, y: float, held: Sequence[tuple[int, int, int, int]] = ()) -> str:
    """A network from left to right about height y; held: (layer, from, to, task) drawn thick in the task's colour."""
    places = [[(x + STEP * i, y + GAP * (j - (n - 1) / 2)) for j in range(n)] for i, n in enumerate(LAYERS)]
    strong = {(layer, a, b): task for layer, a, b, task in held}
    lines = []
    for layer, (left, right) in enumerate(zip(places, places[1:], strict=False)):
        for a, start in enumerate(left):
            for b, end in enumerate(right):
                task = strong.get((layer, a, b))
                look = (SOFT, 1.1) if task is None else (TASKS[task], 3.6)
                lines.append((task is not None, line(*start, *end, *look)))
    drawn = [text for _, text in sorted(lines, key=lambda pair: pair[0])]  # thick lines on top
    return "".join(drawn + [unit(*place) for group in places for place in group])


def shuffled() -> str:
    """A: examples of all tasks in one shuffled set."""
    order = (0, 2, 1, 1, 0, 2, 2, 1, 0, 0, 1, 2)
    box = f'<rect x="12" y="42" width="66" height="92" rx="6" fill="none" stroke="{INK}" stroke-width="1.2"/>'
    examples = "".join(token(t, 26 + 19 * (i % 3), 57 + 21 * (i // 3)) for i, t in enumerate(order))
    return (
        box + examples + arrow("M82 88H112") + network(126, 88) + words("one shuffled set", 4, 152, "start")
    )


def stream(y: float, task: int = 2) -> str:
    """Tasks one after the other along an arrow of time, up to `task`."""
    groups = "".join(
        token(t, 26 + 66 * t + 17 * i, y) for t in range(task + 1) for i in range(3 if t < 2 else 2)
    )
    return groups + arrow(f"M12 {y + 15}H226") + words("time", 214, y + 30)


def guarded() -> str:
    """B: connections that earlier tasks depend on are held."""
    held = [(0, 0, 0, 0), (0, 0, 1, 0), (1, 0, 0, 0), (1, 1, 0, 0), (0, 2, 3, 1), (0, 1, 3, 1), (1, 3, 1, 1)]
    return stream(22) + network(76, 108, held) + words("thick: held for an earlier task", 120, 176)


def modular() -> str:
    """C: a column of weights for each task, which may read those before it."""
    parts = [stream(22)]
    for t in range(3):
        x = 44 + 70 * t
        for y in (142, 108, 74):
            parts.append(unit(x, y, TASKS[t]))
            if y < 142:
                parts.append(line(x, y + 29, x, y + 5, TASKS[t], 3))
            if t and y < 142:
                parts.append(
                    f'<path d="M{x - 64} {y + 32}L{x - 6} {y + 3}" stroke="{TASKS[t]}" stroke-width="1.6" '
                    'stroke-dasharray="4 3" fill="none"/>'
                )
    return "".join(parts) + words("dashed: reads, never changes", 120, 176)


def memory() -> str:
    """D: a few old examples are written down, and learned again beside the new ones."""
    box = f'<rect x="10" y="92" width="66" height="46" rx="6" fill="none" stroke="{INK}" stroke-width="1.2"/>'
    kept = "".join(token(t, 26 + 17 * (i % 3), 106 + 19 * (i // 3)) for i, t in enumerate((0, 1, 0, 1, 0, 1)))
    drawn = arrow("M43 40V86") + words("write", 49, 72, "start") + arrow("M80 115H122") + arrow("M162 40V76")
    return stream(22) + box + kept + drawn + words("memory", 43, 156) + network(134, 115)


def meta() -> str:
    """E: an outer loop learns, over many sequences, how an inner loop should begin."""
    parts = []
    for row, order in enumerate(((0, 1, 2), (2, 0, 1), (1, 2, 0))):
        y = 34 + 42 * row
        parts += [token(t, 108 + 26 * i, y) for i, t in enumerate(order)]
        parts += [arrow(f"M{116 + 26 * i} {y}h8") for i in range(2)]
        parts.append(arrow(f"M62 76C78 76 80 {y} 94 {y}"))
    box = f'<rect x="14" y="62" width="46" height="28" rx="6" fill="var(--kit-soft)" stroke="{INK}"/>'
    back = arrow("M172 76H206C222 76 222 150 206 150H50C37 150 37 120 37 96")
    labels = words("start", 37, 80) + words("inner loops", 134, 14) + words("outer loop", 124, 168)
    return "".join(parts) + box + back + labels


class Panel(NamedTuple):
    """One paradigm."""

    letter: str
    name: str
    text: str
    alt: str  # what the drawing shows
    draw: Callable[[], str]


PANELS = (
    Panel(
        "A",
        "Shuffled data",
        "All tasks are learned at once. Nothing is forgotten, because nothing is ever absent.",
        "A box holds twelve examples of three tasks in mixed order; an arrow leads from it to one network.",
        shuffled,
    ),
    Panel(
        "B",
        "Gradient-based",
        "Tasks come one after the other. What earlier tasks depend on is held in place.",
        "Three tasks follow each other in time. Of one network, some connections are thick in the colour of "
        "task 1, others in that of task 2; the rest are thin.",
        guarded,
    ),
    Panel(
        "C",
        "Modular",
        "Each task has weights of its own. It may use those of earlier tasks, and cannot change them.",
        "Three tasks follow each other in time. Under each stands a column of units of its own; dashed lines "
        "lead from columns 1 and 2 to the column after them.",
        modular,
    ),
    Panel(
        "D",
        "Memory",
        "A few examples, or codes of them, are kept and learned again beside the new ones.",
        "Three tasks follow each other in time. Six examples of tasks 1 and 2 are written into a memory; arrows "
        "lead from it and from task 3 into one network.",
        memory,
    ),
    Panel(
        "E",
        "Meta-learning",
        "An outer loop over many sequences learns how to learn the next one.",
        "From one start, arrows lead to three sequences of tasks, the inner loops; an arrow leads from their ends "
        "back to the start, the outer loop.",
        meta,
    ),
)

HEAD = (
    '<svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs>'
    '<marker id="kit-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs></svg>'
)
CAPTION = (
    "Five ways to learn several tasks, after Figure 1 of the review. "
    "A disc, a square and a triangle are examples of three tasks."
)


def figure(panels: Sequence[Panel], caption: str = "") -> str:
    """The drawings, each with its words."""
    body = "".join(
        f'<div><svg viewBox="0 0 240 184" role="img" aria-label="{p.alt}">{p.draw()}</svg>'
        f"<p><b>{p.letter}. {p.name}.</b> {p.text}</p></div>"
        for p in panels
    )
    words = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="kit-paradigms">{HEAD}<div>{body}</div>{words}</figure>'


def paradigms(book: Path) -> str:
    """All five."""
    return figure(PANELS, CAPTION)


def one(panel: Panel) -> Callable[[Path], str]:
    """The paradigm of one chapter."""
    return lambda book: figure([panel])


FIGURES = {"paradigms": paradigms} | {f"paradigm-{panel.letter}": one(panel) for panel in PANELS}
