"""A metric: a function of logits and labels to a value for every sample, or to several of them by name."""


def confidence(logits, labels):
    """Confidence in the predicted class, and whether the label is among the three likeliest classes.

    Numbers are averaged, with an interval from their spread; booleans become a share with Wilson's interval.
    """
    return {
        "confidence": logits.softmax(1).amax(1),
        "top 3": (logits.topk(3).indices == labels[:, None]).any(1),
    }
