"""The imitation itself: what it refuses and counts, its kernels and memory, and that nothing of it remains."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.imitation import Device, count_waits, imitation_cuda

CUDA = torch.device("cuda")


def ramp(*shape: int) -> Tensor:
    """Return different numbers on the device."""
    return torch.arange(float(np.prod(shape)), device=CUDA).view(shape)


def replaced() -> list[object]:
    """Return what the imitation replaces, as it is now."""
    names = ("is_available", "synchronize", "Stream", "Event", "manual_seed", "mem_get_info", "get_rng_state", "device")
    return [
        *(getattr(torch.cuda, name) for name in names), torch.cuda.random.manual_seed, torch.accelerator.is_available,
        torch.zeros, torch.tensor, torch.rand_like, torch.Generator, torch.load, torch.autocast,
        torch.get_autocast_dtype,
        Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.pin_memory, Tensor.is_pinned, nn.Module.__call__, nn.Module._apply,
        nn.functional.one_hot, torch.__future__.get_swap_module_params_on_conversion(),
    ]  # fmt: skip


def test_nothing_remains_afterwards() -> None:
    before = replaced()
    with pytest.raises(KeyboardInterrupt), imitation_cuda():
        left = ramp(3)
        assert all(now is not old for now, old in zip(replaced()[:-1], before, strict=False))
        raise KeyboardInterrupt
    assert all(now is old for now, old in zip(replaced(), before, strict=True))
    assert torch.zeros(2, device="cpu").device.type == "cpu"
    with pytest.raises(RuntimeError, match="after the device was removed"):
        left + 1


def test_tensors_say_where_they_are(imitation_cuda: Device) -> None:
    x = torch.rand(2, 3).to("cuda")
    assert (x.device, x.is_cuda, x.is_cpu, x.get_device()) == (torch.device("cuda:0"), True, False, 0)
    made = [
        x + 1, x[0], x.to(torch.float64), x.detach(), x.data, torch.zeros_like(x), x.new_zeros(3), x.new_tensor([1.0]),
        torch.ones(2, device=x.device), torch.tensor(1.0, device="cuda"), torch.as_tensor(np.ones(2), device="cuda:0"),
        torch.rand(2, device="cuda", requires_grad=True), torch.rand(2).cuda(), torch.rand(2).to(x), copy.deepcopy(x),
        torch.empty(2).to(device=0), torch.randperm(4, device="cuda"), torch.full((2,), x[0, 0], device="cuda"),
    ]  # fmt: skip
    assert [tensor.device.type for tensor in made] == ["cuda"] * len(made)
    back = [
        x.cpu(),
        x.to("cpu"),
        torch.zeros_like(x, device="cpu"),
        torch.as_tensor(x, device="cpu"),
        torch.rand(2).to("cpu"),
    ]
    assert {type(tensor) for tensor in back} == {Tensor}
    assert x.to("cuda") is x
    assert x.to("cuda", copy=True) is not x
    assert torch.equal(x.cpu(), x.double().to("cpu", torch.float32))


MIXES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "add": lambda x, y: x + y,
    "add to a CPU tensor": lambda x, y: y + x,
    "product": lambda x, y: x @ y,
    "cat": lambda x, y: torch.cat([x, y]),
    "stack of numbers": lambda x, y: torch.stack([x.sum(), y.sum()]),
    "in place": lambda x, y: y.add_(x),
    "in place of a number": lambda x, y: y.sum().add_(x.sum()),
    "where": lambda x, y: torch.where(x > 0, x, y),
    "equal": lambda x, y: torch.equal(x, y),
    "gather": lambda x, y: x.gather(0, y.long()),
    "CPU tensor indexed by one of the device": lambda x, y: y[torch.zeros(2, dtype=torch.long, device=x.device)],
    "values put": lambda x, y: x.__setitem__(x > 1, y[0]),
    "linear": lambda x, y: nn.functional.linear(x, y),
    "loss": lambda x, y: nn.functional.cross_entropy(x, y[0].long()),
}


@pytest.mark.parametrize("name", MIXES)
def test_operations_that_mix_devices_are_refused(imitation_cuda: Device, name: str) -> None:
    x, y = ramp(3, 3), torch.zeros(3, 3)
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device, but found at least two"):
        MIXES[name](x, y)
    ((event, count),) = imitation_cuda.mixes.items()
    assert event.where.startswith("test_device.py:")
    assert count == 1


def test_numbers_of_the_cpu_and_gradients_may_mix(imitation_cuda: Device) -> None:
    x = ramp(2, 2).requires_grad_()
    number = torch.tensor(2.0)
    y = torch.where(x > 0, x * number, number).clamp(max=torch.tensor(3.0)).masked_fill(x > 5, number)
    for row in y:  # the gradient of rows that are not used is a zero of torch's own
        grad = torch.autograd.grad(row[0], x, retain_graph=True)[0]
        assert grad.is_cuda
    assert not imitation_cuda.mixes


@pytest.mark.parametrize("convert", [lambda x: x.numpy(), np.asarray, np.array, lambda x: x.detach().numpy()])
def test_numpy_is_refused(imitation_cuda: Device, convert: Callable[[Tensor], object]) -> None:
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        convert(ramp(3))
    assert ramp(2).cpu().numpy().tolist() == [0, 1]


def test_only_generators_of_the_device_are_taken(imitation_cuda: Device) -> None:
    of_the_cpu, of_the_device = torch.Generator().manual_seed(1), torch.Generator(device="cuda").manual_seed(1)
    assert of_the_device.device.type == "cuda"
    for draw in (
        lambda: torch.rand(2, device="cuda", generator=of_the_cpu),
        lambda: ramp(2).uniform_(generator=of_the_cpu),
        lambda: torch.bernoulli(ramp(2) / 2, generator=of_the_cpu),
        lambda: torch.rand(2, generator=of_the_device),
    ):
        with pytest.raises(RuntimeError, match="device type for generator but found"):
            draw()
    numbers = torch.rand(2, device="cuda", generator=of_the_device)
    assert torch.equal(numbers.cpu(), torch.rand(2, generator=of_the_cpu))
    ramp(2).normal_(generator=of_the_device)


def test_the_state_of_random_numbers_is_restored(imitation_cuda: Device) -> None:
    torch.manual_seed(3)
    first = torch.rand(2, device="cuda").cpu()
    with torch.random.fork_rng(devices=[0]):
        torch.cuda.manual_seed_all(3)
        assert torch.equal(torch.rand(2, device="cuda").cpu(), first)
    torch.cuda.set_rng_state(torch.cuda.get_rng_state())
    assert not torch.equal(torch.rand(2, device="cuda").cpu(), first)


WAITS: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "item": (lambda x: x.sum().item(), "item"),
    "float": (lambda x: float(x[0]), "item"),
    "bool": (lambda x: bool((x > 0).all()), "item"),
    "index by a number": (lambda x: x[x.argmax()], "item"),
    "format": (lambda x: f"{x.sum():.1f}", "item"),
    "cpu": (lambda x: x.cpu(), "device to host"),
    "to": (lambda x: x.to("cpu"), "device to host"),
    "copy from": (lambda x: torch.zeros(4).copy_(x), "device to host"),
    "save": (lambda x: torch.save(x, io.BytesIO()), "device to host"),
    "tolist": (lambda x: x.tolist(), "tolist"),
    "print": (lambda x: str(x), "print"),
    "nonzero": (lambda x: x.nonzero(), "nonzero"),
    "where": (lambda x: torch.where(x > 1), "nonzero"),
    "mask": (lambda x: x[x > 1], "mask"),
    "masks": (lambda x: x.view(2, 2)[x[:2] > 0, x[2:] > 0], "mask"),
    "put by a mask": (lambda x: x.__setitem__(x > 2, x[:1]), "mask"),
    "equal": (lambda x: torch.equal(x, x + 1), "equal"),
    "allclose": (lambda x: torch.allclose(x, x + 1), "allclose"),
    "masked_select": (lambda x: x.masked_select(x > 1), "masked_select"),
    "unique": (lambda x: x.unique(), "unique"),
    "repeat_interleave": (lambda x: torch.repeat_interleave(x, x.long()), "repeat_interleave"),
    "bincount": (lambda x: torch.bincount(x.long()), "bincount"),
    "pageable": (lambda x: torch.ones(3).to("cuda"), "host to device"),
    "pageable without blocking": (lambda x: torch.ones(3).to("cuda", non_blocking=True), "host to device"),
    "pinned with blocking": (lambda x: torch.ones(3).pin_memory().to("cuda"), "host to device"),
    "copy to": (lambda x: x.copy_(torch.ones(4)), "host to device"),
    "numbers": (lambda x: torch.tensor([1.0, 2.0], device="cuda"), "host to device"),
    "new numbers": (lambda x: x.new_tensor([1.0]), "host to device"),
    "index of the CPU": (lambda x: x[torch.tensor([0, 1])], "host to device"),
    "index of Python": (lambda x: x[[0, 1]], "host to device"),
    "synchronize": (lambda x: torch.cuda.synchronize(), "torch.cuda.synchronize"),
    "event": (lambda x: torch.cuda.Event().synchronize(), "Event.synchronize"),
    "stream": (lambda x: torch.cuda.current_stream().synchronize(), "Stream.synchronize"),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_counted_with_its_line(imitation_cuda: Device, name: str) -> None:
    x, (wait, what) = ramp(4), WAITS[name]
    wait(x)
    ((event, count),) = imitation_cuda.events.items()
    assert (event.what, count) == (what, 1)
    assert event.where == f"test_device.py:{wait.__code__.co_firstlineno}"


def test_the_line_is_the_innermost_of_the_package(imitation_cuda: Device) -> None:
    from stein_bench import host

    found = count_waits(lambda: host.download({"values": ramp(4)}))
    ((line, count),) = found.items()
    assert line.startswith("host.py:")
    assert count == 1
    assert imitation_cuda.waits_in("host.py") == 1
    assert ".cpu()" in next(iter(imitation_cuda.events)).source
    imitation_cuda.reset()
    assert not imitation_cuda.waits


FREE: dict[str, Callable[[Tensor], object]] = {
    "arithmetic": lambda x: (x * 2 + torch.tensor(1.0)).relu().sum(),
    "fill by a mask": lambda x: x.__setitem__(x > 1, 0.0),
    "masked_fill": lambda x: x.masked_fill(x > 1, 0.0),
    "index of the device": lambda x: x[torch.arange(2, device="cuda")],
    "slices": lambda x: x[1:3].view(2, 1),
    "sort": lambda x: x.sort(),
    "top": lambda x: x.topk(2),
    "repeat": lambda x: x.repeat_interleave(2),
    "repeat to a known size": lambda x: torch.repeat_interleave(x, torch.ones_like(x).long(), output_size=4),
    "one_hot": lambda x: nn.functional.one_hot(x.long(), 4),
    "made there": lambda x: (torch.zeros(3, device="cuda"), torch.full((2,), 3.0, device="cuda"), torch.rand_like(x)),
    "histogram": lambda x: torch.histc(x, 4, 0.0, 3.0),
    "copy on the device": lambda x: x.clone().copy_(x),
    "stream": lambda x: torch.cuda.Stream().wait_stream(torch.cuda.current_stream()),
    "event": lambda x: torch.cuda.Event().record(),
    "same place": lambda x: x.to("cuda").cuda().to(x),
    "length": lambda x: (len(x), x.shape, x.numel()),
}


@pytest.mark.parametrize("name", FREE)
def test_what_does_not_wait_is_not_counted(imitation_cuda: Device, name: str) -> None:
    FREE[name](ramp(4))
    assert not imitation_cuda.events
    assert not imitation_cuda.copies


def test_one_hot_is_that_of_torch(imitation_cuda: Device) -> None:
    labels = torch.tensor([[2, 0], [1, 1]])
    found = nn.functional.one_hot(labels.cuda(), 3)
    assert torch.equal(found.cpu(), nn.functional.one_hot(labels, 3))


def test_copies_from_pinned_memory_need_not_block(imitation_cuda: Device) -> None:
    pinned = torch.ones(3).pin_memory()
    assert pinned.is_pinned()
    assert not torch.ones(3).is_pinned()
    assert torch.empty(2, pin_memory=True).is_pinned()
    pinned.to("cuda", non_blocking=True)
    pinned[:2].cuda(non_blocking=True)
    ramp(3).copy_(pinned, non_blocking=True)
    assert not imitation_cuda.events
    assert imitation_cuda.copies.total() == 3
    address = pinned.data_ptr()
    del pinned
    others = [other for other in (torch.ones(3) for _ in range(100)) if other.data_ptr() == address]
    assert not any(other.is_pinned() for other in others)


def test_batches_of_a_loader_are_pinned(imitation_cuda: Device) -> None:
    loader = DataLoader(TensorDataset(torch.rand(4, 2)), batch_size=2, pin_memory=True)
    assert [batch.is_pinned() for (batch,) in loader] == [True, True]


@pytest.mark.parametrize(
    "wait", [lambda: torch.cuda.synchronize(), lambda: ramp(1).item(), lambda: torch.cuda.Event().synchronize()]
)
def test_results_are_there_only_after_a_wait(imitation_cuda: Device, wait: Callable[[], object]) -> None:
    """A copy to the host that does not block holds wrong numbers until then."""
    kept = torch.zeros(3)
    found = [ramp(3).to("cpu", non_blocking=True), (ramp(3) > 1).to("cpu", non_blocking=True)]
    kept.copy_(ramp(3), non_blocking=True)
    assert not imitation_cuda.events
    assert found[0].isnan().all()
    assert found[1].tolist() == [True, True, False]
    assert kept.isnan().all()
    wait()
    assert found[0].tolist() == kept.tolist() == [0, 1, 2]
    assert found[1].tolist() == [False, False, True]


def test_gradients_flow_between_devices(imitation_cuda: Device) -> None:
    x = torch.ones(3, requires_grad=True)
    (x.to("cuda") * 2).cpu().sum().backward()
    assert type(x.grad) is Tensor
    assert x.grad.tolist() == [2, 2, 2]


def test_a_module_keeps_its_parameters_when_it_moves(imitation_cuda: Device) -> None:
    """An optimizer made before goes on to update them, as on CUDA."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    twin = copy.deepcopy(net)
    optimizers = [torch.optim.SGD(module.parameters(), 0.1) for module in (net, twin)]
    parameters = list(net.parameters())
    net.to("cuda")
    assert all(one is other for one, other in zip(net.parameters(), parameters, strict=True))
    assert all(isinstance(parameter, nn.Parameter) and parameter.is_cuda for parameter in parameters)
    assert net[1].running_mean.is_cuda
    x = torch.rand(5, 3)
    for module, optimizer, inputs in zip((net, twin), optimizers, (x.cuda(), x), strict=True):
        module(inputs).square().mean().backward()
        optimizer.step()
    copied = copy.deepcopy(net)
    assert isinstance(copied[0].weight, nn.Parameter)
    for moved in (net.cpu(), copied.to("cpu")):
        for name, tensor in moved.state_dict().items():
            assert type(tensor.data) is Tensor
            torch.testing.assert_close(tensor, twin.state_dict()[name])


def test_a_module_that_is_there_already_keeps_its_graph(imitation_cuda: Device) -> None:
    net = nn.Linear(2, 1).to("cuda")
    loss = net(ramp(3, 2)).sum()
    net.to("cuda")
    loss.backward()
    assert net.weight.grad is not None
    assert net.weight.grad.tolist() == [[6, 9]]


def test_states_are_saved_and_loaded(imitation_cuda: Device) -> None:
    net, stream = nn.Linear(2, 2).to("cuda"), io.BytesIO()
    torch.save(net.state_dict(), stream)
    for place in ("cpu", "cuda"):
        stream.seek(0)
        state = torch.load(stream, map_location=place, weights_only=True)
        assert {tensor.device.type for tensor in state.values()} == {place}
        assert torch.equal(state["weight"].cpu(), net.weight.cpu())
        nn.Linear(2, 2).to("cuda").load_state_dict(state)


def test_autocast_is_that_of_the_device(imitation_cuda: Device) -> None:
    x = ramp(2, 2)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.is_autocast_enabled("cuda")
        assert torch.get_autocast_dtype("cuda") == torch.bfloat16
        assert (x @ x).dtype == torch.bfloat16
    assert (x @ x).dtype == torch.float32


def in_kernels(x: Tensor, grad: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    """Return output and gradients of batch normalization, as synchronized BN composes them of the CUDA kernels."""
    mean, variance = torch.batch_norm_update_stats(x, None, None, 0.1)
    scale = (variance + 1e-5).rsqrt()
    y = torch.batch_norm_elemt(x, weight, bias, mean, scale, 1e-5)
    sums = torch.batch_norm_backward_reduce(grad, x, mean, scale, weight, True, True, True)
    count = torch.full((1,), x.numel() // x.shape[1], dtype=torch.int32, device=x.device)
    return [y, torch.batch_norm_backward_elemt(grad, x, mean, scale, weight, *sums[:2], count), *sums[2:]]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_the_kernels_of_batch_norm_agree_with_the_layer(
    imitation_cuda: Device, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(3)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x, grad = torch.randn(4, 3, 5, 5).to(dtype), torch.randn(4, 3, 5, 5).to(dtype)
    known = x.float().requires_grad_()
    y = layer(known)
    y.backward(grad.float())
    found = in_kernels(x.cuda(), grad.cuda(), layer.weight.detach().cuda(), layer.bias.detach().cuda())
    assert [tensor.dtype for tensor in found] == [dtype, dtype, torch.float32, torch.float32]
    for one, other in zip(found, (y, known.grad, layer.weight.grad, layer.bias.grad), strict=True):
        torch.testing.assert_close(one.cpu().float(), other.detach(), rtol=tolerance, atol=tolerance)


def test_memory_is_that_of_the_tensors_that_live(imitation_cuda: Device) -> None:
    assert torch.cuda.memory_allocated() == 0
    x = torch.zeros(100, device="cuda")
    view, sum_ = x[:10], x + 1
    assert torch.cuda.memory_allocated() == 800
    del x, sum_
    assert torch.cuda.memory_allocated() == 400  # of the view
    del view
    assert torch.cuda.memory_allocated() == 0
    assert torch.cuda.max_memory_allocated() == 800
    torch.cuda.reset_peak_memory_stats()
    assert torch.cuda.max_memory_allocated() == 0
    imitation_cuda.limit_bytes(1000)
    kept = torch.zeros(200, device="cuda")
    assert torch.cuda.mem_get_info() == (200, 1000)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="CUDA out of memory"):
        kept + 1
    assert torch.cuda.memory_allocated() == 800
    kept.add_(1)


def test_peak_memory_grows_with_the_batch(imitation_cuda: Device) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2))
    net.to("cuda").requires_grad_(False)
    peaks = []
    for n in (4, 8, 16):
        base = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        net(torch.rand(n, 3, 8, 8, device="cuda").requires_grad_()).sum().backward()
        peaks.append(torch.cuda.max_memory_allocated() - base)
    assert peaks[2] - peaks[1] == pytest.approx(2 * (peaks[1] - peaks[0]), rel=0.02)


def test_networks_run_out_of_memory_where_asked(imitation_cuda: Device) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))).to("cuda")
    imitation_cuda.limit_samples(3)
    net(ramp(3, 2))
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        net(ramp(4, 2))
    imitation_cuda.limit_samples(None)
    imitation_cuda.fail_at(2)
    net(ramp(4, 2))
    with pytest.raises(torch.OutOfMemoryError):
        net(ramp(4, 2))
    nn.ReLU()(net(ramp(4, 2)))
    assert imitation_cuda.calls == 3


def test_backward_passes_run_out_of_memory_too(imitation_cuda: Device) -> None:
    x = torch.zeros(100, device="cuda", requires_grad=True)
    y = x.square().exp().sum()
    imitation_cuda.limit_bytes(torch.cuda.memory_allocated() + 500)
    with pytest.raises(torch.OutOfMemoryError):
        y.backward()
    imitation_cuda.limit_bytes(10_000)
    x.square().sum().backward()


def test_channels_last_is_kept(imitation_cuda: Device) -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), torch.rand(2, 3, 6, 6)
    expected = net(x)
    net.to("cuda", memory_format=torch.channels_last)
    found = net(x.cuda().to(memory_format=torch.channels_last))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.cpu(), expected)
