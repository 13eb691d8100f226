"""Attacks that people bring: found, called by their signature, and contained."""

from __future__ import annotations

import functools
import random
from types import ModuleType
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from stein_bench.attacks.attack import attack_seeds, resolve_attack, resolve_attacks
from stein_bench.attacks.finding import spec_of_library
from stein_bench.errors import RunError, UsageError
from stein_bench.guard import model_untouched
from stein_bench.parts.brought import forgotten, give
from stein_bench.tasks import TASKS

INPUTS = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
LABELS = torch.arange(6) % 3


@pytest.fixture(autouse=True)
def _forgotten():
    with forgotten():
        yield


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))


def brought(found, params: str = ""):
    return resolve_attack(give("attack", found).spec + (f":{params}" if params else ""))


def run(found, params: str = "", network: nn.Module | None = None, seed: int = 0):
    attack = brought(found, params)
    network = model() if network is None else network
    seeds = attack_seeds(seed, attack, [str(i) for i in range(6)])
    with model_untouched(network):
        return attack.run(network, INPUTS.clone(), LABELS, TASKS["classification"], classes=3, seeds=seeds)


def test_it_gets_what_its_signature_names_and_no_more():
    calls = []

    def all_of_it(model, inputs, labels, *, eps, norm, seed, steps=3):
        calls.append((eps, norm, seed, steps))
        return inputs

    def only_eps(model, x, y, eps=0.25):
        calls.append(eps)
        return x

    run(all_of_it, "eps=0.5,norm=L2,steps=7")
    run(only_eps)
    run(only_eps, "eps=0.1")
    (eps, norm, seed, steps), *rest = calls
    assert (eps, norm, steps) == (0.5, "L2", 7)
    assert 0 <= seed < 2**31
    assert rest == [0.25, 0.1]


def test_the_seed_depends_on_the_runs_seed_and_also_seeds_the_global_random_numbers():
    def noisy(model, inputs, labels, eps):
        return (inputs + eps * torch.rand_like(inputs) * np.random.rand() * random.random()).clamp(0, 1)

    torch.manual_seed(1)
    first = run(noisy)
    torch.manual_seed(2)
    assert torch.equal(run(noisy), first)
    assert not torch.equal(run(noisy, seed=1), first)


def test_without_a_budget_it_minimizes_and_is_not_said_to_respect_eps():
    def nearest(model, inputs, labels, *, norm: Literal["L2", "Linf"] = "L2"):
        return inputs

    attack = brought(nearest)
    assert (attack.info.respects_eps, attack.info.minimal, attack.norm, attack.eps) == (False, True, "L2", 1.0)
    assert brought(nearest, "norm=Linf").norm == "Linf"
    with pytest.raises(UsageError, match="must be L2 or Linf, not 'L1'"):
        brought(nearest, "norm=L1")


def test_attributes_say_what_a_signature_cannot():
    def scored(model, inputs, labels, eps):
        """Random search."""
        return inputs

    scored.norms, scored.access = ("L1", "L2"), "score"
    attack = brought(scored)
    assert (attack.norm, attack.info.access, attack.info.summary) == ("L1", "score", "Random search")
    scored.access = "grey-box"
    with pytest.raises(UsageError, match="access 'grey-box' is none of white-box, score, decision"):
        brought(scored)
    scored.access, scored.norms = "score", ("L7",)
    with pytest.raises(UsageError, match="are not of Linf, L2, L1, L0"):
        brought(scored)


def stepped(model, inputs, labels, *, eps, steps: int = 3, size: float = 0.5, start=None, mode: str = "a", kind):
    return inputs


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("kind=x,stps=3", "unknown parameter of .*stepped: 'stps'. Did you mean 'steps'"),
        ("kind=x,steps=2.5", "steps of attack .*stepped must be a whole number, not 2.5"),
        ("kind=x,steps=true", "must be a whole number, not True"),
        ("kind=x,size=abc", "size of attack .*stepped must be a number, not 'abc'"),
        ("kind=x,mode=3", "mode of attack .*stepped must be a word, not 3"),
        ("steps=2", "needs kind: write .*stepped:kind=VALUE"),
        ("kind=x,source=1", "unknown parameter of .*stepped: 'source'"),
        ("kind=x,eps=-1", "must be above 0"),
    ],
)
def test_parameters_are_checked_by_the_signature(params, message):
    with pytest.raises(UsageError, match=message):
        brought(stepped, params)


def test_good_parameters_are_part_of_the_identity_and_so_is_the_source():
    first, second = brought(stepped, "kind=x,steps=4,size=1,start=2"), brought(stepped, "kind=x")
    assert {"steps": 4, "size": 1, "start": 2, "kind": "x", "mode": "a"}.items() <= first.params.items()
    assert first.label != second.label
    assert len(second.params["source"]) == 16
    assert first.params["source"] == second.params["source"]
    named = {"num_steps": 4}  # another library's name of the parameter
    assert brought(stepped, "kind=x,num_steps=4").params["steps"] == named["num_steps"]


def test_an_edited_source_is_another_attack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = []
    for amount in ("0.5", "0.25"):
        (tmp_path / "mine.py").write_text(
            f"def mine(model, inputs, labels, eps):\n    return inputs + {amount} * eps\n"
        )
        labels.append(resolve_attack("mine.py:mine").label)
    assert labels[0] != labels[1]
    assert all(label.startswith("mine.py:mine:norm=Linf,") for label in labels)


@pytest.mark.parametrize("spec", ["sub/mine.py:mine:eps=1/255,steps=2", "sub/mine.py:mine,eps=1/255,steps=2"])
def test_a_file_is_named_with_parameters_after_a_colon_or_a_comma(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.py").write_text("def mine(model, inputs, labels, eps, steps=1):\n    return inputs\n")
    attack = resolve_attack(spec)
    assert (attack.name, attack.eps, attack.params["steps"]) == ("mine.py:mine", 1 / 255, 2)
    assert [one.eps for one in resolve_attacks(["sub/mine.py:mine"], [1 / 255, 2 / 255])] == [1 / 255, 2 / 255]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere.py:mine", "no such file: nowhere.py"),
        ("mine.py:mien", "mine.py has no 'mien'. Did you mean 'mine'"),
        ("mine.py:few", r"takes \(model\): an attack is called with \(model, inputs, labels\)"),
        ("mine.py:number", "is a int, not a callable"),
        ("mine.py:mine:steps", "'steps' is not of the form key=value"),
        ("mine.py", r"names a file only: write mine\.py:NAME"),
        ("broken.py:mine", r"importing broken\.py failed: ZeroDivisionError.*\(broken\.py, line 1\)"),
        ("mine.py:NotCallable", "objects of the class cannot be called"),
        ("no.such.module:mine", "no module 'no.such.module'"),
    ],
)
def test_what_cannot_be_an_attack_is_refused_in_one_line(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "mine.py").write_text(
        "number = 3\ndef mine(model, inputs, labels, eps):\n    return inputs\ndef few(model):\n    return model\n"
        "class NotCallable:\n    pass\n"
    )
    with pytest.raises(UsageError, match=message) as caught:
        resolve_attack(spec)
    assert "\n" not in str(caught.value)


def other_shape(model, inputs, labels):
    return inputs[:, :1]


def other_dtype(model, inputs, labels):
    return inputs.double()


def no_tensor(model, inputs, labels):
    return inputs.numpy()


def in_place(model, inputs, labels):
    inputs += 0.01
    return inputs


def labels_in_place(model, inputs, labels):
    labels[:] = 0
    return inputs


def in_place_by_numpy(model, inputs, labels):
    inputs.numpy()[:] = 0
    return inputs


def train_mode(model, inputs, labels):
    model.train()
    return inputs


def one_layer_in_train_mode(model, inputs, labels):
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).train()
    return inputs


def reseeds(model, inputs, labels):
    torch.manual_seed(0)
    return inputs


def reseeds_numpy(model, inputs, labels):
    np.random.seed(0)
    return inputs


def reseeds_python(model, inputs, labels):
    random.seed(0)
    return inputs


def reseeds_from_the_clock(model, inputs, labels):
    torch.seed()
    return inputs


def parameters(model, inputs, labels):
    for parameter in model.parameters():
        parameter.data.mul_(0.5)
    return inputs


def parameters_by_an_optimizer(model, inputs, labels):
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    torch.optim.SGD(model.parameters(), lr=1.0).zero_grad()
    torch.nn.functional.cross_entropy(model(inputs), labels).backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    return inputs


def layers(model, inputs, labels):
    inner = next(m for m in model.modules() if isinstance(m, nn.Sequential))
    inner[1] = nn.Softplus()
    return inputs


def hooks(model, inputs, labels):
    model.register_forward_hook(lambda *_: torch.zeros(6, 3))
    return inputs


def other_parameters(model, inputs, labels):
    inner = next(m for m in model.modules() if isinstance(m, nn.Linear))
    inner.weight = nn.Parameter(torch.zeros(3, 48))
    return inputs


def other_forward(model, inputs, labels):
    model.forward = lambda inputs: torch.zeros(len(inputs), 3)
    return inputs


def half_way(model, inputs, labels):
    model.train()
    raise ValueError("half-way\nthere")


VIOLATIONS = [
    (other_shape, r"returned shape \(6, 1, 4, 4\) for inputs of shape \(6, 3, 4, 4\)"),
    (other_dtype, r"returned dtype torch.float64 for inputs of dtype torch.float32"),
    (no_tensor, "returned a ndarray, not a tensor"),
    (in_place, "changes its inputs in place"),
    (in_place_by_numpy, "changes its inputs in place"),
    (labels_in_place, "changes its labels in place"),
    (train_mode, "leaves the model in train mode"),
    (one_layer_in_train_mode, "leaves the model in train mode"),
    (reseeds, r"reseeds the global random numbers \(torch.manual_seed\)"),
    (reseeds_from_the_clock, r"reseeds the global random numbers \(torch.manual_seed\)"),
    (reseeds_numpy, r"reseeds the global random numbers \(np.random.seed\)"),
    (reseeds_python, r"reseeds the global random numbers \(random.seed\)"),
    (parameters, r"changes the model's parameters \(0.weight\)"),
    (parameters_by_an_optimizer, r"changes the model's parameters \(3.weight\)|\(0.weight\)"),
    (layers, r"leaves other layers in the model"),
    (other_parameters, r"leaves other parameters in the model \(Linear\)"),
    (other_forward, r"leaves another forward method in the model"),
    (hooks, "leaves other hooks in the model"),
    (half_way, "half_way failed: ValueError: half-way there"),
]


@pytest.mark.parametrize(("found", "message"), VIOLATIONS, ids=[found.__name__ for found, _ in VIOLATIONS])
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_a_violation_is_named_and_undone(found, message):
    network = model().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modules, outputs = list(network.modules()), network(INPUTS)
    torch.manual_seed(7)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    with pytest.raises(RunError, match=message) as caught:
        run(found, network=network)
    assert "\n" not in str(caught.value)
    assert list(network.modules()) == modules
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(network(INPUTS), outputs)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]


def test_what_an_attack_may_do_is_no_violation():
    def allowed(model, inputs, labels, *, eps, seed):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        model.train()
        handle = model.register_forward_hook(lambda *_: None)
        inputs.requires_grad_(True)
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        handle.remove()
        model.eval()
        return (inputs + eps * inputs.grad.sign()).clamp(0, 1)

    network = model()
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    found = run(allowed, "eps=0.1", network=network)
    assert float((found - INPUTS).abs().max()) == pytest.approx(0.1)
    assert not found.requires_grad
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers())  # BN in train mode moved


def test_a_class_is_constructed_with_the_parameters_and_called():
    class Stepper:
        """A step."""

        def __init__(self, size: float = 0.5):
            self.size = size

        def __call__(self, model, inputs, labels, eps):
            return (inputs + self.size * eps).clamp(0, 1)

    assert float((run(Stepper, "eps=0.1,size=1.0") - INPUTS).max()) == pytest.approx(0.1)
    assert float((run(Stepper(0.25), "eps=0.1") - INPUTS).max()) == pytest.approx(0.025)
    assert brought(Stepper).params["size"] == 0.5


def test_what_determines_an_object_besides_its_source_is_part_of_its_identity():
    class Stepper:
        def __init__(self, size, mask=None):
            self.size, self.mask, self._cache = size, mask, 3

        def __call__(self, model, inputs, labels, eps):
            return (inputs + self.size * eps).clamp(0, 1)

    def made(size):
        def step(model, inputs, labels, eps):
            return (inputs + size * eps).clamp(0, 1)

        return step

    first, second = Stepper(0.25), Stepper(0.5, torch.ones(3))
    assert brought(first).label != brought(second).label
    assert brought(first).label == brought(Stepper(0.25)).label
    assert brought(first).params.keys() == {"size", "source"}
    assert float((run(first, "eps=0.1,size=1.0") - INPUTS).max()) == pytest.approx(0.1)
    assert first.size == 0.25
    assert brought(made(1)).label != brought(made(2)).label
    assert brought(made(1)).label == brought(made(1)).label
    assert brought(first.__call__).label != brought(second.__call__).label


def test_what_partial_binds_is_a_parameter():
    attack = brought(functools.partial(stepped, kind="x", steps=9))
    assert (attack.params["kind"], attack.params["steps"]) == ("x", 9)


def test_of_torchattacks_an_object_of_the_catalog_is_the_catalogs_attack_with_its_settings():
    import torchattacks

    other = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    spec = spec_of_library(torchattacks.PGD(other, eps=4 / 255, alpha=1 / 255, steps=3, random_start=False))
    attack = resolve_attack(spec)
    assert (attack.info.backend, attack.eps, attack.params["steps"]) == ("torchattacks", 4 / 255, 3)
    assert spec_of_library(stepped) is None
    assert resolve_attack("torchattacks:PGD").label == resolve_attack("torchattacks.PGD").label


def torchattacks_like():
    import torchattacks.attack

    class Shifted(torchattacks.attack.Attack):
        """Shifts up."""

        def __init__(self, model, eps=0.1, share=0.5):
            super().__init__("Shifted", model)
            self.eps, self.share, self.seen = eps, share, []

        def forward(self, images, labels=None):
            self.seen.append(self.get_logits(images).shape)
            return (images + self.eps * self.share).clamp(0, 1)

    return Shifted


def test_of_torchattacks_an_own_object_attacks_the_evaluated_model_with_its_settings():
    other = nn.Sequential(nn.Flatten(), nn.Linear(48, 7))
    mine = torchattacks_like()(other, eps=0.2)
    attack = brought(mine)
    assert (attack.eps, attack.params["share"], attack.info.backend) == (0.2, 0.5, "own")
    assert float((run(mine) - INPUTS).max()) == pytest.approx(0.1)
    assert float((run(mine, "eps=0.1,share=1.0") - INPUTS).max()) == pytest.approx(0.1)
    assert mine.seen == []  # it worked on a copy of the object
    assert (mine.model, mine.eps) == (other, 0.2)
    by_class = brought(torchattacks_like(), "eps=0.3")
    assert (by_class.eps, by_class.params["share"]) == (0.3, 0.5)


def test_of_torchattacks_targeted_or_scaling_objects_are_refused():
    mine = torchattacks_like()(nn.Flatten())
    mine.set_normalization_used(mean=[0.5] * 3, std=[0.5] * 3)
    with pytest.raises(UsageError, match="scales its inputs"):
        brought(mine)
    targeted = torchattacks_like()(nn.Flatten())
    targeted.supported_mode = ["default", "targeted"]
    targeted.set_mode_targeted_random(quiet=True)
    with pytest.raises(UsageError, match="in targeted mode"):
        brought(targeted)


def test_of_foolbox_objects_and_classes_give_what_foolbox_gives():
    foolbox = pytest.importorskip("foolbox")
    network = model().eval()
    wrapped = foolbox.models.pytorch.PyTorchModel(network, bounds=(0, 1), device="cpu")
    for attack, eps in [
        (foolbox.attacks.LinfFastGradientAttack(), 0.05),
        (foolbox.attacks.LinfPGD(steps=4, random_start=False), 0.05),
        (foolbox.attacks.L2DeepFoolAttack(), None),
    ]:
        _, expected, _ = attack(wrapped, INPUTS, LABELS, epsilons=eps)
        params = "" if eps is None else f"eps={eps}"
        assert torch.allclose(run(attack, params, network), expected, atol=1e-6)
    by_class = brought(foolbox.attacks.LinfPGD, "steps=4,random_start=false,eps=0.05")
    assert (by_class.norm, by_class.params["steps"], by_class.info.respects_eps) == ("Linf", 4, True)
    assert brought(foolbox.attacks.L2DeepFoolAttack()).info.minimal
    assert brought(foolbox.attacks.L2DeepFoolAttack()).norm == "L2"
    with pytest.raises(UsageError, match=r"unknown parameter of .*'stps'"):
        brought(foolbox.attacks.LinfPGD, "stps=4")


def test_functions_in_the_style_of_adversarial_library_get_numeric_norms_and_greek_budgets(monkeypatch):
    """Real signatures of adv_lib 0.2.8; the library itself needs a package that does not always build."""
    module = ModuleType("adv_lib.attacks.mine")
    calls = []

    def fmn(model, inputs, labels, norm: float, targeted: bool = False, steps: int = 10, starting_points=None):
        calls.append((norm, targeted, steps))
        return inputs

    def pgd_linf(model, inputs, labels, ε, targeted: bool = False, steps: int = 40, callback=None):
        calls.append(ε)
        return inputs

    def ddn(model, inputs, labels, targeted: bool = False, steps: int = 100, γ: float = 0.05):
        return inputs

    def tr(model, inputs, labels, norm: float = 2.0, targeted: bool = False, eps: float = 0.001):
        calls.append(norm)
        return inputs

    for function in (fmn, pgd_linf, ddn, tr):
        function.__module__ = module.__name__
    run(fmn, "norm=L2,steps=3")
    run(functools.partial(fmn, norm=float("inf")))
    run(pgd_linf, "eps=0.2")
    assert calls == [(2.0, False, 3), (float("inf"), False, 10), 0.2]
    run(tr, "eps=0.3,norm=L2")
    assert calls.pop() == 2.0
    assert not brought(tr).info.respects_eps  # its eps is a tolerance
    assert brought(ddn).norm == "L2"
    assert brought(pgd_linf).info.norms == ("Linf",)
    with pytest.raises(UsageError, match=r"unknown parameter of .*'targeted'"):
        brought(ddn, "targeted=true")


def test_functions_of_adversarial_library_itself():
    attacks = pytest.importorskip("adv_lib.attacks")
    network = model().eval()
    found = run(attacks.pgd_linf, "eps=0.1,steps=3", network)
    assert float((found - INPUTS).abs().max()) <= 0.1 + 1e-6
    distances = (run(attacks.ddn, "steps=20", network) - INPUTS).flatten(1).norm(dim=1)
    assert float(distances.min()) >= 0
    assert (network(run(attacks.ddn, "steps=50", network)).argmax(1) != LABELS).float().mean() > 0.5


@pytest.mark.parametrize("name", ["Square", "APGD", "Pixle", "CW", "MIFGSM"])
def test_objects_of_torchattacks_are_the_catalogs_attacks_whatever_they_call_their_settings(name):
    import torchattacks

    attack = resolve_attack(spec_of_library(getattr(torchattacks, name)(nn.Flatten())))
    assert attack.label == resolve_attack(f"torchattacks.{name}").label


def test_an_object_of_torchattacks_that_does_not_tell_its_settings_is_refused():
    import torchattacks

    with pytest.raises(UsageError, match=r"does not tell its noise_type and noise_sd: name the attack instead"):
        spec_of_library(torchattacks.PGDRS(nn.Flatten()))
    one = nn.Flatten()
    many, same, other = (
        torchattacks.MultiAttack([torchattacks.FGSM(one, eps=eps) for eps in budgets])
        for budgets in ((0.1, 0.2), (0.1, 0.2), (0.1, 0.3))
    )
    assert brought(many).label == brought(same).label != brought(other).label


def test_an_attribute_eps_of_an_object_and_an_argument_eps_of_a_class_are_the_budget():
    class Held:
        def __init__(self, eps=0.1, norm="L2"):
            self.eps, self.norm = eps, norm

        def __call__(self, model, inputs, labels):
            calls.append((self.eps, self.norm))
            return inputs

    calls = []
    held = Held(0.3, "Linf")
    assert (brought(held).eps, brought(held).norm, brought(held).info.respects_eps) == (0.3, "Linf", True)
    assert [one.eps for one in resolve_attacks([give("attack", held).spec], [0.1, 0.2])] == [0.1, 0.2]
    run(held, "eps=0.2,norm=L2")
    run(Held, "eps=0.4")
    assert calls == [(0.2, "L2"), (0.4, "L2")]
    assert (held.eps, held.norm) == (0.3, "Linf")
    assert brought(held, "eps=0.1").label != brought(held, "eps=0.2").label


def test_a_module_is_called_as_its_forward_method_says():
    class Shift(nn.Module):
        def __init__(self, size: float = 0.5):
            super().__init__()
            self.size = size

        def forward(self, model, inputs, labels, eps):
            return (inputs + self.size * eps).clamp(0, 1)

    for attack in (Shift(), Shift):
        assert float((run(attack, "eps=0.1,size=1.0") - INPUTS).max()) == pytest.approx(0.1)
    assert "training" not in brought(Shift()).params


def test_a_norm_with_a_number_for_its_default_is_given_as_a_number():
    calls = []

    def mine(model, inputs, labels, norm=2):
        calls.append(norm)
        return inputs

    run(mine)
    run(mine, "norm=Linf")
    assert calls == [2.0, float("inf")]


def double(model, inputs, labels):
    model.double()
    return inputs


def default_dtype(model, inputs, labels):
    torch.set_default_dtype(torch.float64)
    return inputs


def setting_of_a_layer(model, inputs, labels):
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).eps = 1e6
    return inputs


def sparse(model, inputs, labels):
    return inputs.to_sparse()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (double, "changes the type or shape of the model's parameters"),
        (default_dtype, "changes torch's default dtype"),
        (setting_of_a_layer, r"changes eps of a layer of the model \(BatchNorm2d\)"),
        (sparse, "returned a tensor of layout torch.sparse_coo"),
    ],
)
def test_further_violations_are_named_and_undone(found, message):
    network = model().eval()
    outputs = network(INPUTS)
    outputs.sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    with pytest.raises(RunError, match=message):
        run(found, network=network)
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), gradients, strict=True))
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(network(INPUTS), outputs)


def test_identity_follows_decorators_private_attributes_and_defaults_of_nameless_functions():
    def decorated(size):
        @torch.no_grad()
        def step(model, inputs, labels, eps):
            return inputs + size * eps

        return step

    class Private:
        def __init__(self, size):
            self._size, self.mask = size, torch.full((3,), size)

        def __call__(self, model, inputs, labels):
            return inputs

    nameless = [lambda model, inputs, labels, k=k: inputs + k for k in (1.0, 2.0)]
    for first, second in [(decorated(1), decorated(2)), (Private(1), Private(2)), nameless]:
        assert brought(first).params["source"] != brought(second).params["source"]
    assert brought(decorated(1)).params["source"] == brought(decorated(1)).params["source"]
    assert brought(Private(1)).params["source"] == brought(Private(1)).params["source"]
