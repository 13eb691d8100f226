"""Models that are wrong, or do wrong things while they run."""

from __future__ import annotations

from collections.abc import Iterator

from tests.wrong.row import Row, wrong

HEAD = "import sys\n\nimport torch\nfrom torch import nn\n\n\n"
TRAIN = "--data npz:test.npz,train=train.npz --epochs 1 --output new.safetensors --quiet --format json"
RUN = "--data npz:test.npz --weights none --quiet --format json --attack fgsm"


def network(body: str, before: str = "", base: str = "nn.Flatten(), nn.Linear(192, 3)") -> str:
    """Return a file with a network `make` whose forward pass is `body`, where ``good`` is what a good one returns."""
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    return (
        f"{HEAD}{before}\n\nclass Net(nn.Sequential):\n    calls = 0\n\n    def forward(self, x):\n"
        "        self.calls += 1\n        good = super().forward(x)\n"
        f"{lines}\n\ndef make():\n    return Net({base})\n"
    )


BACKWARD = """class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ValueError("no way back")
"""


def rows() -> Iterator[Row]:
    """Yield the rows."""
    yield from specs()
    yield from files()
    yield from made()
    yield from outputs()
    yield from running()


def specs() -> Iterator[Row]:
    """Yield names that are wrong."""
    for spec, *words in (
        ("resnet81", "unknown model 'resnet81'", "Did you mean 'resnet18'"),
        ("timm:resnet81", "unknown timm model"),
        ("torchvision:resnet81", "unknown torchvision model"),
        ("tim:resnet18", "unknown kind of model 'tim'"),
        ("timm:", "unknown timm model ''"),
        ("paper:resnet10", "'resnet9'"),
        ("paper:resnet9,width=0", "width"),
        ("paper:resnet9,widht=8", "widht"),
        ("hf-hub:", "hf-hub"),
        ("hub:", "hub"),
        ("jit:", "jit"),
        ("pt2:", "pt2"),
        ("transformers:", "transformers"),
        ("transformers:folder", "folder"),
        ("hf-hub:folder", "folder"),
        ("hub:folder:make", "hubconf.py"),
        ("hub:folder", "hub:"),
        ("folder", "'folder' is a folder"),
        ("net.safetensors", "--weights net.safetensors"),
        ("missing.py:make", "no such file: missing.py"),
        ("net.py", "net.py"),
        ("net.py:", "net.py"),
        ("net.py:mkae", "net.py has no 'mkae'. Did you mean 'make'?"),
        ("net.py:nn", "nn"),
        ("net.py:make,num_clases=3", "num_clases"),
        ("net.py:make,num_classes=x", "num_classes"),
        ("no_such_package.models:make", "no module 'no_such_package.models'"),
        ("jit:missing.pt", "missing.pt"),
        ("missing.pt2", "missing.pt2"),
    ):
        yield wrong(f"evaluate '{spec}' {RUN}", *words)
    yield wrong("train --output new.safetensors --quiet", "no model given")
    yield wrong("train net.py:make", "no output given")
    yield wrong(f"evaluate 'net.py:*' {RUN} --output runs/", "net.py")
    yield wrong(f"evaluate 'timm:zzz*' {RUN} --output runs/", "no model of timm matches 'zzz*'")


def files() -> Iterator[Row]:
    """Yield files that hold no model."""
    for name, content, *words in (
        ("empty.py", "", "empty.py has no 'make'"),
        ("text.py", "this is no Python", "text.py", "line 1"),
        ("binary.py", b"\0\1\2\377", "binary.py"),
        ("raising.py", "raise ValueError('not today')", "ValueError: not today", "line 1"),
        ("exits.py", "import sys\nsys.exit(0)", "SystemExit", "exits.py, line 2"),
        ("needs.py", "import no_such_library", "no_such_library"),
        ("number.py", "make = 3", "number.py"),
    ):
        yield Row(f"evaluate {name}:make {RUN}", words, files={name: content})
        if name in ("text.py", "exits.py"):
            yield Row(f"inspect {name}:make --data npz:test.npz --weights none --quiet", words, files={name: content})
    for name, content in (
        ("empty", b""),
        ("garbage", b"\0\1\2\3" * 99),
        ("text", b"hello\n"),
        ("zip", b"PK\3\4" + b"\0" * 60),
    ):
        for kind, spec in (("pt", f"jit:{name}.pt"), ("pt2", f"{name}.pt2")):
            yield Row(f"evaluate {spec} {RUN}", (f"{name}.{kind}",), files={f"{name}.{kind}": content})
    yield wrong(f"evaluate net.onnx {RUN}", "net.onnx", "ONNX", net__onnx=b"\x08\x07")
    yield wrong(f"evaluate jit:net.onnx {RUN}", "net.onnx", net__onnx=b"\x08\x07")
    yield wrong(f"evaluate jit:folder {RUN}", "folder")
    yield wrong(f"evaluate net.h5 {RUN}", "net.h5", net__h5=b"\x89HDF\r\n")


def made() -> Iterator[Row]:
    """Yield callables that return no model that can be used."""
    for name, body, *words in (
        ("none", "return None", "None"),
        ("text", "return 'resnet18'", "str"),
        ("tensor", "return torch.zeros(3)", "Tensor"),
        ("cls", "return nn.Linear", "returned a type"),
        ("raises", "raise KeyError('depth')", "KeyError: 'depth'"),
        ("leaves", "sys.exit(3)", "SystemExit"),
        ("interrupts", "return open('missing.cfg')", "missing.cfg"),
        ("meta", "return nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).to('meta')", "meta"),
        ("forever", "return forever()", "RecursionError"),
    ):
        text = f"{HEAD}def forever():\n    return forever()\n\n\ndef make():\n    {body}\n"
        yield Row(f"evaluate {name}.py:make {RUN}", tuple(words), files={f"{name}.py": text})
    for name, value in (("nan", "float('nan')"), ("inf", "float('inf')")):
        text = (
            f"{HEAD}def make():\n    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))\n"
            f"    nn.init.constant_(net[1].bias, {value})\n    return net\n"
        )
        yield Row(
            f"evaluate {name}.py:make {RUN}",
            ("the report cannot be trusted", "finite"),
            3,
            {f"{name}.py": text},
            shown=True,
        )


def outputs() -> Iterator[Row]:
    """Yield forward passes whose outputs are no logits of these classes."""
    for name, body, *words in (
        ("none", "return None", "None"),
        ("text", "return 'cat'", "str"),
        ("numbers", "return [1, 2, 3]", "int"),
        ("empty", "return {}", "dict"),
        ("scalar", "return good.sum()", "shape"),
        ("row", "return good[0]", "shape"),
        ("one_less", "return good[:-1]", "shape"),
        ("labels", "return good.argmax(1)", "shape"),
        ("whole", "return good.long()", "int64"),
        ("bools", "return good > 0", "bool"),
        ("complex", "return torch.complex(good, good)", "complex"),
        ("few", "return good[:, :2]", "2 outputs"),
        ("no_classes", "return good[:, :0]", "0"),
        ("array", "return good.detach().numpy()", "ndarray"),
    ):
        yield Row(f"evaluate {name}.py:make {RUN}", tuple(words), files={f"{name}.py": network(body)})


def running() -> Iterator[Row]:
    """Yield networks that go wrong when they are used."""
    two = f"{HEAD}class Net(nn.Module):\n    def forward(self, x, y):\n        return x\n\n\nmake = Net\n"
    yield wrong(f"evaluate two.py:make {RUN}", "two", two__py=two)
    size = network("return good", base="nn.Flatten(), nn.Linear(100, 3)")
    yield wrong(f"evaluate size.py:make {RUN}", "3×8×8", size__py=size)
    gray = network("return good", base="nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()")
    yield wrong(f"evaluate gray.py:make {RUN}", "3×8×8", gray__py=gray)
    for name, body, code, *words in (
        ("exits", "sys.exit(0)", 3, "SystemExit: 0", "exits.py, line"),
        ("raises", "raise RuntimeError('out of\\nluck')", 2, "out of luck"),
        ("second", "if len(x) == 4:\n    raise ValueError('the second batch')\nreturn good", 3, "the second batch"),
        ("leaves", "if len(x) == 4:\n    sys.exit(0)\nreturn good", 3, "SystemExit"),
        ("nan_second", "return good * (float('nan') if len(x) == 4 else 1)", 3, "finite"),
        ("backward", "return Broken.apply(good)", 2, "no way back"),
        ("shrinks", "return good[:, :2] if len(x) == 4 else good", 3, "shape (4, 2)", "expected (4, 3)"),
        ("grows", "return torch.cat([good] * 2, 1) if len(x) == 4 else good", 3, "shape (4, 6)", "expected (4, 3)"),
    ):
        text = network(body, BACKWARD)
        shown = name == "nan_second"
        yield Row(
            f"evaluate {name}.py:make {RUN} --batch-size 8", tuple(words), code, {f"{name}.py": text}, shown=shown
        )
    yield wrong(f"evaluate net.py:no_bn {RUN} --bn stein", "no BatchNorm layer")
    yield wrong(f"evaluate net.py:no_bn {RUN} --stats batch", "no BatchNorm layer")
    none = network("return good", base="nn.AdaptiveAvgPool2d(1), nn.Flatten()")
    yield wrong(
        f"train bare.py:make {TRAIN}",
        "parameters",
        bare__py=none,
    )
    yield wrong(
        "evaluate bare.py:make --data npz:test.npz,train=train.npz --weights fit --quiet --format json",
        "parameters",
        bare__py=none,
    )
    flat = network("return (good * 0).detach()")
    yield wrong(
        f"train flat.py:make {TRAIN}",
        "gradient",
        code=3,
        flat__py=flat,
    )
    nan = network("return good * float('nan')")
    yield wrong(
        f"train nan.py:make {TRAIN}",
        "the loss of epoch 1 is nan",
        code=3,
        nan__py=nan,
    )
