"""A user's own networks: files, packages, instances and folders of torch.hub."""

from pathlib import Path

SECTION = "models.md", "Your own code"

WIDE = """
from torch import nn


class WideNet(nn.Sequential):
    \"\"\"Blocks of convolution and BN.\"\"\"

    def __init__(self, depth, widen_factor=1, blocks=(1, 1), num_classes=10):
        width = 4 * widen_factor
        parts = [nn.Conv2d(3, width, 3, padding=1)]
        for _ in range(depth * sum(blocks)):
            parts += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))


model = WideNet(1, num_classes=3)
"""
IN_PACKAGE = "from .blocks import WideNet\n\n\ndef make(num_classes):\n    return WideNet(1, num_classes=num_classes)\n"
HUBCONF = """
dependencies = ["torch"]
from nets import WideNet


def small(pretrained=False, **kwargs):
    return WideNet(1, **kwargs)
"""


def make(folder: Path) -> None:
    """Write wide.py, a package in src, a repository of torch.hub's layout and a module."""
    files = {
        "wide.py": WIDE,
        "wide_module.py": WIDE,
        "src/mypkg/__init__.py": "",
        "src/mypkg/blocks.py": WIDE,
        "src/mypkg/net.py": IN_PACKAGE,
        "clone/hubconf.py": HUBCONF,
        "clone/nets.py": WIDE,
    }
    for name, code in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
