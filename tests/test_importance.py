"""The Fisher information and the quadratic pull: by hand, in closed form, by brute force."""

import pytest
import torch
from torch import nn

from clkit.examples import Examples, Part, Task
from clkit.importance import (
    _by_example,
    _by_layer,
    empirical_fisher,
    exact_fisher,
    proximal_pull,
    quadratic_penalty,
    sampled_fisher,
    shuffled_fisher,
    uniform_fisher,
)
from clkit.layers import Dropout, Linear
from clkit.nets import Build, Convnet, Custom, Mlp
from clkit.replicas import Draws
from clkit.scenario import ClassIncremental, DomainIncremental, TaskIncremental
from clkit.streams import Split

DOUBLE = torch.float64


def draws(replicas=2):
    return Draws(tuple(range(replicas)), dtype=DOUBLE)


def task_of(x, y, number=0, sizes=None, replicas=2):
    """A task whose replicas see the first sizes[r] rows of x; the rest of their lists is padding."""
    sizes = sizes or (len(x),) * replicas
    index = torch.stack([torch.arange(len(x)).where(torch.arange(len(x)) < n, -1) for n in sizes])
    part = Part(torch.tensor(x, dtype=DOUBLE), index, torch.tensor(y).expand(len(sizes), -1), sizes, number)
    train = Examples([part], DOUBLE)
    return Task(number, range(0), train, train, updates=1, batch=1)


def random_task(shape, classes, n=6):
    """n random examples: enough for a comparison with brute force."""
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    return task_of(x.tolist(), [i % classes for i in range(n)])


def linear(rule, bias, replicas=2):
    """Softmax regression on one input with weights 0: p = softmax(bias) for every x."""
    net = Build(Mlp(hidden=()), (1,), rule, draws(replicas))()
    with torch.no_grad():
        net.head.linear.weight.zero_()
        net.head.linear.bias.copy_(torch.tensor(bias, dtype=DOUBLE).expand_as(net.head.linear.bias))
    return net


def thirds():
    """p = (0.7, 0.2, 0.1), whatever x."""
    return linear(DomainIncremental((3,)), torch.tensor([0.7, 0.2, 0.1]).log().tolist())


def assert_close(a, b, rtol=1e-9):
    torch.testing.assert_close(a, torch.as_tensor(b, dtype=a.dtype).expand_as(a), rtol=rtol, atol=1e-12)


def test_exact_fisher_of_softmax_regression_is_analytic():
    """eq: exact-fisher. F of the weight (j, c) is mean_n x_nj^2 p_nc (1 - p_nc)."""
    rule, task = DomainIncremental((4,)), random_task((3,), 4)
    net = Build(Mlp(hidden=()), (3,), rule, draws())()
    weight, bias = exact_fisher(net, task, rule, draws())
    x, _, _ = next(task.train.chunks(6))
    p = net(x).softmax(-1).detach()
    assert_close(weight, (x[..., :, None] ** 2 * (p * (1 - p))[..., None, :]).mean(1), rtol=1e-10)
    assert_close(bias, (p * (1 - p)).mean(1, keepdim=True), rtol=1e-10)


def test_squares_are_taken_before_the_mean():
    """x = 1 and x = -1 with p = (1/2, 1/2): each example's gradient is +-1/2, F = 1/4.

    The square of the batch's mean gradient, a common error, is 0: the two cancel.
    """
    rule, task = DomainIncremental((2,)), task_of([[1.0], [-1.0]], [0, 0])
    for estimator in (exact_fisher, empirical_fisher, sampled_fisher):
        weight, _ = estimator(linear(rule, [0.0, 0.0]), task, rule, draws())
        assert_close(weight, 0.25)


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_exact_fisher_is_the_curvature_of_the_kl_divergence(hidden):
    """F_i = d^2 KL(p_w || p_v) / dv_i^2 at v = w, by second differences; no gradient is used."""
    rule, task, h = DomainIncremental((3,)), random_task((4,), 3), 1e-4
    net = Build(Mlp(hidden=hidden), (4,), rule, draws())()
    fisher = exact_fisher(net, task, rule, draws())
    x, _, _ = next(task.train.chunks(6))

    @torch.no_grad()
    def divergence(p):
        return (p * (p.log() - net(x).log_softmax(-1))).sum(-1).mean(1)

    p = net(x).softmax(-1).detach()
    for weight, f in zip(net.parameters(), fisher, strict=True):
        for i in range(weight[0].numel()):
            entry, total = weight.data.view(2, -1)[:, i], 0.0
            for step in (h, -2 * h):
                entry += step
                total = total + divergence(p)
            entry += h
            torch.testing.assert_close(f.view(2, -1)[:, i], total / h**2, rtol=1e-5, atol=1e-7)


def plain(shape, outputs):
    """A network of torch's own layers, without a replica dimension."""
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1], 3), nn.Tanh(), nn.Linear(3, outputs))


ARCHITECTURES = {
    "linear": Mlp(hidden=(4,)),
    "convolution": Convnet(filters=(2,)),
    "replicas": Custom(module=plain),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_exact_fisher_agrees_with_one_backward_pass_per_example_and_answer(architecture):
    """Brute force: F = mean_n sum_c p_c (d log p_c / d w)^2, one example and one answer at a time."""
    rule, task = DomainIncremental((3,)), random_task((4, 4), 3, n=18)  # 18: more than one pass of 16
    net = Build(architecture, (4, 4), rule, draws())()
    x, _, _ = next(task.train.chunks(18))
    expected = [torch.zeros_like(w) for w in net.parameters()]
    for n in range(18):
        log_p = net(x[:, n : n + 1]).log_softmax(-1)[:, 0]
        for c in range(3):
            grads = torch.autograd.grad(log_p[:, c].sum(), list(net.parameters()), retain_graph=True)
            for e, g in zip(expected, grads, strict=True):
                e += log_p[:, c].exp().detach().view(-1, *[1] * (g.dim() - 1)) * g**2 / 18
    for e, f in zip(expected, exact_fisher(net, task, rule, draws()), strict=True):
        assert_close(f, e)


def test_by_layer_and_by_example_agree():
    """The hooks on Linear layers and the copy of the weights per example are two ways to one sum."""
    net = Build(Mlp(hidden=(5, 4)), (6,), DomainIncremental((3,)), draws())()
    noise = torch.Generator().manual_seed(1)
    x, g = (torch.randn(2, 7, width, generator=noise, dtype=DOUBLE) for width in (6, 3))
    sums = [each(net, x)[1](g) for each in (_by_layer, _by_example)]
    for a, b in zip(*sums, strict=True):
        assert_close(a, b)


def test_padding_does_not_count():
    """p = (1/2, 1/2): mean x^2 / 4 over x = 1, 2, 3 is 14/12, over the second replica's x = 1, 2 it is 5/8.

    Counting the padding, or dividing by the longest list, gives 5/12 or 14/12 instead of 5/8.
    """
    rule, task = DomainIncremental((2,)), task_of([[1.0], [2.0], [3.0]], [0, 1, 1], sizes=(3, 2))
    for estimator in (exact_fisher, empirical_fisher, sampled_fisher):
        weight, _ = estimator(linear(rule, [0.0, 0.0]), task, rule, draws())
        assert_close(weight[:, 0], [[14 / 12] * 2, [5 / 8] * 2])


@pytest.mark.parametrize(
    "estimator", [exact_fisher, sampled_fisher, empirical_fisher, shuffled_fisher, uniform_fisher]
)
def test_replicas_do_not_depend_on_each_other(estimator):
    """Class orders of their own make tasks of unequal size; alone or together, a replica's F is the same."""
    stream, fishers = Split(), []
    for seeds in ((1, 0, 2), (0,)):
        many = Draws(seeds, dtype=DOUBLE)
        data = stream.tasks(many)[1]
        task = Task(1, range(0), data.train, data.validation, updates=1, batch=1)
        net = Build(Mlp(hidden=(6,)), stream.shape, stream.rule(), many)()
        fishers.append(estimator(net, task, stream.rule(), many))
        if len(seeds) > 1:
            assert data.train.sizes[1] < max(data.train.sizes)  # the lone replica was padded
    for together, alone in zip(*fishers, strict=True):
        assert_close(together[1:2], alone)


@pytest.mark.parametrize(
    "rule, number, expected",
    [
        (TaskIncremental((2, 2)), 1, [0, 0, 1 / 4, 1 / 4]),  # two outputs compete: p (1 - p) = 1/4
        (TaskIncremental((2, 2)), 0, [1 / 4, 1 / 4, 0, 0]),
        (ClassIncremental((2, 2)), 0, [1 / 4, 1 / 4, 0, 0]),  # the second task's classes are not yet known
        (ClassIncremental((2, 2)), 1, [3 / 16] * 4),  # four compete: 1/4 * 3/4
        (DomainIncremental((4, 4)), 1, [3 / 16] * 4),
    ],
)
def test_only_competing_outputs_count(rule, number, expected):
    """Equal scores: a softmax over all outputs would give 3/16 everywhere, importance to foreign heads."""
    net, task = linear(rule, [0.0] * 4), task_of([[1.0], [-1.0]], [rule.own(number).start] * 2, number)
    _, bias = exact_fisher(net, task, rule, draws())
    assert_close(bias[:, 0], expected)
    for estimator in (sampled_fisher, empirical_fisher):
        _, bias = estimator(net, task, rule, draws())
        assert (bias[:, 0, torch.tensor(expected) == 0] == 0).all()


def test_sampled_fisher_is_unbiased():
    """eq: sampled-fisher. p = (0.7, 0.2, 0.1): the mean of many is p (1 - p) = (0.21, 0.16, 0.09).

    One answer for a whole batch, or the arg max, is far from it; standard error below 0.002.
    """
    rule, task = DomainIncremental((3,)), task_of([[1.0]] * 20000, [0] * 20000)
    _, bias = sampled_fisher(thirds(), task, rule, draws())
    torch.testing.assert_close(
        bias, torch.tensor([0.21, 0.16, 0.09], dtype=DOUBLE).expand_as(bias), atol=0.008, rtol=0
    )
    assert not torch.equal(bias[0], bias[1])  # each replica draws its own answers


def test_empirical_fisher_uses_the_true_label():
    """eq: empirical-fisher. p = (0.7, 0.2, 0.1), y = 0: (p - e_0)^2 = (0.09, 0.04, 0.01)."""
    rule, task = DomainIncremental((3,)), task_of([[1.0], [2.0]], [0, 0])
    weight, bias = empirical_fisher(thirds(), task, rule, draws())
    assert_close(bias[:, 0], [0.09, 0.04, 0.01], rtol=1e-6)
    assert_close(weight[:, 0], [2.5 * 0.09, 2.5 * 0.04, 2.5 * 0.01], rtol=1e-6)  # mean x^2 = 2.5


def test_ablations_keep_the_sum():
    """Shuffled: each tensor's values, elsewhere, the same deal for every task. Uniform: one value for all."""
    rule = DomainIncremental((3, 3))
    net = Build(Mlp(hidden=(5,)), (4,), rule, draws())()
    task = random_task((4,), 3)
    exact, shuffled, uniform = (
        estimator(net, task, rule, draws()) for estimator in (exact_fisher, shuffled_fisher, uniform_fisher)
    )
    task.number = 1
    again = shuffled_fisher(net, task, rule, draws())
    for e, s, a in zip(exact, shuffled, again, strict=True):
        assert_close(s.flatten(1).sort(1).values, e.flatten(1).sort(1).values)
        assert torch.equal(s, a)
    assert not torch.equal(exact[0], shuffled[0])
    flat = torch.cat([u.flatten(1) for u in uniform], 1)
    assert_close(flat.sum(1), sum(e.flatten(1).sum(1) for e in exact))
    assert_close(flat, flat[:, :1])


class Noisy(nn.Module):
    """Linear, drop-out, Linear."""

    def __init__(self, rate):
        super().__init__()
        self.first, self.second = Linear(4, 5, draws()), Linear(5, 3, draws(), counter=1)
        self.dropout = Dropout(rate, draws())

    def forward(self, x):
        return self.second(self.dropout(torch.relu(self.first(x))))


def test_drop_out_is_off_while_importance_is_measured():
    """And on again afterwards; weights and their gradients are left alone."""
    rule, task = DomainIncremental((3,)), random_task((4,), 3)
    noisy, quiet = Noisy(0.5), Noisy(0.0)
    before = [w.detach().clone() for w in noisy.parameters()]
    for a, b in zip(*(exact_fisher(net, task, rule, draws()) for net in (noisy, quiet)), strict=True):
        assert_close(a, b)
    assert noisy.training and noisy.dropout.training
    assert all(torch.equal(a, w) and w.grad is None for a, w in zip(before, noisy.parameters(), strict=True))


def one(value):
    return [torch.tensor([[value]], dtype=DOUBLE)]


def test_proximal_pull_by_hand():
    """eq: proximal-pull. w = 2, F = 3, w* = 1, k lr = 0.05: (2 + 0.05 * 3) / (1 + 0.05 * 3) = 2.15 / 1.15."""
    w = one(2.0)
    proximal_pull(w, one(3.0), one(3.0 * 1.0), strength=0.5, lr=0.1)
    assert_close(w[0], 2.15 / 1.15)


def test_proximal_pull_minimises_what_it_says():
    """At v the derivative (v - w) / lr + k sum_s F_s (v - w*_s) is zero, with two old tasks."""
    w, f, anchors, k, lr = 2.0, (3.0, 0.5), (1.0, -4.0), 7.0, 0.1
    v = one(w)
    proximal_pull(v, one(sum(f)), one(sum(a * b for a, b in zip(f, anchors, strict=True))), k, lr)
    slope = (v[0] - w) / lr + k * sum(a * (v[0] - b) for a, b in zip(f, anchors, strict=True))
    assert_close(slope, 0.0)


def test_proximal_pull_of_any_strength_moves_only_weights_that_matter():
    """k -> infinity: F > 0 returns to w*, F = 0 is untouched to the bit."""
    w = [torch.tensor([[5.0, 0.1]])]
    proximal_pull(w, [torch.tensor([[2.0, 0.0]])], [torch.tensor([[2.0 * 3.0, 0.0]])], strength=1e12, lr=0.05)
    assert_close(w[0], [[3.0, 0.1]], rtol=1e-6)
    assert w[0][0, 1] == torch.tensor(0.1)


def test_quadratic_penalty_of_sums_equals_a_list_of_penalties():
    """eq: quadratic-penalty. Two old tasks: equal gradients, and values that differ by a constant."""
    noise = torch.Generator().manual_seed(2)
    w, f1, f2, a1, a2 = (torch.rand(2, 3, 4, generator=noise, dtype=DOUBLE) for _ in range(5))
    values, slopes = [], []
    for point in (w, 2 * w - 1):
        point.requires_grad_()
        pairs = ((f1, a1), (f2, a2))
        many = sum(3.0 / 2 * (f * (point - a) ** 2).flatten(1).sum(1) for f, a in pairs)
        single = quadratic_penalty([point], [f1 + f2], [f1 * a1 + f2 * a2], 3.0)
        values.append((many - single).detach())
        slopes.append([torch.autograd.grad(penalty.sum(), point)[0] for penalty in (many, single)])
    assert_close(values[0], values[1])
    for many, single in slopes:
        assert_close(many, single)


def descend(lr, k, steps, *, proximal):
    """Plain SGD on (w - 1)^2 / 2 with the pull k F / 2 (w - 0)^2, F = 1, from w = 1."""
    w = one(1.0)
    for _ in range(steps):
        pull = 0.0 if proximal else k * w[0]
        w[0] -= lr * ((w[0] - 1) + pull)
        if proximal:
            proximal_pull(w, one(1.0), one(0.0), k, lr)
    return w[0]


def test_proximal_and_explicit_pull_agree_until_the_explicit_one_diverges():
    """Both rest at (a + k F b) / (1 + k F) = 1 / (1 + k); after a few steps they differ by O(lr k F)."""
    for proximal in (True, False):
        assert_close(descend(0.1, 1.0, 500, proximal=proximal), 1 / 2)
    torch.testing.assert_close(
        descend(1e-3, 1.0, 50, proximal=True), descend(1e-3, 1.0, 50, proximal=False), atol=1e-4, rtol=0
    )
    assert_close(descend(0.1, 30.0, 500, proximal=True), 1 / 31)  # lr k F = 3
    assert descend(0.1, 30.0, 500, proximal=False).abs() > 1e6
