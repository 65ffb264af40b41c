"""All settings of the prior's training."""

from __future__ import annotations

from dataclasses import dataclass

from wire.errors import InputError


@dataclass(frozen=True)
class PriorTraining:
    """The defaults made the shipped weights.

    data: folder with the CIFAR-10 array files (:mod:`victims.image.cifar`). device: ``cpu`` or ``cuda``.
    pictures: how many of the training pictures; 0 is all. publish: write folder, card and sample sheet to ``into``
    (empty: the shipped weights) when done. judge: checkpoint of a CIFAR ResNet that checks class words for the card.
    measured, samples, sampling: how many pictures and samples the card's figures are taken on, and steps a sample.

    Rates are constant after ``warmup`` steps and fall along a cosine over the stage's last ``decay`` steps, so that a
    training can be lengthened by asking for more ``steps``: nothing before the decay depends on their number. The
    exported weights are the exponential moving average.
    """

    data: str = ""
    device: str = "cpu"
    seed: int = 0
    pictures: int = 0
    width: int = 32
    autoencoder_steps: int = 4600
    autoencoder_batch: int = 64
    autoencoder_rate: float = 1e-3
    autoencoder_decay: int = 2000
    steps: int = 20000
    batch: int = 64
    rate: float = 1e-3
    decay: int = 2000
    warmup: int = 100
    averaging: float = 0.999
    channels: tuple[int, ...] = (32, 64, 128)
    heads: int = 4
    dropout: float = 0.0
    no_text: float = 0.15
    snr_limit: float = 5.0
    checkpoint_seconds: float = 300.0
    publish: bool = False
    into: str = ""
    judge: str = ""
    measured: int = 1000
    samples: int = 420
    sampling: int = 20

    def __post_init__(self) -> None:
        for name in ("autoencoder_steps", "autoencoder_batch", "steps", "batch", "width"):
            if getattr(self, name) < 1:
                raise InputError(f"prior training: {name} is {getattr(self, name)}; accepted: at least 1")
        for name in ("averaging", "no_text", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"prior training: {name} is {getattr(self, name)}; accepted: 0 to below 1")
        if self.device not in ("cpu", "cuda"):
            raise InputError(f"prior training: device {self.device!r}; accepted: cpu, cuda")
        if isinstance(self.channels, str):  # a command line gives 64,96,128
            try:
                object.__setattr__(self, "channels", tuple(int(part) for part in self.channels.split(",")))
            except ValueError as error:
                raise InputError(f"prior training: channels {self.channels!r}; accepted: such as 32,64,128") from error
