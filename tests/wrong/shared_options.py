"""Options that several commands have, with values that are wrong."""

from __future__ import annotations

Wrongs = dict[str, list[tuple[str, ...]]]
"""By option or argument: the words added to the command, and parts of the line."""

WHOLE = "must be a whole number"
NO_VALUE = "does not take a value"

SCALING: Wrongs = {
    "--mean": [
        ("--mean a,b,c", "mean is not a number: 'a'"),
        ("--mean 0.5,,0.5", "mean has a comma without a number"),
        ("--mean 123,117,104", "divide mean and std by 255"),
        ("--mean 0.5,0.5", "2 values"),
        ("--mean nan", "nan"),
    ],
    "--std": [
        ("--std 0", "--std: must be above 0"),
        ("--std 0.5,-1,0.5", "--std: must be above 0"),
        ("--std 0.2,0.2,", "std has a comma without a number"),
        ("--std inf", "inf"),
        ("--std 58,57,57", "divide mean and std by 255"),
    ],
}
NETWORK: Wrongs = {
    "--device": [("--device gpu", "--device: input should be 'auto', 'cpu', 'cuda' or 'mps'")],
    "--image-size": [
        ("--image-size 0", "--image-size: input should be greater than or equal to 1"),
        ("--image-size -8", "--image-size"),
        ("--image-size 8x8", "'--image-size'", WHOLE),
        ("--image-size 100000000", "--image-size"),
    ],
    "--seed": [
        ("--seed -1", "--seed: input should be greater than or equal to 0"),
        ("--seed 99999999999999999999", "--seed"),
        ("--seed 1.5", "'--seed'", WHOLE),
    ],
    "--weights-key": [
        ("--weights-key ''", "--weights-key"),
        ("--weights-key ema", "--weights-key"),
        ("--weights net.safetensors --weights-key ema", "ema"),
    ],
}
