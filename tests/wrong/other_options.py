"""Every option and argument of the other commands with values that are wrong."""

from __future__ import annotations

from tests.wrong.shared_options import NETWORK, NO_VALUE, SCALING, WHOLE, Wrongs

TRAIN: Wrongs = {
    "--trust-code": [("--trust-code=yes", NO_VALUE)],
    "--offline": [("--offline=yes", NO_VALUE)],
    "MODEL": [("net.py:mkae", "unexpected extra argument")],
    "--data": [
        ("--data digit", "Did you mean 'digits'?"),
        ("--data npz:test.npz", "training split"),
        ("--data npz:test.npz,train=missing.npz", "missing.npz"),
    ],
    "--bn": [("--bn sten", "Did you mean 'stein'?"), ("--bn ''", "estimator")],
    "--recipe": [
        ("--recipe cifar", "Did you mean 'cifar10'"),
        ("--recipe missing.yaml", "missing.yaml"),
        ("--recipe ''", "--recipe"),
    ],
    "--epochs": [("--epochs 0", "--epochs"), ("--epochs many", "'--epochs'", WHOLE)],
    "--batch-size": [("--batch-size 0", "--batch-size"), ("--batch-size auto", "'--batch-size'", WHOLE)],
    "--learning-rate": [
        ("--learning-rate 0", "--learning-rate"),
        ("--learning-rate -1", "--learning-rate"),
        ("--learning-rate nan", "--learning-rate"),
        ("--learning-rate fast", "--learning-rate"),
    ],
    "--weight-decay": [
        ("--weight-decay -1", "--weight-decay"),
        ("--weight-decay inf", "--weight-decay"),
        ("--weight-decay some", "--weight-decay"),
    ],
    "--weights": [
        ("--weights missing.pth", "missing.pth"),
        ("--weights ''", "--weights"),
        ("--weights fit", "fit"),
        ("--weights auto", "auto"),
    ],
    "--preserve-function": [
        ("--preserve-function=yes", NO_VALUE),
        ("--preserve-function", "--preserve-function"),
    ],
    "--adversarial": [
        ("--adversarial pgdd", "Did you mean 'pgd'"),
        ("--adversarial pgd:eps=0", "must be above 0"),
        ("--adversarial square", "square"),
        ("--adversarial ''", "--adversarial"),
        ("--adversarial none", "none"),
    ],
    "--limit": [
        ("--limit 1", "--limit: input should be greater than or equal to 2"),
        ("--limit few", "'--limit'", WHOLE),
    ],
    "--config": [("--config missing.yaml", "cannot read the configuration")],
    "--precision": [("--precision fp16", "--precision: input should be 'fp32' or 'bf16'")],
    "--compile": [("--compile=yes", NO_VALUE)],
    "--workers": [("--workers -1", "--workers"), ("--workers some", "'auto'")],
    "--output": [
        ("--output new.pth", "must end in .safetensors"),
        ("--output missing/new.safetensors", "existing folder"),
        ("--output folder.safetensors", "folder"),
        ("--output ''", "--output"),
    ],
    "--plot": [
        ("--plot curves.gif", "must end in .png"),
        ("--plot missing/curves.png", "existing folder"),
        ("--plot new.safetensors", "--plot"),
        ("--plot ''", "--plot"),
    ],
    "--resume": [("--resume=yes", NO_VALUE)],
    "--format": [("--format xml", "--format: input should be 'table' or 'json'")],
    "--quiet": [("--quiet=yes", NO_VALUE)],
    **NETWORK,
    **SCALING,
}
REPRODUCE: Wrongs = {
    "--trust-code": [("--trust-code=yes", NO_VALUE)],
    "--offline": [("--offline=yes", NO_VALUE)],
    "NAME": [("extra", "unexpected extra argument")],
    "--preset": [("--preset publish", "preset"), ("--preset controlled", "preset")],
    "--seeds": [("--seeds 0", "--seeds"), ("--seeds few", "'--seeds'", WHOLE)],
    "--until": [
        ("--until wide", "'wide' is no width"),
        ("--until 0", "--until"),
        ("--until -3", "--until"),
        ("--until nan", "--until"),
    ],
    "--max-seeds": [
        ("--max-seeds 3", "--max-seeds is the cap of --until"),
        ("--max-seeds 0 --until 3", "--max-seeds"),
        ("--max-seeds all --until 3", "'--max-seeds'", WHOLE),
    ],
    "--pilot": [("--pilot missing.json", "missing.json"), ("--pilot report.json", "report.json")],
    "--data": [("--data digit", "Did you mean 'digits'?"), ("--data npz:test.npz", "training split")],
    "--model": [("--model resnet81", "Did you mean"), ("--model ''", "MODEL"), ("--model net.py:mkae", "mkae")],
    "--bn": [("--bn sten", "Did you mean 'stein'?"), ("--bn ''", "estimator")],
    "--part": [("--part standrad", "Did you mean 'standard'?"), ("--part ''", "part")],
    "--recipe": [("--recipe cifar", "Did you mean 'cifar10'"), ("--recipe missing.yaml", "missing.yaml")],
    "--epochs": [("--epochs 0", "--epochs"), ("--epochs all", "'--epochs'", WHOLE)],
    "--attack": [("--attack pgdd", "Did you mean 'pgd'"), ("--attack pgd:eps=0", "must be above 0")],
    "--limit": [("--limit 0", "--limit"), ("--limit all", "'--limit'", WHOLE)],
    "--batch-size": [("--batch-size 0", "--batch-size"), ("--batch-size auto", "'--batch-size'", WHOLE)],
    "--output": [
        ("--output missing/new.json", "existing folder"),
        ("--output folder", "folder"),
        ("--output small.yaml", "would overwrite an input file"),
        ("--output ''", "--output"),
    ],
    "--cells": [("--cells report.json", "report.json"), ("--cells ''", "--cells")],
    "--markdown": [
        ("--markdown missing/new.md", "existing folder"),
        ("--markdown new.md --latex new.md", "is also the file of"),
        ("--markdown small.yaml", "would overwrite an input file"),
        ("--markdown ''", "--markdown"),
    ],
    "--latex": [("--latex folder", "folder")],
    "--csv": [("--csv folder", "folder")],
    "--html": [("--html folder", "folder")],
    "--plot": [("--plot new.gif", "must end in .png or .svg"), ("--plot ''", "--plot")],
    "--format": [("--format xml", "--format: 'xml' is neither table nor json")],
    "--quiet": [("--quiet=yes", NO_VALUE)],
    **{key: NETWORK[key] for key in ("--device", "--image-size", "--seed")},
    **SCALING,
}
INSPECT: Wrongs = {
    "--trust-code": [("--trust-code=yes", NO_VALUE)],
    "--offline": [("--offline=yes", NO_VALUE)],
    "MODEL": [("net.py:mkae", "unexpected extra argument")],
    "--data": [("--data digit", "Did you mean 'digits'?")],
    "--weights": [("--weights missing.pth", "missing.pth"), ("--weights ''", "weights")],
    "--bn": [("--bn sten", "Did you mean 'stein'?"), ("--bn stein --bn stein", "twice")],
    "--batch-size": [("--batch-size 0", "--batch-size"), ("--batch-size auto", "'--batch-size'", WHOLE)],
    "--format": [("--format xml", "--format: input should be 'table' or 'json'")],
    "--output": [
        ("--output missing/new.json", "existing folder"),
        ("--output folder", "existing folder"),
        ("--output net.py", "would overwrite"),
        ("--output test.npz", "would overwrite"),
        ("--output new.png --plot new.png", "--plot"),
        ("--output ''", "--output"),
    ],
    "--plot": [
        ("--plot new.gif", "must end in .png"),
        ("--plot missing/new.png", "existing folder"),
        ("--plot ''", "--plot"),
    ],
    "--quiet": [("--quiet=yes", NO_VALUE)],
    **NETWORK,
}
REPORT: Wrongs = {
    "REPORT": [("missing.json", "missing.json"), ("folder", "folder"), ("reproduction.json", "must be the only file")],
    "--html": [
        ("--html folder", "--html folder: it must be a file"),
        ("--html report.json", "would overwrite an input file"),
        ("--html new --csv new", "is also the file of --html"),
        ("--html ''", "--html"),
    ],
    "--markdown": [("--markdown missing/new.md", "existing folder"), ("--markdown ''", "--markdown")],
    "--csv": [("--csv missing/new.csv", "existing folder"), ("--csv report.json", "would overwrite an input file")],
    "--junit": [("--junit missing/new.xml", "existing folder")],
    "--plot": [
        ("--plot pie new.svg", "unknown kind of --plot 'pie'"),
        ("--plot curv new.svg", "Did you mean 'curve'?"),
        ("--plot curve", "--plot curve: write a kind and a file"),
        ("--plot curve new.gif", "must end in .png or .svg"),
        ("--plot curve new.svg --plot curve other.svg", "--plot curve is given twice"),
        ("--plot bars new.svg --plot curve new.svg", "is also the file of"),
        ("--plot curve new.svg", "there is only one budget"),
        ("--plot gallery new.png", "no examples were stored"),
        ("--plot gallery new.png --html new.html", "no examples were stored"),
        ("--plot", "--plot"),
    ],
    "--model-card": [
        ("--model-card missing/README.md", "existing folder"),
        ("--model-card photo.png", "it is not UTF-8 text"),
        ("--model-card report.json", "would overwrite an input file"),
    ],
    "--log": [("--log tensorbord", "Did you mean 'tensorboard'?"), ("--log tensorboard:dir=", "dir")],
}
COMPARE: Wrongs = {
    "REPORT": [("missing.json", "missing.json"), ("folder", "the folder folder holds no report"), ("''", "report")],
    "--markdown": [("--markdown missing/new.md", "existing folder"), ("--markdown folder", "existing folder")],
    "--csv": [("--csv new.csv --markdown new.csv", "is also the file of")],
    "--latex": [("--latex report.json", "would overwrite an input file")],
    "--html": [
        ("--html folder", "--html folder: it must be a file in an existing folder"),
        ("--html missing/new.html", "existing folder"),
        ("--html base.json", "would overwrite an input file"),
        ("--html new --csv new", "is also the file of"),
        ("--html ''", "--html"),
    ],
    "--output": [("--output base.json", "would overwrite an input file"), ("--output ''", "--output")],
    "--format": [("--format jsn", "--format: 'jsn' is neither table nor json")],
}
GATE: Wrongs = {
    "REPORT": [("extra.json", "unexpected extra argument")],
    "--baseline": [("--baseline missing.json", "missing.json"), ("--baseline ''", "report"), ("--baseline .", "'.'")],
    "--policy": [("--policy missing.yaml", "missing.yaml"), ("--policy net.py", "net.py"), ("--policy ''", "policy")],
    "--junit": [("--junit missing/new.xml", "existing folder"), ("--junit base.json", "would overwrite an input file")],
    "--json": [("--json folder", "existing folder"), ("--json new --junit new", "is also the file of --junit")],
    "--markdown": [("--markdown folder", "existing folder"), ("--markdown ''", "--markdown")],
    "--format": [("--format xml", "--format: 'xml' is neither table nor json")],
    "--quiet": [("--quiet=yes", NO_VALUE)],
}
LISTS: Wrongs = {
    "--channels": [
        ("--channels 0", "--channels: 0 is not between 1 and"),
        ("--channels 4,,8", "--channels"),
        ("--channels 1.5", "--channels"),
        ("--channels ''", "--channels"),
        ("--channels 4,4", "--channels"),
        ("--channels 99999999999", "--channels"),
    ],
    "--elements": [("--elements 0", "--elements"), ("--elements x", "--elements"), ("--elements -2", "--elements")],
    "--spread": [("--spread -1", "--spread"), ("--spread nan", "--spread"), ("--spread 1e400", "--spread")],
    "--variance-spread": [
        ("--variance-spread -1", "--variance-spread"),
        ("--variance-spread nan", "--variance-spread"),
        ("--variance-spread inf", "--variance-spread"),
        ("--variance-spread x", "'--variance-spread'", "must be a number"),
    ],
    "--seed": [("--seed -1", "--seed"), ("--seed 1.5", "'--seed'", WHOLE)],
    "--format": [("--format xml", "format")],
    "--output": [
        ("--output missing/new.json", "existing folder"),
        ("--output new.png --plot new.png", "is also the file of"),
        ("--output ''", "--output"),
    ],
    "--plot": [("--plot new.gif", "must end in .png"), ("--plot folder.png", "existing folder")],
    "--quiet": [("--quiet=yes", NO_VALUE)],
}
RISK: Wrongs = {
    "--contamination": [
        ("--contamination gausian", "Did you mean 'gaussian'"),
        ("--contamination ''", "contamination"),
    ],
    "--estimator": [("--estimator sten", "Did you mean 'stein'"), ("--bn ''", "estimator")],
    "--strength": [
        ("--strength -1", "--strength"),
        ("--strength nan", "--strength"),
        ("--strength x", "must be a number"),
    ],
    "--offset": [("--offset inf", "--offset"), ("--offset x", "must be a number")],
    "--draws": [("--draws 0", "--draws"), ("--draws 1e3", "'--draws'", WHOLE)],
    **LISTS,
}
WITH_NETWORK = "--model net.py:make --data npz:test.npz --weights none"
LIPSCHITZ: Wrongs = {
    "--trust-code": [("--trust-code=yes", NO_VALUE)],
    "--offline": [("--offline=yes", NO_VALUE)],
    "--model": [("--model net.py:make", "applies to random batches; drop it or --model")],
    "--data": [("--data digits", "--data needs --model")],
    "--weights": [("--weights none", "--weights needs --model")],
    "--weights-key": [("--weights-key model", "--weights-key needs --model")],
    "--batch-size": [("--batch-size 0", "--batch-size"), ("--batch-size x", "'--batch-size'", WHOLE)],
    "--image-size": [("--image-size 8", "--image-size needs --model"), ("--image-size x", WHOLE)],
    "--mean": [("--mean 0.5", "--mean needs --model")],
    "--std": [("--std 0", "--std needs --model")],
    "--device": [("--device gpu", "--device needs --model")],
    "--bn": [("--bn sten", "Did you mean 'stein'"), ("--bn ''", "estimator")],
    "--starts": [("--starts 0", "--starts"), ("--starts x", "'--starts'", WHOLE)],
    **LISTS,
}
LIST: Wrongs = {
    "WHAT": [
        ("atacks", "'atacks' is not one of", "Did you mean 'attacks'"),
        ("''", "is not one of"),
    ],
    "[TEXT]": [("models zzzz", "no models with 'zzzz'"), ("bn a b", "unexpected extra argument")],
}
DOCTOR: Wrongs = {"--format": [("--format yaml", "--format", "Known: table, json"), ("--format ''", "--format")]}
SCHEMA: Wrongs = {
    "DOCUMENT": [
        ("reports", "'reports' is not one of", "Did you mean 'report'?"),
        ("report x", "unexpected extra argument"),
    ]
}
ROOT: Wrongs = {
    "COMMAND": [
        ("evaluat", "Did you mean 'evaluate'?"),
        ("''", "no such command"),
        ("theory rsk", "Did you mean 'risk'?"),
    ],
    "--version": [("--version=1", NO_VALUE), ("--versoin", "--versoin", "--version")],
    "--debug": [("--debug=yes", NO_VALUE)],
}
