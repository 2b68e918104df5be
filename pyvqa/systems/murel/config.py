"""What MuRel's networks and runs need, as typed settings; defaults are the published VQA 2 ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from pyvqa.train.settings import OptimConfig, RunConfig, ScheduleConfig, setting

FUSION_NAMES = (
    "block",
    "block_tucker",
    "mutan",
    "tucker",
    "mlb",
    "mfb",
    "mfh",
    "mcb",
    "linear_sum",
    "cat_mlp",
)


@dataclass(kw_only=True)
class FusionConfig:
    """A fusion and its options (pyvqa.nn.fusions); what is left out is as the type has it.

    An option that the type does not have is an error, so set those of another type to null.
    """

    type: str = setting("block", choices=FUSION_NAMES)
    mm_dim: int | None = setting(None, minimum=1)  # width in which the two sides meet
    chunks: int | None = setting(None, minimum=1)
    rank: int | None = setting(None, minimum=1)
    factor: int | None = setting(None, minimum=1)
    shared: bool | None = None  # one projection for both sides
    normalize: bool | None = None
    pos_norm: str | None = None  # before_cat: each chunk by itself; after_cat: all together
    # Names of torch's activations, or none.
    activ_input: str | None = None
    activ_output: str | None = None
    activation: str | None = None
    dimensions: list[int] | None = None  # widths of the hidden layers of cat_mlp
    # Shares of silenced entries.
    dropout: float | None = setting(None, minimum=0.0, below=1.0)
    dropout_input: float | None = setting(None, minimum=0.0, below=1.0)
    dropout_pre_lin: float | None = setting(None, minimum=0.0, below=1.0)
    dropout_pre_norm: float | None = setting(None, minimum=0.0, below=1.0)
    dropout_output: float | None = setting(None, minimum=0.0, below=1.0)


@dataclass(kw_only=True)
class QuestionConfig:
    """The question encoder (skip-thoughts.torch; murel's txt_enc)."""

    # The original's classes. bayesian: a dropout mask for each gate, kept through the sentence;
    # drop: one mask for words and one for the state; uni: no dropout; bi: two directions.
    encoder: str = setting("bayesian", choices=("bayesian", "uni", "drop", "bi"))
    word_dim: int = setting(620, minimum=1)
    hidden: int = setting(2400, minimum=1)  # of all directions together
    dropout: float = setting(0.25, minimum=0.0, below=1.0)  # bayesian and drop; 0 for the others
    # Folder with the published skip-thoughts files to begin with; none: random weights.
    skip_thoughts: str | None = None
    freeze_words: bool = False
    attention: bool = True  # over words; false: the state after the last word
    attention_hidden: int = setting(512, minimum=1)
    glimpses: int = setting(2, minimum=1)


def _pair() -> FusionConfig:
    return FusionConfig(mm_dim=200, chunks=5, rank=5)


@dataclass(kw_only=True)
class PairwiseConfig:
    """Relations between regions; null for a fusion leaves it out."""

    coordinates: FusionConfig | None = field(default_factory=_pair)
    features: FusionConfig | None = field(default_factory=_pair)
    aggregate: str = "max"  # over neighbours; see model/aggregate.py
    residual: bool = True
    # As the code of the paper's time: no gradient into the regions through the pairs.
    detach_inputs: bool = False


@dataclass(kw_only=True)
class RelationConfig:
    """The MuRel cell and how it is repeated (murel/models/networks/murel_net.py)."""

    steps: int = setting(3, minimum=1)
    shared: bool = True  # one cell for all steps
    fusion: FusionConfig = field(
        default_factory=lambda: FusionConfig(mm_dim=1000, chunks=20, rank=15, dropout_input=0.1)
    )
    residual: bool = True
    pairwise: PairwiseConfig | None = field(default_factory=PairwiseConfig)
    # Over regions, in the end. Several side by side are joined by +: max+mean also lets it count.
    aggregate: str = "max"


@dataclass(kw_only=True)
class AttentionConfig:
    """Attention over regions (block/models/networks/vqa_net.py)."""

    fusion: FusionConfig = field(
        default_factory=lambda: FusionConfig(mm_dim=1600, chunks=20, rank=10, dropout_input=0.1)
    )
    width: int = setting(1, minimum=1)  # of the fusion's output
    # Glimpses scored from that output by two layers; 0: the output is the scores.
    glimpses: int = setting(0, minimum=0)
    hidden: int = setting(512, minimum=1)  # between those two layers


@dataclass(kw_only=True)
class NetworkConfig:
    """A whole network: exactly one of `relation` (MuRel) and `attention` (the baseline) is set."""

    region_dim: int = setting(2048, minimum=1)
    region_scale: float = setting(1.0, above=0.0)  # features are multiplied by this first
    question: QuestionConfig = field(default_factory=QuestionConfig)
    relation: RelationConfig | None = field(default_factory=RelationConfig)
    attention: AttentionConfig | None = None
    classify: FusionConfig = field(
        default_factory=lambda: FusionConfig(mm_dim=1600, chunks=20, rank=10, dropout_input=0.1)
    )
    # default: as torch initialises each layer; glorot: every matrix anew by Glorot's uniform rule,
    # every vector 0 (also words that skip_thoughts or the encoder had given).
    initialise: str = setting("default", choices=("default", "glorot"))


@dataclass(kw_only=True)
class QuestionDataConfig:
    """The questions to learn from and the regions of their pictures."""

    root: str = MISSING  # folder written by `pyvqa prepare vqa2`, vqacp2 or tdiuc
    # Feature stores; [] replaces all features by zeros, to see what questions alone can tell.
    features: list[str] = MISSING
    train_split: str = "train"
    val_split: str = "val"
    val_limit: int = setting(0, minimum=0)  # validate on the first so many; 0: on all
    # Draw each target from what people answered, anew in every epoch; false: the one answer.
    sample_answers: bool = True


@dataclass(kw_only=True)
class AnswersConfig(RunConfig):
    """A run of `murel/answers`: MuRel or the baseline learns to answer questions."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    data: QuestionDataConfig = field(default_factory=QuestionDataConfig)
    # cross_entropy: one target a question; scores: binary cross entropy over all answers, each
    # worth what the official accuracy gives for it.
    loss: str = setting("cross_entropy", choices=("cross_entropy", "scores"))
    # Where the original clips, which none of its options says: at 0.25.
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=6e-4, clip_norm=0.25))
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
