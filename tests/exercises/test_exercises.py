"""Every graded exercise, and the example of a teacher's own: what passes, what fails, and with which words."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import clkit
from clkit import assign, bowls, exercise, importance, metrics
from clkit.buffers import Reservoir
from clkit.examples import Examples, Task
from clkit.layers import Linear
from clkit.memory.icarl import herding
from clkit.modular.progressive import Progressive
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.tug_of_war import active_bias, automated_curriculum, deep_linear, skipping

ROOT = Path(__file__).resolve().parents[2]
BANK = ROOT / "exercises" / "bank" / "leaky_reservoir.py"
PUBLIC = exercise.exercises()
ALL = {**PUBLIC, BANK.stem: exercise.load(BANK)}
QUESTIONS = {question.name: question for item in ALL.values() for question in item.questions}
MISTAKES = [(name, i) for name, question in QUESTIONS.items() for i in range(len(question.mistakes))]
SEEDS = range(5)


def master(name):
    return ROOT / "exercises" / (ALL[name].chapter if name in PUBLIC else "bank") / f"{name}.ipynb"


def cells(name):
    return {cell.id: cell for cell in nbformat.read(master(name), as_version=4).cells}


def examined(name, function, seed=exercise.SEED):
    return exercise.examine(QUESTIONS[name], lambda given: exercise.plain(function(*given)), seed)


@pytest.fixture
def known(monkeypatch, tmp_path):
    """`clkit.check` knows the teacher's exercise too, and records in a file of the test's own."""
    monkeypatch.setattr(exercise, "exercises", lambda: ALL)
    monkeypatch.setenv("CLKIT_PROGRESS", str(tmp_path / "progress.json"))


# The masters


@pytest.mark.parametrize("name", ALL)
def test_a_master_holds_what_nbgrader_and_a_student_need(name):
    notebook = nbformat.read(master(name), as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata["clkit"] == {"exercise": name}
    slugs = [question.name.replace("_", "-") for question in ALL[name].questions]
    parts = ("-task", "", "-tests", "-check") if name in PUBLIC else ("-task", "", "-tests")
    assert [cell.id for cell in notebook.cells] == [
        *("title", "setup", "imports"),
        *(slug + part for slug in slugs for part in parts),
    ]
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)
    title = cells(name)["title"].source
    points = sum(question.points for question in ALL[name].questions)
    assert f"{points} points" in title and 4 <= points <= 8
    linked = title.split("](")[1].split(")")[0]
    assert (master(name).parent / linked).resolve().is_relative_to(ROOT / "book")
    assert (master(name).parent / linked).exists()


@pytest.mark.parametrize("name", ALL)
def test_the_setup_is_that_of_the_book(name):
    page = ROOT / "book" / "tug_of_war" / "catastrophic_forgetting.ipynb"
    book = {cell.id: cell.source for cell in nbformat.read(page, as_version=4).cells}
    assert cells(name)["setup"].source == book["setup"]


@pytest.mark.parametrize("name", ALL)
def test_the_metadata_of_nbgrader(name):
    for question in ALL[name].questions:
        slug, plain = question.name.replace("_", "-"), {"schema_version": 3, "task": False}
        found = {id: cell.metadata.get("nbgrader") for id, cell in cells(name).items()}
        assert found[slug + "-task"] is None
        assert found[slug] == plain | {
            **{"grade": False, "grade_id": question.name, "locked": False, "solution": True}
        }
        tests = {"grade": True, "grade_id": f"{question.name}-tests", "locked": True, "solution": False}
        assert found[slug + "-tests"] == plain | tests | {"points": question.points}
        if name in PUBLIC:
            check = {"grade": False, "grade_id": f"{question.name}-check", "locked": True, "solution": False}
            assert found[slug + "-check"] == plain | check
        assert f"({question.points} points)" in cells(name)[slug + "-task"].source
        assert question.name in cells(name)[slug + "-task"].source
        source = cells(name)[slug + "-tests"].source
        assert 1 <= source.split("### BEGIN HIDDEN TESTS")[0].count("assert ") <= 3


def run(name, change):
    """Execute a notebook's code cells, each changed first; returns the names that they define."""
    names: dict = {}
    for cell in cells(name).values():
        if cell.cell_type == "code":
            exec(change(cell.source).replace("%pip", "# %pip"), names)
    return names


@pytest.mark.parametrize("name", ALL)
def test_the_solution_passes(name, known, monkeypatch, capsys):
    monkeypatch.chdir(master(name).parent)  # where a teacher's .py lies beside the notebook
    run(name, lambda source: source)
    said = capsys.readouterr().out
    for question in PUBLIC[name].questions if name in PUBLIC else ():
        assert said.count(f"{question.name}: right.") == 2


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_solution_passes_on_the_graders_seeds(name):
    owner = next(item.name for item in ALL.values() if QUESTIONS[name] in item.questions)
    names = {"np": np}
    for source in assign.solutions(master(owner)).values():
        exec(source, names)
    for seed in SEEDS:
        assert examined(name, names[name], seed) == exercise.Verdict(True)


@pytest.mark.parametrize("name", ALL)
def test_the_student_version(name, tmp_path, monkeypatch, known):
    given = nbformat.read(assign.assign(str(master(name)), tmp_path), as_version=4)
    names: dict = {}
    for cell in given.cells:
        if cell.cell_type != "code":
            continue
        source = cell.source.replace("%pip", "# %pip")
        if cell.id.endswith("-tests"):
            with pytest.raises(NotImplementedError):  # the visible examples call the stub
                exec(source, names)
        else:
            exec(source, names)


@pytest.mark.parametrize("name", ALL)
def test_the_stub_fails_with_a_message_that_helps(name, known, capsys):
    names = {"np": np}
    for question in ALL[name].questions:
        source = cells(name)[question.name.replace("_", "-")].source
        exec(assign.without_solution(source)[0], names)
        assert not clkit.check(question.name, names[question.name])
        said = capsys.readouterr().out
        assert f"{question.name} is not written yet." in said and question.ladder[0] in said


# The questions


@pytest.mark.parametrize(("name", "number"), MISTAKES)
def test_a_typical_mistake_gets_its_own_hint(name, number, known, capsys):
    question = QUESTIONS[name]
    mistake = question.mistakes[number]
    for seed in SEEDS:
        verdict = examined(name, mistake.answer, seed)
        assert not verdict.right and verdict.message and verdict.hint == mistake.hint
    assert not clkit.check(name, mistake.answer)
    said = capsys.readouterr().out
    others = [*question.ladder, *(other.hint for other in question.mistakes if other is not mistake)]
    assert mistake.hint in said and not any(hint in said for hint in others)


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_ladder_climbs_to_three_hints(name, known, capsys):
    for tries in (1, 2, 3, 4):
        assert not clkit.check(name, lambda *given: "no answer")
        said = capsys.readouterr().out
        shown = [hint in said for hint in QUESTIONS[name].ladder]
        assert shown == [True, tries > 1, tries > 2]
    assert len(set(QUESTIONS[name].ladder)) == 3


def flat_forgetting(A):
    """Every row but the first and the last, with 1 where no other measure reads; the best of them."""
    tasks, found = A.shape[1], []
    for row in range(1, tasks):
        changed = A.copy()
        for j in range(tasks):
            if row not in (j, j + 1) and row > j:
                changed[row, j] = 1.0
        found.append((sum(changed[j + 1 : -1, j].max() for j in range(tasks - 1)), row, changed))
    return max(found, key=lambda each: each[:2])[2]


def many_cycles(A1, m1, A2, m2, lr, k1, k2):
    w = np.zeros_like(m1)
    for _ in range(2000):
        for A, m, k in ((A1, m1, k1), (A2, m2, k2)):
            for _ in range(k):
                w = w - lr * A @ (w - m)
    return w


def bisected_step(A1, A2, momentum):
    """Each eigenvalue's characteristic polynomial z^2 - (1 + momentum - lr c) z + momentum."""
    low, high = 0.0, 100.0
    for _ in range(60):
        lr = (low + high) / 2
        roots = [np.roots([1, lr * c - 1 - momentum, momentum]) for c in np.linalg.eigvalsh(A1 + A2)]
        low, high = (lr, high) if max(np.abs(r).max() for r in roots) < 1 else (low, lr)
    return low


def looped_fisher(W, x, temperature):
    """Each example and answer by itself; the gradient by central differences."""
    F, epsilon = np.zeros_like(W), 1e-5

    def log_p(W, row):
        scores = row @ W / temperature
        return scores - np.log(np.exp(scores).sum())

    for row in x:
        for i in np.ndindex(*W.shape):
            move = np.zeros_like(W)
            move[i] = epsilon
            slope = (log_p(W + move, row) - log_p(W - move, row)) / (2 * epsilon)
            F[i] += np.exp(log_p(W, row)) @ slope**2 / len(x)
    return F.tolist()


def alternating_projections(g, r1, r2, slack):
    """Dykstra (1983): corrected projections in turn lead to the nearest point of an intersection."""
    z, corrections = g, [0 * g, 0 * g]
    for _ in range(3000):
        for k, r in enumerate((r1, r2)):
            start = z + corrections[k]
            z = start + max(0.0, -slack - start @ r) / (r @ r) * r
            corrections[k] = start - z
    return z


def built_parameters(widths, middle, tasks):
    """Count the numbers of arrays that are really made."""
    arrays, counts = [], []
    for column in range(tasks):
        for layer, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
            arrays += [np.empty((a, b)), np.empty(b)]
            if layer:
                arrays += [np.empty((a + b, middle)) for _ in range(column)]  # V and U
        counts.append(sum(array.size for array in arrays))
    return counts


def counted_even(widths, middle, wider):
    tasks = 1
    while built_parameters(widths, middle, tasks)[-1] <= tasks * built_parameters(wider, 1, 1)[0]:
        tasks += 1
    return tasks


def leak_by_differences(w1, w2, lateral, x1, y1, x2, y2, lr):
    def second(w1):
        return (w2 @ x2 + lateral * w1 @ x2 - y2) ** 2 / 2

    def first(w1):
        return (w1 @ x1 - y1) ** 2 / 2

    gradient = [(second(w1 + e) - second(w1 - e)) / 2 for e in np.eye(len(w1))]  # exact for a quadratic
    return first(w1 - lr * np.array(gradient)) - first(w1)


def chances_in_time(enter, capacity):
    """One presentation after the other, with the probabilities of all earlier examples at hand."""
    found = []
    for t, entering in enumerate(enter.tolist()):
        if t >= capacity:
            found = [chance * (1 - entering / capacity) for chance in found]
        found.append(entering)
    return found


def dropped_by_sums(features, size):
    here, dropped = np.ones(len(features), bool), []
    while here.sum() > size:
        means = (features[here].sum(0) - features) / (here.sum() - 1)
        away = ((means - features.mean(0)) ** 2).sum(1)
        dropped.append(np.where(here, away, np.inf).argmin())
        here[dropped[-1]] = False
    return np.array(dropped)


def searched_answers(y, chance):
    losses = np.abs(y[:, None] - y[None, :]).T @ chance
    return np.average(y, weights=chance), y[losses.argmin()]


def inner_loop_run(w, A, c, B, d, strength):
    """Thousands of inner steps; the start's influence is carried along with them."""
    one, lr = np.eye(len(w)), 1 / (np.linalg.norm(A, 2) + strength)
    v, moved = w, one
    for _ in range(5000):
        v = v - lr * (A @ (v - c) + strength * (v - w))
        moved = moved - lr * (A @ moved + strength * (moved - one))
    g = B @ (v - d)
    return [(moved.T @ g).tolist(), g.tolist()]


def leaky_by_example(capacity, chance, sizes):
    enter = np.array([1.0] * capacity + [chance] * (sum(sizes) - capacity))
    return [part.sum() for part in np.split(chances_in_time(enter, capacity), np.cumsum(sizes)[:-1])]


def late_riser(tasks, forgetting, backward):
    """As high as can be, up and down at once after its own row, and row 0 at chance."""
    rise = (forgetting + backward) / (1 - 1 / (tasks - 1))
    own = 1 - max(rise, backward, 0)
    A = np.full((tasks + 1, tasks), 0.1)
    for j in range(tasks):
        A[j + 1 :, j] = own
        if j < tasks - 2:
            A[j + 2, j] += rise
        if j < tasks - 1:
            A[tasks, j] = own + backward
    return A


def summed_table(average, learned, forgetting, tasks):
    lost = tasks * learned - tasks * average
    return (-lost / (tasks - 1), forgetting - lost / (tasks - 1))


def eigen_error(tasks, width):
    found, gram = [], np.zeros((tasks.shape[2],) * 2)
    for task in tasks:
        gram += task.T @ task
        lost = np.linalg.eigh(gram)[1][
            :, : max(0, len(gram) - width)
        ]  # directions of the smallest eigenvalues
        found.append(np.linalg.norm(tasks[0] @ lost) ** 2)
    return found


def walked_frontier(forgetting, intransigence):
    """Along growing forgetting: on the frontier if below all runs before it, or equal to the last on it."""
    found, last = [False] * len(forgetting), None
    for k in np.lexsort((intransigence, forgetting)):
        here = (forgetting[k], intransigence[k])
        if last is None or here[1] < last[1] or here == last:
            found[k], last = True, here
    return found


def counted_ancestors(branches):
    """The items' Gram matrix: how many nodes two of them share."""
    items = int(np.prod(branches))
    paths = np.array(np.unravel_index(range(items), branches)).T
    shared = np.ones((items, items))
    for level in range(1, len(branches) + 1):
        shared += (paths[:, None, :level] == paths[None, :, :level]).all(-1)
    return np.sqrt(np.sort(np.linalg.eigvalsh(shared))[::-1])


def integrated_answers(F, a0, t):
    """Step by step through the equations of both layers."""
    u, _, v = np.linalg.svd(F, full_matrices=False)
    size = u.size

    def pulls(_, flat):
        first, second = flat[:size].reshape(u.shape), flat[size:].reshape(v.shape)
        error = F - first @ second  # items to hidden units, and on to features
        return np.concatenate([(error @ second.T).ravel(), (first.T @ error).ravel()])

    start = np.sqrt(a0) * np.concatenate([u.ravel(), v.ravel()])
    end = solve_ivp(pulls, (0, t + 1e-12), start, "DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    return end[:size].reshape(u.shape) @ end[size:].reshape(v.shape)


def shares_in_one_go(index, said, examples):
    """A table of visits, with gaps: one row per example."""
    at = np.asarray(index)[None] == np.arange(examples)[:, None]
    count = at.sum(1)
    mean = at @ said / np.maximum(count, 1)
    v = (at * (said - mean[:, None]) ** 2).sum(1) / np.maximum(count, 1)
    score = np.where(count > 1, np.sqrt(v * (1 + v / np.maximum(count - 1, 1))), np.nan)
    score = np.where(np.isnan(score), np.nanmean(score), score)
    return 0.5 * score / score.sum() + 0.5 / examples


def bisected_threshold(residuals, keep):
    """Halving the range of positions: further up, fewer examples remain."""
    ordered, low, high = sorted(residuals), 0, len(residuals) - 1
    while low < high:
        middle = (low + high + 1) // 2
        enough = sum(r for r in residuals if r >= ordered[middle]) >= keep * sum(residuals)
        low, high = (middle, high) if enough else (low, middle - 1)
    return ordered[low], sum(r < ordered[low] for r in residuals) / len(residuals)


def policy_by_sums(weights, action, reward, share, lr, bonus, epsilon):
    K = len(weights)

    def chance(w, i):
        return (1 - epsilon) / sum(np.exp(other - w[i]) for other in w) + epsilon / K

    earned = [bonus + (reward if i == action else 0) for i in range(K)]
    grown = [np.exp(weights[i] + lr * earned[i] / chance(weights, i)) for i in range(K)]
    rest = [np.mean([grown[j] for j in range(K) if j != i]) for i in range(K)]
    after = [np.log(grown[i] + share * (rest[i] - grown[i])) for i in range(K)]
    return [chance(after, i) for i in range(K)]


def gain_by_mask(w, X, y, lr):
    others = 1 - np.eye(len(y))
    steps = (others * (X @ w - y)) @ X / others.sum(1, keepdims=True)  # [B, D]: the gradient without each
    after = (X * (w - lr * steps)).sum(1)
    return float(np.mean((X @ w - y) ** 2 - (after - y) ** 2) / 2)


SECOND = {
    "lost_share": lambda A: [
        1 - (A[-1, j] - A[0, j]) / (max(A[i, j] for i in range(j + 1, len(A))) - A[0, j])
        for j in range(A.shape[1] - 1)
    ],
    "raise_forgetting": flat_forgetting,
    "cycle_end": many_cycles,
    "largest_step": bisected_step,
    "tree_values": counted_ancestors,
    "answers_at": integrated_answers,
    "first_task_error": eigen_error,
    "on_frontier": walked_frontier,
    "visit_shares": shares_in_one_go,
    "largest_threshold": bisected_threshold,
    "build_run": late_riser,
    "read_table": summed_table,
    "softmax_fisher": looped_fisher,
    "guard_two": alternating_projections,
    "parameters_kept": built_parameters,
    "break_even": counted_even,
    "lateral_leak": leak_by_differences,
    "chance_kept": chances_in_time,
    "drop_order": dropped_by_sums,
    "best_answer": searched_answers,
    "spring_gradient": inner_loop_run,
    "policy_after": policy_by_sums,
    "held_out_gain": gain_by_mask,
    "leaky_share": leaky_by_example,
}


def test_each_question_has_a_second_solution():
    assert set(SECOND) == set(QUESTIONS)


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_second_solution_in_another_style_passes(name):
    for seed in (exercise.SEED, 1):
        assert examined(name, SECOND[name], seed) == exercise.Verdict(True)


# The package's own methods


def packaged_turns(A1, m1, A2, m2, lr, k1, k2):
    both = [bowls.Bowl(A1, m1), bowls.Bowl(A2, m2)]
    return bowls.visit(both, [([0] * k1 + [1] * k2) * 500], np.zeros_like(m1), lr)[-1, 0]


def packaged_fisher(W, x, temperature):
    net = Linear(*W.shape, Draws((0,)), counter=0, task=0, purpose="init", scale=1.0)
    net.double().weight.data[:], net.bias.data[:] = torch.tensor(W), 0
    batch = torch.tensor(x)[None], torch.zeros(1, len(x)), torch.ones(1, len(x), dtype=torch.bool)
    task = SimpleNamespace(number=0, train=SimpleNamespace(chunks=lambda size: [batch], sizes=(len(x),)))
    rule = SimpleNamespace(competing=lambda number: range(W.shape[1]))
    return importance.exact_fisher(net, task, rule, Draws((0,)))[0][0].numpy()


def packaged_columns(widths, middle, tasks):
    rule, draws = scenario("task", (widths[-1],) * tasks), Draws((0,))
    method, found = Progressive(), []
    method.start(Build(Mlp(hidden=tuple(widths[1:-1])), (widths[0],), rule, draws), draws, rule)
    for t in range(tasks):
        method.begin_task(Task(t, rule.own(t), Examples([]), Examples([]), 1, 1))
        found.append(method.bytes_kept() // 4)
    return found


def packaged_reservoir(enter, capacity):
    memory, n = Reservoir(capacity, Draws(tuple(range(200)))), len(enter)
    memory.add(torch.arange(n).expand(200, n), torch.zeros(200, n))
    return np.bincount(memory.kept[0][:, :capacity].flatten().numpy(), minlength=n) / 200


def packaged_herding(features, size):
    each = torch.tensor(features)[None]
    picks = herding(each, torch.ones(each.shape[:2], dtype=torch.bool), len(features), Draws((0,)), 0)
    return picks[0].tolist()[size:][::-1]


def packaged_share(capacity, chance, sizes):
    held = packaged_reservoir(np.ones(sum(sizes)), capacity)
    return [part.sum() for part in np.split(held, np.cumsum(sizes)[:-1])]


def packaged_maml(w, A, c, B, d, strength):
    """MAML's closed form for bowls: an inner loop of steps, not of rest against a spring."""
    lr = 0.9 * bowls.Bowl(A, c).largest_lr() / 2
    pull = B @ (bowls.Bowl(A, c).after(5, w, lr) - d)
    return np.stack([np.linalg.matrix_power(np.eye(len(w)) - lr * A, 5) @ pull, pull])


def packaged_table(average, learned, forgetting, tasks):
    """A run in which every task ends at the averages, measured."""
    A = np.full((1, tasks + 1, tasks), learned)
    A[:, -1] = average
    backward = float(metrics.backward_transfer(A)[0])
    return [backward, forgetting + backward]


def packaged_band(forgetting, intransigence):
    """Better than the mean in one of the two."""
    below = [metrics.interval(values).mean >= values for values in (forgetting, intransigence)]
    return below[0] | below[1]


def packaged_weights(index, said, examples):
    visited = active_bias.History.empty(1, examples)
    visited.add(torch.tensor([index]), torch.from_numpy(said)[None])
    return active_bias.weights(active_bias.deviation(visited))[0] / examples


def packaged_policy(weights, action, reward, share, lr, bonus, epsilon):
    pi, rewards = automated_curriculum.policy(weights[None], epsilon), np.array([reward + bonus])
    w = automated_curriculum.exp3s(weights[None], pi, np.array([action]), rewards, 1 / share, lr)
    return automated_curriculum.policy(w, epsilon)[0]


PACKAGED = [
    ("lost_share", lambda A: metrics.forgetting(A[None])),
    ("lost_share", lambda A: -metrics.backward_transfer(A[None])),
    ("cycle_end", packaged_turns),  # it refuses a bowl that is flat in a direction
    ("cycle_end", lambda A1, m1, A2, m2, *_: bowls.total(bowls.Bowl(A1, m1), bowls.Bowl(A2, m2)).minimum),
    ("largest_step", lambda A1, A2, _: bowls.Bowl(A1 + A2, np.zeros(len(A1))).largest_lr()),
    ("visit_shares", packaged_weights),  # right where every example was visited twice
    ("largest_threshold", lambda residuals, keep: [keep, skipping.skippable(residuals, keep)[0]]),
    ("read_table", packaged_table),
    ("on_frontier", packaged_band),
    ("tree_values", lambda branches: deep_linear.modes(deep_linear.tree(len(branches)).T)[1]),
    ("answers_at", lambda F, a0, t: deep_linear.shallow_strength(F, a0, t)),
    ("softmax_fisher", packaged_fisher),
    ("guard_two", lambda g, r1, r2, slack: bowls.project(g, (r1 + r2) / 2)),
    ("guard_two", lambda g, r1, r2, slack: bowls.project(bowls.project(g, r1), r2)),
    ("parameters_kept", packaged_columns),
    ("chance_kept", packaged_reservoir),
    ("drop_order", packaged_herding),
    ("leaky_share", packaged_share),
    ("spring_gradient", packaged_maml),
    ("policy_after", packaged_policy),
]


@pytest.mark.parametrize(("name", "call"), PACKAGED)
def test_calling_the_package_is_no_answer(name, call):
    verdict = examined(name, call)
    assert not verdict.right
    assert "stopped" not in verdict.message or call is packaged_turns


def test_every_exercise_has_a_question_that_the_package_nearly_answers():
    asked = {name for name, _ in PACKAGED}
    assert all(asked & {q.name for q in one.questions} for one in exercise.exercises().values())


def test_the_packages_fisher_is_that_of_temperature_one():
    """So the test above fails for the temperature, not for a slip in calling."""
    W, x, _ = QUESTIONS["softmax_fisher"].inputs(np.random.default_rng(0))[0]
    assert QUESTIONS["softmax_fisher"].judge(packaged_fisher(W, x, 1.0), W, x, 1.0) is None


def test_two_changed_rows_are_asked_for_the_single_one_and_a_change_in_place_is_right():
    def rows_in_place(A, first):
        for row in range(first, A.shape[1]):
            A[row, row - 2 if first == 2 else slice(None, -2)] = 1.0
        return A

    two = examined("raise_forgetting", lambda A: rows_in_place(A, 2))  # one free entry in each row
    assert "2 rows differ from A, it should be one: that" in two.message and two.case == 1
    assert examined("raise_forgetting", lambda A: rows_in_place(A, A.shape[1] - 1)).right


def test_a_run_to_order_says_what_was_overwritten_and_how_high_it_goes():
    def filled(tasks, forgetting, backward, c, upto):
        A = np.full((tasks + 1, tasks), c)
        A[-1, :-1] += backward
        A[-2, :upto] = c + (forgetting + backward) * (tasks - 1) / (tasks - 2)
        return A

    over = examined("build_run", lambda T, F, BWT: filled(T, F, BWT, 0.2, T - 1))  # any c: no typical answer
    assert "is the diagonal still what you set?" in over.message and not over.hint
    high = examined("build_run", lambda T, F, BWT: filled(T, F, BWT, 0.5, T - 2))
    assert "yours reach from 0.5 to 1.1" in high.message and "at least -BWT" in high.message
    assert examined("build_run", lambda T, F, BWT: filled(T, F, BWT, max(0.0, -BWT), T - 2)).right


def test_one_singular_value_for_each_level_is_told_of_the_items():
    parts = examined(
        "tree_values", lambda branches: [float(np.prod(branches[k:])) for k in range(len(branches) + 1)]
    )
    assert "shape (3,), it should be (6,): a value for each item" in parts.message and not parts.hint
    once = examined("tree_values", lambda branches: [3.0, 3**0.5, 1.0])  # of the first case, each once
    assert "a value for each item" in once.message and "there once" in once.hint


def test_the_first_wrong_error_on_task_1_is_named_with_both_values():
    off = examined("first_task_error", lambda *given: [*eigen_error(*given)[:3], 7, 7, 7])
    wanted = eigen_error(*QUESTIONS["first_task_error"].inputs(np.random.default_rng(0))[0])[3]
    assert off.message == f"4 hidden units: after t = 4 the error on task 1 is {wanted:.4g}, yours is 7"


# The judge


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_same_answer_gets_the_same_verdict(name):
    question = QUESTIONS[name]
    for function in (SECOND[name], question.mistakes[0].answer):
        assert examined(name, function) == examined(name, function)
    first, again, other = (
        json.dumps(exercise.plain(question.inputs(np.random.default_rng(seed)))) for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("name", QUESTIONS)
def test_arguments_survive_being_sent_as_json(name):
    """What is no array must be plain already: numbers, strings, lists of them."""
    for arguments in QUESTIONS[name].inputs(np.random.default_rng(0)):
        for argument in arguments:
            if type(argument) is np.ndarray:
                assert argument.dtype == np.float64
            else:
                assert json.loads(json.dumps(argument)) == argument


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize(
    "answer",
    [None, "text", [], [[]], [[1.0], [1.0, 2.0]], float("nan"), 10**400, -7, [True], [[0.5] * 9] * 9],
)
def test_no_answer_breaks_the_judge(name, answer):
    question = QUESTIONS[name]
    for arguments in question.inputs(np.random.default_rng(0)):
        assert question.judge(answer, *arguments)


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("number", [0, -1, 1e308, -1e308, 1e-308])
def test_no_number_breaks_the_judge(name, number):
    question = QUESTIONS[name]
    for arguments in question.inputs(np.random.default_rng(0)):
        shape = np.shape(SECOND[name](*arguments))
        if shape != (0,):
            assert question.judge(np.full(shape, number).tolist(), *arguments)


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_a_little_off_is_wrong(name):
    """By a thousandth where it is no whole number: neither the judge nor a test of it is lenient."""
    function = SECOND[name]
    off = examined(name, lambda *given: 1.001 * np.asarray(function(*given), float) + 0.001)
    assert not off.right and off.case == 1


LIGHT = """
import sys
import clkit
clkit.check
clkit.check("chance_kept", lambda enter, capacity: enter)
from clkit import exercise
assert len(exercise.exercises()) >= 6
chapters = ("tug_of_war", "gradient", "modular", "memory", "meta", "whole")
heavy = ["torch", "scipy", "pandas", "matplotlib", *(f"clkit.{chapter}" for chapter in chapters)]
print([name for name in heavy if name in sys.modules])
"""


def test_a_check_loads_neither_torch_nor_a_chapter(monkeypatch, tmp_path):
    monkeypatch.setenv("CLKIT_PROGRESS", str(tmp_path / "progress.json"))
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "It can still be overwritten" in done.stdout
