"""Stein layers inside compiled, exported and traced programs."""

import copy
import io

import pytest
import torch
from torch import nn

from stein_bench.normalization.convert import convert_batchnorm
from tests.normalization.kinds import ESTIMATORS, KINDS, activations, trained_layer


def compiled(layer, backend="aot_eager"):
    torch.compiler.reset()
    return torch.compile(layer, fullgraph=True, backend=backend)


def step(layer, x):
    x = x.clone().requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    return y.detach(), x.grad


COMPILED = ("sample", "stein", "james-stein")
"""Estimators whose layers are compiled in the default tests; the slow ones compile all."""
OFTEN = (*(("2d", estimator) for estimator in COMPILED), ("act2d", "stein"))
"""Kinds of layers and their estimators that are compiled in the default tests."""


def some(pairs):
    """Mark as slow what is not compiled in the default tests."""
    return [pytest.param(*pair, marks=() if pair in OFTEN else pytest.mark.slow) for pair in pairs]


@pytest.mark.parametrize(("kind", "estimator"), some((kind, estimator) for kind in KINDS for estimator in COMPILED))
@pytest.mark.parametrize("mode", ["training", "batch", "running"])
def test_compiled_in_one_graph(kind, estimator, mode):
    layer, x = trained_layer(kind, estimator)
    layer.stats = "running" if mode == "running" else "batch"
    layer.train(mode == "training")
    twin = copy.deepcopy(layer)
    torch.testing.assert_close(step(compiled(twin), x), step(layer, x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dict(twin.named_buffers()), dict(layer.named_buffers()))


@pytest.mark.integration
@pytest.mark.parametrize(("kind", "estimator"), some(("2d", estimator) for estimator in ESTIMATORS))
def test_compiled_evaluation_follows_its_buffers(kind, estimator):
    layer, x = trained_layer(kind, estimator)
    program = compiled(layer.eval())
    torch.testing.assert_close(program(x), layer(x))
    layer.running_var.data.mul_(3)
    layer.running_mean.data.add_(1)
    torch.testing.assert_close(program(x), layer(x))


def test_compiled_cumulative_average():
    layer, x = trained_layer("2d", momentum=None)
    twin = copy.deepcopy(layer)
    compiled(twin)(x), layer(x)
    torch.testing.assert_close(twin.running_mean, layer.running_mean)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_compiled_by_inductor(estimator):
    layer, x = trained_layer("2d", estimator)
    twin = copy.deepcopy(layer)
    torch.testing.assert_close(step(compiled(twin, "inductor"), x), step(layer, x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strict", [False, True])
def test_exported_in_evaluation(kind, strict):
    layer, x = trained_layer(kind)
    layer.eval()(x)  # so that something is kept that must not be baked in
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},), strict=strict).module()
    torch.testing.assert_close(program(x), layer(x))
    torch.testing.assert_close(program(x[:2]), layer(x[:2]))
    assert "running_mean" in dict(program.named_buffers())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_exported_program_derives_from_its_own_buffers(estimator):
    layer, x = trained_layer("2d", estimator)
    layer.eval()(x)
    program = torch.export.export(layer, (x,)).module()
    for module in (layer, program):
        module.running_var.data.mul_(3)
    torch.testing.assert_close(program(x), layer(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traced_in_evaluation():
    layer, x = trained_layer("2d")
    program = torch.jit.trace(layer.eval(), x)
    layer.running_mean.add_(1)
    torch.testing.assert_close(program(x), layer(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("estimator", ["sample", "stein", "james-stein"])
def test_onnx_export_in_evaluation(estimator):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    convert_batchnorm(model, estimator)
    x = activations((2, 3, 6, 6))
    model(x)
    file = io.BytesIO()
    torch.onnx.export(model.eval(), (x,), dynamo=True, verbose=False).save(file)
    program = onnx.load_from_string(file.getvalue())
    y = ReferenceEvaluator(program).run(None, {program.graph.input[0].name: x.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(y), model(x).detach(), atol=1e-4, rtol=1e-4)
