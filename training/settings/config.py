"""The settings of a training run, as frozen data; no torch here, so that --help is quick."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.sampling.views import Views
from shards.command import UserError
from training.settings.head import Head
from training.settings.optimizer import Optimizer


@dataclass(frozen=True)
class Model:
    """The network.

    Attributes:
        backbone: spherenet4, 10, 20, 36 or 64; resnet50, 101 or 152; ir50, 101 or 152; irse50, 101 or 152; a network
            of another project in the layout of its files, such as iresnet50, mbf, vit_s or adaface-ir101; onnx, for
            the network of an ONNX file; or package.module:callable, called with size and embedding_size.
        embedding_size: numbers in an embedding.
        template: where the file of --teacher or --init-from takes landmarks to be, centred or paper, in place of what
            is known of it (default: what the file or its project says; centred for an ONNX file that says nothing).
        colour: RGB or BGR, the order in which that file takes colours (default: what the file or its project says).
        mean: a level x of a picture, 0..255, goes into the file's network as (x - mean) / deviation (default: what
            the file or its project says).
        deviation: see mean, of which it is the scale in levels (default: what the file or its project says).
        dropped_paths: of a vision transformer in training, the probability 0..1 that a branch of its last block is left
            out for a picture; it rises linearly from 0 in the first block (Huang et al., 2016).
        masked_patches: of a vision transformer without key points in training, the share 0..1 of the patches of a
            picture that no block sees.
    """

    backbone: str = "spherenet20"
    embedding_size: int = 512
    template: Literal["centred", "paper"] | None = None
    colour: Literal["RGB", "BGR"] | None = None
    mean: float | None = None
    deviation: float | None = None
    dropped_paths: float = 0.0
    masked_patches: float = 0.0

    def __post_init__(self) -> None:
        if self.deviation is not None and self.deviation <= 0:
            raise UserError(f"model.deviation {self.deviation}; give a number above 0")
        for name in ("dropped_paths", "masked_patches"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"model.{name} {getattr(self, name)}; give a value from 0 to below 1")


@dataclass(frozen=True)
class Losses:
    """The loss: classification of every view plus weight times the triplet loss across resolutions.

    Attributes:
        classification: cross-entropy or focal.
        focal_gamma: focusing parameter of the focal loss, an exponent; 0 is cross entropy.
        triplet_weight: weight (lambda) of the triplet loss; 0 leaves it out.
        triplet_margin: in units of 1 - cosine.
        triplets: joint: one batch-hard triplet loss over all views (published); octuplet: four, among full and reduced
            views, where a photo's other views are no positives (Knoche et al., 2023).
    """

    classification: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_gamma: float = 2.0
    triplet_weight: float = 1.0
    triplet_margin: float = 1.0
    triplets: Literal["joint", "octuplet"] = "joint"


@dataclass(frozen=True)
class Distillation:
    """What holds a network to a frozen teacher (--teacher), which sees every photo in full; all off by default.

    Attributes:
        full: weight of 1 - cosine between a full view's embedding and the teacher's of the same photo.
        reduced: weight of the same for the reduced views.
        full_triplet: weight of the triplet loss of full views among the teacher's embeddings.
        reduced_triplet: weight of the same for the reduced views.
        triplet_margin: of both triplet losses, in units of 1 - cosine.
    """

    full: float = 0.0
    reduced: float = 0.0
    full_triplet: float = 0.0
    reduced_triplet: float = 0.0
    triplet_margin: float = 0.3

    def __post_init__(self) -> None:
        for name in ("full", "reduced", "full_triplet", "reduced_triplet"):
            if getattr(self, name) < 0:
                raise UserError(f"distillation.{name} {getattr(self, name)}; give at least 0")

    @property
    def is_on(self) -> bool:
        """Whether any weight is above 0."""
        return max(self.full, self.reduced, self.full_triplet, self.reduced_triplet) > 0


@dataclass(frozen=True)
class Decoding:
    """How photos are decoded; no result depends on it but by what decoders round differently.

    Attributes:
        prefetch: batches decoded ahead, 1 or more; each takes memory of the device.
        hardware_load: share 0..1 of the photos for the JPEG unit of a GPU that has one (A100, H100 and later).
        threads: decoding threads of each process; 0 for its share of this machine's usable cores.
    """

    prefetch: int = 2
    hardware_load: float = 0.65
    threads: int = 0

    def __post_init__(self) -> None:
        if self.prefetch < 1:
            raise UserError(f"prefetch {self.prefetch}; give at least 1")
        if not 0 <= self.hardware_load <= 1:
            raise UserError(f"hardware_load {self.hardware_load}; give a value from 0 to 1")
        if self.threads < 0:
            raise UserError(f"threads {self.threads}; give 1 or more, or 0 for a share of the cores")


@dataclass(frozen=True)
class Config:
    """A training run; the defaults are the published method.

    Attributes:
        model: the network.
        size: side of the network's input in pixels; the shards must have it.
        views: the views of each identity.
        sampling: identity: an epoch visits every identity once (published); photo: every photo once, and all views
            of an item come from it.
        mix: share of each shard folder in a batch, in proportion; empty for equal shares.
        crop_share: probability 0..1 that a reduced view shows a real small picture of the person (--crops), where there
            is one.
        decoding: how photos are decoded.
        head: the classification head.
        losses: the loss terms.
        distillation: the loss terms against a teacher.
        optimizer: the optimiser and its schedule.
        batch: identities in a batch, over all processes.
        steps: steps of the run, a batch each; 0 for as many as the epochs make.
        epochs: epochs of the run, each as many steps as the identities (or, with sampling photo, the photos) make
            batches; 0 for as many as the steps make.
        trained_share: share 0..1 of the trained weights in final.pt; the rest is the weights that the run began with
            (Wortsman et al., 2022). Below 1 it keeps more of what a network could do before.
        seed: of the initial weights and of every draw.
        accumulate: parts in which each process embeds its share of a batch, for batches whose activations do not fit
            the memory. Training is the same to rounding; it costs one more forward pass.
        precision: float32, or bfloat16 for mixed precision.
        compile: compile the backbone by torch.compile: a minute at the start, faster steps; needs a C++ compiler on a
            CPU.
        log_every: steps between two lines of metrics.
        checkpoint_every: steps between two checkpoints.
        keep_checkpoints: newest checkpoints that stay, beside the first, the best and the last.
        validate_every: steps between two validations, 0 for none.
        largest_damaged_share: share of damaged photos, 0..1 of all, at which the run ends; each process counts those
            that it drew itself.
        timeout: seconds that a process waits for the others in a step before it takes them for dead.
    """

    model: Model = Model()
    size: int = 128
    views: Views = Views()
    sampling: Literal["identity", "photo"] = "identity"
    mix: tuple[float, ...] = ()
    crop_share: float = 0.5
    decoding: Decoding = Decoding()
    head: Head = Head()
    losses: Losses = Losses()
    distillation: Distillation = Distillation()
    optimizer: Optimizer = Optimizer()
    batch: int = 128
    steps: int = 100_000
    epochs: float = 0.0
    trained_share: float = 1.0
    seed: int = 0
    accumulate: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    log_every: int = 100
    checkpoint_every: int = 5_000
    keep_checkpoints: int = 3
    validate_every: int = 0
    largest_damaged_share: float = 0.001
    timeout: int = 45

    def __post_init__(self) -> None:
        counts = ("batch", "accumulate", "log_every", "checkpoint_every", "keep_checkpoints", "timeout")
        for name in counts if self.epochs > 0 else (*counts, "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}; give at least 1")
        if self.epochs and (self.epochs < 0 or self.steps):
            raise UserError(f"epochs {self.epochs} and steps {self.steps}; give one of them, and 0 for the other")
        falls, warmup = self.optimizer.schedule != "milestones", self.optimizer.warmup_steps
        if falls and self.steps and warmup >= self.steps:
            raise UserError(f"optimizer.warmup_steps {warmup} of a run of {self.steps} steps; give fewer")
        for name in ("trained_share", "crop_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} {getattr(self, name)}; give a value from 0 to 1")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON and checkpoints; tuples become lists."""
        return _plain(asdict(self))


# What may change between a run and its continuation, because no result depends on it but by rounding.
_FREE_TO_CHANGE = {
    "steps",
    "accumulate",
    "head.sharded",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "validate_every",
    "largest_damaged_share",
    "timeout",
    "compile",
    "decoding.prefetch",
    "decoding.threads",
    "decoding.hardware_load",
}


def refuse_changes(begun: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse to continue a run with other settings.

    A setting that the program did not have yet when the run started counts as started with its default, which
    always means what was done before.

    Raises:
        UserError: naming the first setting that differs and both values.
    """
    old, new = flat(Config().to_dict()) | flat(begun), flat(wanted)
    # Where the rate falls to the end of the run, it depends on where that is.
    free = _FREE_TO_CHANGE if new.get("optimizer.schedule") == "milestones" else _FREE_TO_CHANGE - {"steps"}
    for name in sorted(old.keys() | new.keys()):
        if name not in free and old.get(name) != new.get(name):
            raise UserError(
                f"the run was started with {name} {old.get(name)}, now {new.get(name)} is given; "
                "continue with the same settings or choose another --run-dir"
            )


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their full names, such as optimizer.momentum."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
