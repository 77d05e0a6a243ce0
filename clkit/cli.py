"""The command line: clkit methods | run | compare | claims | bench | book | assign | grade | progress."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from clkit.errors import ClkitError, counted
from clkit.files import write_text


class Parser(argparse.ArgumentParser):
    """Errors in one voice, on standard error, exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise ClkitError(f"{message}. See: {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        options = parser().parse_args(arguments)
        options.act(options)
        return 0
    except ClkitError as error:
        print(f"clkit: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print("clkit: not enough memory. Use fewer --replicas, or a smaller --hidden.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("clkit: interrupted. Finished results are kept; nothing is half-written.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away
        return 141


def parser() -> Parser:
    """All commands and their options."""
    top = Parser(prog="clkit", description="Continual learning, measured. Each command takes --json.")
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, act: Callable[[argparse.Namespace], None], about: str) -> Parser:
        made: Parser = commands.add_parser(name, help=about, description=about)
        made.set_defaults(act=act)
        made.add_argument("--json", action="store_true", help="machine-readable output, stable keys")
        return made

    command("methods", _methods, "every method, from the code")
    one = command("run", _run, "train one method on a stream and measure it")
    one.add_argument("method", metavar="METHOD")
    one.add_argument(
        "--checkpoint", metavar="FILE", help="written after each task; go on from it if it exists"
    )
    one.add_argument("--out", metavar="FILE", help="save the whole record")
    several = command("compare", _compare, "several methods on one stream, with paired differences")
    several.add_argument("methods", metavar="METHOD", nargs="+")
    several.add_argument("--grid", nargs="+", metavar="NAME=A,B", help="choose settings on validation data")
    several.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine")
    several.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, tcp://host:8786")
    several.add_argument("--out", metavar="FILE", help="also write the JSON to this file")
    several.add_argument(
        "--store", metavar="FOLDER", help="finished runs; an interrupted sweep goes on from there"
    )
    for made in (one, several):
        _add_run_options(made)
    claims = command("claims", _claims, "the review's assertions and what was measured")
    claims.add_argument("--run", nargs="+", metavar="ID", help="measure these and store the results")
    claims.add_argument("--replicas", type=int, default=10, metavar="R")
    bench = command("bench", _bench, "speed as ratios, measured now on one thread")
    bench.add_argument(
        "--rounds", type=int, default=9, metavar="N", help="interleaved rounds; 9 or more to be trusted"
    )
    book = command("book", _book, "execute what changed and build the pages")
    book.add_argument("--fresh", action="store_true", help="execute every notebook")
    book.add_argument("--profile", default="quick", metavar="quick|paper")
    book.add_argument("--jobs", type=int, default=2, metavar="N", help="notebooks executed at once")
    given = command("assign", _assign, "write the notebook that students get, without the solution")
    given.add_argument("names", metavar="NAME", nargs="+", help="of exercises, or .ipynb files of your own")
    given.add_argument("--out", default=".", metavar="FOLDER", help="where to (this folder)")
    graded = command("grade", _grade, "grade a folder of submissions into a CSV (Linux)")
    graded.add_argument("folder", metavar="FOLDER")
    graded.add_argument(
        "--out", default="grades.csv", metavar="FILE", help="points, reasons, a manual column"
    )
    graded.add_argument("--exercise", metavar="NAME|FILE.py", help="where the submissions do not name it")
    graded.add_argument("--jobs", type=int, default=2, metavar="N", help="submissions graded at once")
    graded.add_argument(
        "--unsafe", action="store_true", help="without bubblewrap: submissions can read and change your files"
    )
    mine = command("progress", _progress, "which checks you have passed, on this machine")
    mine.add_argument("--page", metavar="FILE", help="also write it as a page")
    return top


def _add_run_options(made: Parser) -> None:
    """Stream, training and replicas."""
    made.add_argument(
        "--stream", help="rotated, permuted, split; sinusoids, label_swap for episodic learners"
    )
    made.add_argument("--scenario", help="task, domain or class: which outputs may answer")
    made.add_argument("--dataset", help="digits, mnist, fashion_mnist")
    made.add_argument("--length", type=int, help="tasks in the stream")
    made.add_argument("--limit", type=_whole_numbers, metavar="N,N", help="training examples of each task")
    made.add_argument("--replicas", type=int, default=10, metavar="R", help="seeds 0..R-1 (10)")
    made.add_argument("--seeds", type=_whole_numbers, metavar="S,S", help="these seeds instead")
    made.add_argument("--epochs", type=float, help="passes over each task's data")
    made.add_argument(
        "--updates", type=_whole_numbers, metavar="N,N", help="steps of each task, instead of epochs"
    )
    made.add_argument("--iterations", type=int, help="updates of an episodic learner")
    made.add_argument("--batch", type=int, help="examples per step")
    made.add_argument("--lr", type=float, help="step size")
    made.add_argument("--optimizer", help="sgd, momentum or adam")
    made.add_argument("--hidden", type=_whole_numbers, metavar="N,N", help="units of the hidden layers")
    made.add_argument("--scale", type=float, help="factor on the initial weights")
    made.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="settings of the method (clkit methods lists them)",
    )
    made.add_argument("--device", default="cpu", help="cpu or cuda")
    made.add_argument("--threads", type=int, default=1, help="of torch; more than one can be far slower")


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers such as 3,5") from None


def _show(options: argparse.Namespace, found: Any, text: Callable[[], str]) -> None:
    print(json.dumps(found, indent=1, allow_nan=False) if options.json else text())


def _methods(options: argparse.Namespace) -> None:
    from clkit.catalogue import entry, methods

    rows = [entry(cls) for cls in methods().values()]

    def text() -> str:
        lines = []
        for row, cls in zip(rows, methods().values(), strict=True):
            settings = " ".join(f"{k}={v}" for k, v in cls().settings().items())
            lines += [f"{row['name']:18} {row['chapter']:11} {row['title']}", f"{'':30} {settings}".rstrip()]
        return "\n".join(line for line in lines if line)

    _show(options, rows, text)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark:
            raise ClkitError(f"--set {text}: write name=value, for example strength=30.")
        pairs[name] = value
    return pairs


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, by name."""
    return {k: v for k, v in vars(options).items() if v is not None}


def _run(options: argparse.Namespace) -> None:
    from clkit.jobs import job
    from clkit.report import run_json, run_text

    one = job(options.method, _pairs(options.set), _given(options))
    record = one.function(*one.arguments, **one.options, checkpoint=options.checkpoint)
    if options.out:
        record.save(options.out)
    _show(options, run_json(record), lambda: run_text(record))


def _compare(options: argparse.Namespace) -> None:
    from clkit import sweep
    from clkit.jobs import default_stream, job
    from clkit.report import compare_text, differences, run_json

    counted("workers", options.workers)
    settings = sweep.grid(options.grid or [])
    given = {**(default_stream(options.methods) if options.stream is None else {}), **_given(options)}
    jobs, names = [], []
    for name in options.methods:
        for chosen in settings:
            label = ",".join([name, *(f"{k}={v}" for k, v in chosen.items())])
            names.append(label)
            jobs.append(job(name, {**_pairs(options.set), **chosen}, given, choice=bool(options.grid)))
    store = Path(options.store) if options.store else None
    records = sweep.sweep(jobs, workers=options.workers, scheduler=options.scheduler, store=store)
    found: dict[str, Any] = {
        "runs": [run_json(record) for record in records],
        "differences": differences(records, names),
    }
    if options.grid:
        found["grid"] = _choices(options.methods, settings, records)
    if options.out:
        write_text(options.out, json.dumps(found, indent=1, allow_nan=False) + "\n")
    _show(options, found, lambda: compare_text(records, names) + _chosen_text(found))


def _choices(
    methods: Sequence[str], settings: list[dict[str, str]], records: list[Any]
) -> list[dict[str, Any]]:
    """For each method the grid, its accuracies on validation data, and the setting chosen."""
    from clkit import sweep
    from clkit.report import MEASURES, interval

    rows = []
    for i, name in enumerate(methods):
        part = records[i * len(settings) : (i + 1) * len(settings)]
        scores = [interval(MEASURES["average_accuracy"](record)).to_json() for record in part]
        tried = [
            {"settings": s, "validation_accuracy": score} for s, score in zip(settings, scores, strict=True)
        ]
        rows.append({"method": name, "tried": tried, "chosen": settings[sweep.chosen(part)]})
    return rows


def _chosen_text(found: dict[str, Any]) -> str:
    rows = [f"{row['method']}: {row['chosen']}" for row in found.get("grid", [])]
    head = "\n\nchosen on validation data of the first three tasks:\n" if rows else ""
    return head + "\n".join(rows)


def _claims(options: argparse.Namespace) -> None:
    from clkit import claims

    if options.run and options.replicas < claims.FEWEST:
        raise ClkitError(f"replicas must be {claims.FEWEST} or more: a stored claim rests on no fewer.")
    for id in options.run or []:
        claims.find(id)
    for id in options.run or []:
        claims.store(claims.measure(id, options.replicas))
    rows = claims.table()

    def text() -> str:
        return "\n".join(_claim_line(row) for row in rows)

    _show(options, rows, text)


def _claim_line(row: dict[str, Any]) -> str:
    if row["verdict"] is None:
        measured = "not measured"
    else:
        ends = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
        measured = f"{row['verdict']}: {row['effect']:.3f}{ends} {row['unit']}"
    return f"{row['id']:4} {row['says']}\n     {measured} (against {row['control']})"


def _bench(options: argparse.Namespace) -> None:
    from clkit.bench import bench

    rows = bench(options.rounds)

    def text() -> str:
        lines = [f"{'':44} {'ratio':>7}  95 % interval    bound"]
        for r in rows:
            bound = (
                ""
                if r["bound"] is None
                else f"{r['direction']} {r['bound']}  {'holds' if r['holds'] else 'MISSED'}"
            )
            lines.append(f"{r['name']:44} {r['ratio']:7.2f}  [{r['low']:.2f}, {r['high']:.2f}]  {bound}")
        return "\n".join(lines)

    _show(options, rows, text)


def _book(options: argparse.Namespace) -> None:
    from clkit.book import build

    counted("jobs", options.jobs)
    page = build(profile=options.profile, fresh=options.fresh, jobs=options.jobs)
    _show(options, {"page": page.as_uri()}, lambda: f"Open {page.as_uri()}")


def _assign(options: argparse.Namespace) -> None:
    from clkit.assign import assign

    paths = [str(assign(name, Path(options.out))) for name in options.names]
    _show(options, {"written": paths}, lambda: "\n".join(f"written: {path}" for path in paths))


def _grade(options: argparse.Namespace) -> None:
    from clkit.grade import grade

    counted("jobs", options.jobs)
    rows = grade(
        Path(options.folder),
        Path(options.out),
        exercise=options.exercise,
        jobs=options.jobs,
        unsafe=options.unsafe,
    )
    _show(options, rows, lambda: f"{len(rows)} submissions graded: {options.out}")


def _progress(options: argparse.Namespace) -> None:
    from clkit import progress

    rows = progress.rows()
    if options.page:
        write_text(options.page, progress.page(rows))
    _show(options, rows, lambda: progress.text(rows))


if __name__ == "__main__":
    sys.exit(main())
