"""What NS-VQA's networks and the parser's training stages need, as typed settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from pyvqa.ops.render import TRAINING_QUALITY
from pyvqa.train.settings import OptimConfig, RunConfig, ScheduleConfig, TrainConfig, setting


@dataclass(kw_only=True)
class ParserConfig:
    """The shape of a question parser (defaults: Yi et al. 2018, ns-vqa reason/options)."""

    word_dim: int = setting(300, minimum=1)
    function_dim: int | None = None  # of function embeddings; none: as word_dim
    # Of one encoder direction; the decoder is twice as wide when the encoder is bidirectional.
    hidden: int = setting(256, minimum=1)
    layers: int = setting(2, minimum=1)
    bidirectional: bool = True
    attention: bool = True
    variable_lengths: bool = True  # false: the encoder also runs over the padding
    mask_padding: bool = True  # false: the original's attention over padding (model/parser.py)
    max_steps: int = setting(27, minimum=1)  # longest program written, <END> included
    # Share of silenced units behind encoder, hand-over, decoder and attention; imitation only.
    dropout: float = setting(0.0, minimum=0.0, below=1.0)
    word_vectors: str | None = None  # .npy [words, D]; sets word_dim to D
    freeze_words: bool = False


@dataclass(kw_only=True)
class DetectorConfig:
    """The shape and conventions of a Mask R-CNN (defaults: the published one, R-50-FPN)."""

    depth: int = 50  # of the ResNet: 10, 18, 34, 50 or 101
    widths: list[int] = field(default_factory=lambda: [64, 128, 256, 512])
    stride_first: bool = True  # the stride of a bottleneck is in its first convolution
    frozen_norm: bool = True  # folded batch norm that is not trained; false: batch norm
    frozen_stages: int = setting(2, minimum=0)  # stem and layers that are not trained
    pyramid_width: int = setting(256, minimum=1)
    head_width: int = setting(1024, minimum=1)
    mask_width: int = setting(256, minimum=1)
    anchor_size: float = setting(32.0, above=0.0)  # on the finest map; doubles with every level
    # What classes tell apart. combined: color, material and shape (48); shape: shape alone (3).
    categories: str = setting("combined", choices=("combined", "shape"))
    # Find objects whose shape is open: of classes that differ in shape alone, scores are added up.
    merge_shapes: bool = False
    # detectron: as published (pixel-inclusive boxes, widened mask targets; nn/box_rules.py).
    rules: str = setting("detectron", choices=("detectron", "modern"))
    short_side: int = setting(800, minimum=1)  # pictures are resized to this
    long_side: int = setting(1333, minimum=1)  # but not beyond this
    # caffe: blue, green, red minus the mean; imagenet: red, green, blue, also divided by their std.
    pixels: str = setting("caffe", choices=("caffe", "imagenet"))
    test_proposals: int = setting(1000, minimum=1)  # per level before, and in all after suppression
    train_proposals: int = setting(2000, minimum=1)
    train_rois: int = setting(512, minimum=1)  # regions trained on per picture
    score: float = setting(0.05, minimum=0.0, below=1.0)  # least score of a detection
    detections: int = setting(100, minimum=1)  # most per picture


@dataclass(kw_only=True)
class AttributesConfig:
    """The shape and input of an attribute network (defaults: the published one, but in RGB)."""

    depth: int = 34  # of the ResNet: 10, 18, 34, 50 or 101
    widths: list[int] = field(default_factory=lambda: [64, 128, 256, 512])
    size: int = setting(224, minimum=32)  # side of the square that the network sees
    # 0: that square holds the whole picture, as published. Else it is a window around the object,
    # so many times as wide as the object is long.
    window: float = setting(0.0, minimum=0.0)
    with_picture: bool = True  # what is around the object too; false: the object alone
    # As the published weights want it: blue, green, red under the means of red, green, blue.
    reverse_channels: bool = False
    # Normalise by the batch at hand also when applied, as the published tables were made.
    batch_statistics: bool = False


@dataclass(kw_only=True)
class PerceptionConfig:
    """Which detections are objects, and who names them (ns-vqa attr_net/tools)."""

    # An object's score is above this; chosen on pictures of the world, as iomin is. Published: 0.9.
    score: float = setting(0.6, minimum=0.0, below=1.0)
    # Drop the lesser of two objects with a higher overlap; off, as the original: both stay.
    suppression: bool = True
    iou: float = setting(0.5, minimum=0.0)  # intersection over union
    # Intersection over the smaller one: lenient, for slivers of what stands behind something else.
    iomin: float = setting(0.9, minimum=0.0)
    # Take color, material and shape from the detector where its classes tell them.
    category_labels: bool = True
    batch_size: int = setting(50, minimum=1)  # objects described at once


@dataclass(kw_only=True)
class DataConfig:
    """Question files (h5, `pyvqa prepare clevr-questions`), each with the scenes it asks about."""

    vocabulary: str = MISSING
    questions: list[str] = field(default_factory=list)
    scenes: list[str] = field(default_factory=list)
    limit: int = setting(0, minimum=0)  # questions used, from the front; 0: all
    val_questions: list[str] = field(default_factory=list)
    val_scenes: list[str] = field(default_factory=list)
    val_limit: int = setting(10_000, minimum=0)


@dataclass(kw_only=True)
class PretrainConfig(RunConfig):
    """Imitation of given programs (ns-vqa reason/tools/run_train.py)."""

    start: str | None = None  # model or run folder whose weights to begin with
    parser: ParserConfig = field(default_factory=ParserConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=7e-4))
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(kw_only=True)
class RewardConfig:
    """How drawn programs are judged."""

    # per_sample: each program by its own answer. batch_mean: all by the batch's mean reward, summed
    # losses and all steps, as the original (ns-vqa reason/trainer.py).
    mode: str = setting("per_sample", choices=("per_sample", "batch_mean"))
    samples: int = setting(8, minimum=1)  # programs drawn for each question; batch_mean: 1
    # With one sample (and in batch_mean) the baseline is a running mean that keeps this share.
    decay: float = setting(0.9, minimum=0.0, below=1.0)
    # Weight of the negative entropy of each step. In batch_mean summed, else a mean over programs.
    entropy: float = setting(0.0, minimum=0.0)
    grammar: bool = False  # draw well-typed programs only
    # Divide a question's advantages by their standard deviation, so that the few programs that are
    # right for a hard question count as much as the few that are wrong for an easy one.
    normalise: bool = False


@dataclass(kw_only=True)
class ImitationConfig:
    """Known programs to keep imitating beside REINFORCE; no files: none."""

    questions: list[str] = field(default_factory=list)
    weight: float = setting(1.0, minimum=0.0)
    batch_size: int = setting(32, minimum=1)


@dataclass(kw_only=True)
class CurriculumConfig:
    """Short questions first: from long ones a weak parser learns lucky shortcuts."""

    longest: int = setting(0, minimum=0)  # words of the longest question at first; 0: no curriculum
    growth: float = setting(0.02, above=0.0)  # words by which that rises with every batch


@dataclass(kw_only=True)
class ReinforceConfig(PretrainConfig):
    """REINFORCE on question-answer pairs; questions without a program are as good as any."""

    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=1e-5))
    reward: RewardConfig = field(default_factory=RewardConfig)
    imitation: ImitationConfig = field(default_factory=ImitationConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)


@dataclass(kw_only=True)
class WorldDataConfig:
    """Questions of the built-in world, made while training: no files, no scene twice."""

    # Folders of question templates; `own` is the package's. Blocks of 250 scenes take turns.
    templates: list[str] = field(default_factory=list)
    blocks: int = setting(8, minimum=1)  # blocks of 250 scenes in an epoch
    # Batches are cut from this many batches' worth of questions sorted by length; 1: not sorted.
    sort_batches: int = setting(8, minimum=1)
    # Free typing: share of words hidden as <UNK>, and of questions that begin without a capital.
    unknown: float = setting(0.004, minimum=0.0, below=1.0)
    lower: float = setting(0.2, minimum=0.0)
    val_blocks: int = setting(1, minimum=1)  # of each template folder


@dataclass(kw_only=True)
class WorldConfig(RunConfig):
    """Imitation of programs on an endless stream of the world's questions."""

    parser: ParserConfig = field(default_factory=ParserConfig)
    data: WorldDataConfig = field(default_factory=WorldDataConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=1e-3))
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(kw_only=True)
class PictureDataConfig:
    """Annotated pictures: a CLEVR-mini folder, or fresh ones of the built-in world."""

    root: str | None = None  # folder with images/ and the annotations; none: the world
    annotations: str = "CLEVR_mini_coco_anns.json"  # within root
    # Of a folder, pictures 0..pictures-1 train and the rest validate (ns-vqa's --split_id). Of the
    # world, so many make an epoch; every epoch has new ones.
    pictures: int = setting(3500, minimum=1)
    val_pictures: int = setting(200, minimum=0)  # of the world
    least_objects: int = setting(3, minimum=1)  # in a picture of the world to train on
    samples: int = setting(TRAINING_QUALITY, minimum=1)  # rays a pixel of the world's pictures


@dataclass(kw_only=True)
class DetectorTrainConfig(RunConfig):
    """Training of the detector (ns-vqa scene_parse/mask_rcnn/tools/train_net_step.py)."""

    init: str | None = None  # a ResNet's weight file (.pth, .safetensors) to begin with
    start: str | None = None  # or a model or run folder whose network to go on with
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    data: PictureDataConfig = field(default_factory=PictureDataConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(name="sgd", lr=0.01))
    # Biases may learn faster, and without weight decay, as Detectron's do.
    bias_rate: float = setting(1.0, above=0.0)
    bias_decay: bool = True
    # Scale momenta with the learning rate where that jumps, as the original does; torch's momenta
    # do not contain the rate, so this shrinks them once too often.
    scale_momentum: bool = False
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(kw_only=True)
class ObjectDataConfig(PictureDataConfig):
    """Annotated pictures whose objects are looked at one by one."""

    # Of a folder: detections paired with its objects (`pyvqa prepare clevr-objects`), to learn from
    # their masks instead of the true ones.
    objects: str | None = None
    # Share of objects shown with a mask as a detector draws it: coarse, and a little off.
    coarse: float = setting(0.0, minimum=0.0)


@dataclass(kw_only=True)
class AttributesTrainConfig(RunConfig):
    """Training of the attribute network (ns-vqa scene_parse/attr_net/tools/run_train.py)."""

    init: str | None = None  # a ResNet's weight file (.pth, .safetensors) to begin with
    start: str | None = None  # or a model or run folder whose network to go on with
    attributes: AttributesConfig = field(default_factory=AttributesConfig)
    data: ObjectDataConfig = field(default_factory=ObjectDataConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=2e-3))
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
