"""Which function does which experiment."""

from rtstyle.export.lab import nets, painting

WORK = {
    "ratio": painting.ratio,
    "train-ratio": nets.train_ratio,
    "optimizers": painting.optimizers,
    "features": painting.features,
    "reconstruct": painting.reconstruct,
    "compare": nets.compare,
    "augment": painting.augment,
}
