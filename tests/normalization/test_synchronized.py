"""Synchronized layers: several processes, each with a part of the batch, compute what one computes with all of it."""

import socket
from contextlib import closing

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from stein_bench.normalization.layers import SteinBatchNorm2d, SteinSyncBatchNorm
from stein_bench.normalization.names import ESTIMATOR_SUMMARIES
from stein_bench.normalization.synchronized import group_to_synchronize, pool_moments

needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo"
)
SPLITS = [(4, 4), (1, 7), (5, 3), (8, 0)]


def batch(seed=0, scale=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 5, 3, 2, generator=generator, dtype=torch.float64)
    return x * scale + shift + torch.arange(5.0).view(-1, 1, 1), torch.randn(x.shape, generator=generator).double()


def layer_for(layer_class, estimator):
    layer = layer_class(5, estimator=estimator).double()
    layer.weight.data.copy_(torch.tensor([1.5, 0.0, -0.7, 1.0, 2.0]))
    return layer


def step(layer, x, grad, second_order):
    """Return outputs, gradients and buffers of one training step."""
    x = x.clone().requires_grad_()
    y = layer(x)
    if second_order:  # the gradient of the squared input gradient: through the composed path
        (first,) = torch.autograd.grad(y, x, grad, create_graph=True)
        first.square().sum().backward()
    else:
        y.backward(grad)
    weight_grads = [layer.weight.grad, torch.zeros(5) if second_order else layer.bias.grad]
    return y.detach(), x.grad, weight_grads, dict(layer.named_buffers())


def run_rank(rank, port, cases, queue):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    try:
        results = []
        for estimator, split, case, second_order in cases:
            x, grad = (part.split(split)[rank] for part in batch(*case))
            results.append(step(layer_for(SteinSyncBatchNorm, estimator), x, grad, second_order))
        queue.put(
            (
                rank,
                [
                    [y.numpy(), g.numpy(), [w.numpy() for w in ws], {k: b.numpy() for k, b in bs.items()}]
                    for y, g, ws, bs in results
                ],
            )
        )
    finally:
        dist.barrier()
        dist.destroy_process_group()


def run_on_two_processes(cases):
    """Return, per case, the two processes' results."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=run_rank, args=(rank, port, cases, queue), daemon=True) for rank in (0, 1)]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(60)
    return list(zip(results[0], results[1], strict=True))


def assert_equals_one_process(case, results):
    estimator, _, data, second_order = case
    x, grad = batch(*data)
    y, x_grad, weight_grads, buffers = step(layer_for(SteinBatchNorm2d, estimator), x, grad, second_order)

    def both(position):
        return torch.cat([torch.from_numpy(result[position]) for result in results])

    torch.testing.assert_close(both(0), y)
    torch.testing.assert_close(both(1), x_grad)
    for mine, first, second in zip(weight_grads, results[0][2], results[1][2], strict=True):
        torch.testing.assert_close(torch.from_numpy(first + second).double(), mine.double())
    for name, value in buffers.items():
        for result in results:
            torch.testing.assert_close(torch.from_numpy(result[3][name]), value)


@pytest.mark.slow
@needs_gloo
def test_two_processes_compute_what_one_does():
    cases = [(estimator, split, (0,), False) for estimator in ESTIMATOR_SUMMARIES for split in SPLITS]
    cases += [("stein", split, (1,), True) for split in ((4, 4), (3, 5))]
    for case, results in zip(cases, run_on_two_processes(cases), strict=True):
        assert_equals_one_process(case, results)


@needs_gloo
@pytest.mark.slow
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stein", "jsnorm", "james-stein", "ridge:0.5", "lasso:0.5"]),
            st.integers(0, 8).map(lambda first: (first, 8 - first)),
            st.tuples(st.integers(0, 99), st.floats(0.01, 100), st.floats(-50, 50)),
            st.just(False),
        ),
        min_size=20,
        max_size=20,
    )
)
def test_any_split_over_two_processes_gives_the_one_process_result(cases):
    for case, results in zip(cases, run_on_two_processes(cases), strict=True):
        assert_equals_one_process(case, results)


@pytest.mark.parametrize("estimator", ESTIMATOR_SUMMARIES)
def test_alone_it_is_the_ordinary_stein_layer(estimator):
    x, grad = batch()
    alone, expected = (
        step(layer_for(cls, estimator), x, grad, False) for cls in (SteinSyncBatchNorm, SteinBatchNorm2d)
    )
    assert torch.equal(alone[0], expected[0])
    assert torch.equal(alone[1], expected[1])


def test_a_group_of_one_process_is_not_synchronized(tmp_path):
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("torch was built without gloo")
    assert group_to_synchronize(None) is None
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        assert group_to_synchronize(None) is None
        assert SteinSyncBatchNorm(3)(torch.randn(4, 3)).isfinite().all()
    finally:
        dist.destroy_process_group()


def test_arguments_and_weights_are_those_of_the_ordinary_synchronized_layer():
    layer = SteinSyncBatchNorm(3, 1e-3, 0.2, process_group=None, estimator="jsnorm")
    assert (layer.eps, layer.momentum, layer.estimator) == (1e-3, 0.2, "jsnorm")
    layer.load_state_dict(nn.SyncBatchNorm(3).state_dict())
    assert layer.eval()(torch.randn(2, 3, 4)).shape == (2, 3, 4)


@needs_gloo
@pytest.mark.filterwarnings("ignore:.*all_reduce is deprecated:FutureWarning")
def test_the_moments_of_a_single_process_are_its_own_and_counts_are_exact(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mean, variance = torch.tensor([0.5, -3.0], requires_grad=True), torch.tensor([2.0, 0.25], requires_grad=True)
        for count in (1, 9, 2**24 + 1):  # the last has no float32
            pooled = pool_moments(mean, variance, count, dist.group.WORLD)
            assert [values.dtype for values in pooled] == [torch.float32, torch.float32, torch.float64]
            assert torch.allclose(pooled[0], mean)
            assert torch.allclose(pooled[1], variance)
            assert float(pooled[2]) == count
            (pooled[0] * 3 + pooled[1] * 5).sum().backward()
            assert (mean.grad.tolist(), variance.grad.tolist()) == ([3, 3], [5, 5])
            mean.grad = variance.grad = None
        nothing = pool_moments(torch.zeros(2), torch.zeros(2), 0, dist.group.WORLD)
        assert [values.sum().item() for values in nothing] == [0, 0, 0]
    finally:
        dist.destroy_process_group()
