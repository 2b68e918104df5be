"""From settings to networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from pyvqa.data.pictures import shrink_picture
from pyvqa.errors import ConfigError, DataError
from pyvqa.nn.box_rules import DETECTRON, MODERN
from pyvqa.nn.images import (
    CAFFE_MEAN,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageBatch,
    fit_scale,
    prepare_images,
)
from pyvqa.nn.mask_rcnn import Limits, MaskRcnn
from pyvqa.nn.norm import FrozenAffine, SharedBatchNorm2d
from pyvqa.nn.resnet import DEPTHS, ResNet
from pyvqa.systems.ns_vqa.config import AttributesConfig, DetectorConfig, ParserConfig
from pyvqa.systems.ns_vqa.model.attributes import AttributeNetwork
from pyvqa.systems.ns_vqa.model.detector import CLASSES, SHAPES
from pyvqa.systems.ns_vqa.model.parser import QuestionParser


def build_parser(config: ParserConfig, words: int, functions: int) -> QuestionParser:
    """Make a parser with fresh weights for vocabularies of the given sizes.

    Raises:
        DataError: the file of word vectors is unreadable or does not fit the vocabulary.
    """
    vectors = None if config.word_vectors is None else _read_vectors(config.word_vectors, words)
    if vectors is not None:
        function_dim = config.function_dim or config.word_dim
        config = replace(config, word_dim=vectors.shape[1], function_dim=function_dim)
    parser = QuestionParser(
        words,
        functions,
        word_dim=config.word_dim,
        function_dim=config.function_dim,
        hidden=config.hidden,
        layers=config.layers,
        bidirectional=config.bidirectional,
        attention=config.attention,
        variable_lengths=config.variable_lengths,
        mask_padding=config.mask_padding,
        max_steps=config.max_steps,
        dropout=config.dropout,
    )
    if vectors is not None:
        with torch.no_grad():
            parser.word_embedding.weight.copy_(vectors)
    parser.word_embedding.weight.requires_grad_(not config.freeze_words)
    return parser


def build_detector(config: DetectorConfig) -> MaskRcnn:
    """Make a detector with fresh weights.

    Raises:
        ConfigError: there is no such depth, or there are not four widths.
    """
    backbone = ResNet(
        _known(config.depth, "detector.depth"),
        widths=_four(config.widths, "detector.widths"),
        norm=FrozenAffine if config.frozen_norm else SharedBatchNorm2d,
        stride_first=config.stride_first,
    )
    backbone.freeze(config.frozen_stages)
    return MaskRcnn(
        backbone,
        CLASSES[config.categories],
        rules=DETECTRON if config.rules == "detectron" else MODERN,
        limits=Limits(
            test_per_level=config.test_proposals,
            test_proposals=config.test_proposals,
            train_per_level=config.train_proposals,
            train_proposals=config.train_proposals,
            rois=config.train_rois,
            score=config.score,
            detections=config.detections,
            kinds=len(SHAPES) if config.merge_shapes else 1,
        ),
        width=config.pyramid_width,
        head_width=config.head_width,
        mask_width=config.mask_width,
        anchor_size=config.anchor_size,
    )


def prepare_pictures(config: DetectorConfig, pictures: Sequence[torch.Tensor]) -> ImageBatch:
    """Prepare RGB pictures, uint8 [H, W, 3] each, for a detector of these settings.

    Pictures more than twice too large are first made twice too large, smoothly: the resizing of
    `prepare_images` would leave most of their pixels out.
    """
    caffe = config.pixels == "caffe"
    short, long = config.short_side, config.long_side
    sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
    scales = [fit_scale(size, short, long) for size in sizes]
    smooth = [
        shrink_picture(picture, math.ceil(2 * scale * max(size))) if scale < 0.5 else picture
        for picture, size, scale in zip(pictures, sizes, scales, strict=True)
    ]
    batch = prepare_images(
        smooth,
        short=short,
        long=long,
        mean=CAFFE_MEAN if caffe else IMAGENET_MEAN,
        std=(1.0, 1.0, 1.0) if caffe else IMAGENET_STD,
        reverse_channels=caffe,
    )
    return batch._replace(originals=sizes, scales=scales)


def build_attributes(config: AttributesConfig) -> AttributeNetwork:
    """Make an attribute network with fresh weights.

    Raises:
        ConfigError: there is no such depth, or there are not four widths.
    """
    return AttributeNetwork(
        _known(config.depth, "attributes.depth"),
        widths=_four(config.widths, "attributes.widths"),
        size=config.size,
        window=config.window,
        with_picture=config.with_picture,
        reverse_channels=config.reverse_channels,
        batch_statistics=config.batch_statistics,
        norm=SharedBatchNorm2d,
    )


def _known(depth: int, name: str) -> int:
    if depth not in DEPTHS:
        raise ConfigError(f"{name}: {depth}; it must be one of {', '.join(map(str, DEPTHS))}")
    return depth


def _four(widths: Sequence[int], name: str) -> list[int]:
    if len(widths) != 4 or min(widths) < 1:
        raise ConfigError(f"{name}: {list(widths)}; four positive numbers are needed")
    return list(widths)


def _read_vectors(path: str, words: int) -> torch.Tensor:
    try:
        vectors = np.load(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an array of word vectors ({error})") from error
    if vectors.ndim != 2 or vectors.shape[0] != words or vectors.dtype.kind != "f":
        raise DataError(
            f"{path}: {vectors.dtype} of shape {vectors.shape}; a float array [{words}, D] with "
            "one row per word of the vocabulary is needed"
        )
    return torch.from_numpy(vectors.astype(np.float32))
