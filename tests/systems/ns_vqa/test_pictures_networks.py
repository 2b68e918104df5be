"""Detector and attribute network: their settings, classes, inputs and model folders."""

from __future__ import annotations

import pytest
import torch

from pyvqa.cli.main import main
from pyvqa.errors import CheckpointError, ConfigError
from pyvqa.nn.mask_rcnn import MaskRcnn
from pyvqa.systems.ns_vqa.build import (
    build_attributes,
    build_detector,
    build_parser,
    prepare_pictures,
)
from pyvqa.systems.ns_vqa.config import (
    AttributesConfig,
    DetectorConfig,
    ParserConfig,
    PerceptionConfig,
)
from pyvqa.systems.ns_vqa.convert import export_model, import_model
from pyvqa.systems.ns_vqa.folder import (
    AttributesPart,
    DetectorPart,
    read_attributes,
    read_config,
    read_detector,
    read_parser,
    write_model,
    write_parser,
)
from pyvqa.systems.ns_vqa.model.attributes import (
    BLOCKS,
    NUMBERS,
    attribute_inputs,
    attribute_targets,
    decode_attributes,
    window_inputs,
)
from pyvqa.systems.ns_vqa.model.detector import (
    CLASSES,
    COLORS,
    MATERIALS,
    SHAPES,
    attributes_of,
    class_of,
)
from pyvqa.systems.ns_vqa.upstream import (
    attributes_from_upstream,
    attributes_to_upstream,
    detector_from_upstream,
    detector_to_upstream,
)
from pyvqa.train.checkpoint import read_torch

LIGHT = {
    "depth": 10,
    "widths": [8, 8, 16, 16],
    "stride_first": False,
    "frozen_norm": False,
    "frozen_stages": 0,
    "pyramid_width": 16,
    "head_width": 32,
    "mask_width": 8,
    "rules": "modern",
    "pixels": "imagenet",
    "short_side": 64,
}


def light(**changes) -> DetectorConfig:
    return DetectorConfig(**(LIGHT | changes))


def discs(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (80, 120, 3), dtype=torch.uint8, generator=generator)
    y, x = torch.meshgrid(torch.arange(80), torch.arange(120), indexing="ij")
    masks = [(y - 20 * k - 15) ** 2 + (x - 40 * k - 15) ** 2 <= 150 for k in range(count)]
    return picture, torch.stack(masks)


# ---- classes


def test_classes_are_numbered_as_published():
    assert class_of({"color": "blue", "material": "rubber", "shape": "cube"}) == 1
    assert class_of({"color": "blue", "material": "metal", "shape": "cube"}) == 4
    assert class_of({"color": "yellow", "material": "metal", "shape": "sphere"}) == 48
    assert CLASSES == {"combined": 49, "shape": 4}
    assert [class_of({"shape": shape}, "shape") for shape in SHAPES] == [1, 2, 3]


def test_classes_and_attributes_are_inverse():
    seen = [attributes_of(label) for label in range(1, 49)]
    assert [class_of(known) for known in seen] == list(range(1, 49))
    assert len({tuple(known.values()) for known in seen}) == 48
    assert {known["color"] for known in seen} == set(COLORS) == set(BLOCKS["color"])
    assert {known["material"] for known in seen} == set(MATERIALS) == set(BLOCKS["material"])
    assert attributes_of(3, "shape") == {"shape": "sphere"}


@pytest.mark.parametrize(("label", "categories"), [(0, "combined"), (49, "combined"), (4, "shape")])
def test_unknown_classes_are_refused(label, categories):
    with pytest.raises(ValueError, match=f"class {label} is not among"):
        attributes_of(label, categories)


# ---- settings


def test_light_detector_runs():
    config = light()
    network = build_detector(config).eval()
    batch = prepare_pictures(config, [discs()[0]])
    assert batch.pixels.shape == (1, 3, 64, 96)
    assert network.detect(batch)[0].boxes.shape[1] == 4
    assert sum(p.numel() for p in network.parameters()) < 100_000


def test_detector_settings_reach_the_network():
    config = light(
        categories="shape",
        rules="detectron",
        anchor_size=16.0,
        test_proposals=7,
        train_proposals=9,
        train_rois=11,
        score=0.4,
        detections=3,
        merge_shapes=True,
    )
    network = build_detector(config)
    limits = network.limits
    assert limits.kinds == 3
    assert build_detector(light()).limits.kinds == 1
    assert network.classes == 4
    assert network.rules.inclusive
    assert (limits.test_per_level, limits.test_proposals) == (7, 7)
    assert (limits.train_per_level, limits.train_proposals) == (9, 9)
    assert (limits.rois, limits.score, limits.detections) == (11, 0.4, 3)
    anchor = network.proposer.cells0[1]
    assert (anchor[2:] - anchor[:2] + 1).tolist() == [16, 16]


def test_frozen_stages_and_norms():
    frozen = build_detector(light(frozen_stages=2, frozen_norm=True)).backbone
    assert not any(p.requires_grad for p in frozen.layer1.parameters())
    assert all(p.requires_grad for p in frozen.layer2.parameters())
    assert "running_mean" not in frozen.bn1.state_dict()
    assert "running_mean" in build_detector(light()).backbone.bn1.state_dict()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_detector(light(depth=20)), "detector.depth: 20"),
        (lambda: build_detector(light(widths=[8, 8])), "detector.widths"),
        (lambda: build_attributes(AttributesConfig(depth=1)), "attributes.depth: 1"),
        (lambda: build_attributes(AttributesConfig(widths=[0, 1, 1, 1])), "attributes.widths"),
    ],
)
def test_impossible_settings_are_explained(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


# ---- inputs and outputs of the attribute network


@pytest.mark.parametrize("size", [224, 96])
def test_inputs_are_laid_out_as_described(size):
    picture, masks = discs()
    inputs = attribute_inputs(picture, masks, size=size)
    height = size * 80 // 120
    top = (size - height + 1) // 2
    assert inputs.shape == (3, 6, size, size)
    assert not inputs[:, :, :top].any()
    assert not inputs[:, :, top + height :].any()
    black = (0 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    # The last corner of the picture belongs to no object.
    torch.testing.assert_close(inputs[0, :3, top + height - 1, -1], black)
    assert torch.equal(inputs[0, 3:], inputs[1, 3:])
    assert inputs[0, :3, top + height // 4, size // 8].gt(black).all()


def test_each_object_is_the_picture_under_its_mask():
    picture, masks = discs()
    together = attribute_inputs(picture, masks)
    for row in range(3):
        alone = attribute_inputs(picture * masks[row, ..., None], torch.ones_like(masks[:1]))
        assert torch.equal(together[row, :3], alone[0, :3])
        assert torch.equal(alone[0, :3], alone[0, 3:])


def test_empty_masks_and_no_objects():
    picture, masks = discs()
    empty = attribute_inputs(picture, torch.zeros_like(masks[:1]))
    black = attribute_inputs(torch.zeros_like(picture), masks[:1])
    assert torch.equal(empty[:, :3], black[:, :3])
    assert attribute_inputs(picture, masks[:0]).shape == (0, 6, 224, 224)


def test_a_window_shows_the_object_its_mask_and_its_place():
    picture, masks = discs()  # circles of radius 12 around (15, 15), (55, 35), (95, 55)
    inputs = window_inputs(picture, masks, size=49, window=1.96)  # 49 of 25: a sample a pixel
    assert inputs.shape == (3, 6, 49, 49)
    cut = picture[11:60, 31:80].permute(2, 0, 1) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (cut - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(inputs[1, :3], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(inputs[1, 3], masks[1, 11:60, 31:80].float())
    x = (torch.arange(31, 80) + 0.5 - 60) / 60
    y = (torch.arange(11, 60) + 0.5 - 40) / 60
    torch.testing.assert_close(inputs[1, 4], x.expand(49, 49))
    torch.testing.assert_close(inputs[1, 5], y[:, None].expand(49, 49))
    # The first window reaches 9 pixels beyond the corner of the picture.
    assert not inputs[0, :4, :8].any()
    assert not inputs[0, :4, :, :8].any()
    assert inputs[0, :3, 12:, 12:].ne(0).all()


def test_a_window_can_hide_what_is_around_the_object():
    picture, masks = discs()
    whole, alone = (window_inputs(picture, masks, with_picture=w) for w in (True, False))
    assert torch.equal(alone[:, 3:], whole[:, 3:])
    assert torch.equal(alone[:, :3], whole[:, :3] * whole[:, 3:4])
    assert not torch.equal(alone, whole)


def test_windows_are_of_the_object_whatever_its_size():
    """A picture made three times as large shows the same through its windows."""
    picture, masks = discs()
    small = window_inputs(picture, masks, size=24)
    large = window_inputs(
        picture.repeat_interleave(3, 0).repeat_interleave(3, 1),
        masks.repeat_interleave(3, 1).repeat_interleave(3, 2),
        size=24,
    )
    torch.testing.assert_close(small[:, 4:], large[:, 4:], rtol=0, atol=1e-5)
    # Interpolation between pixels three times as fine makes small differences.
    assert (small[:, 3] - large[:, 3]).abs().mean() < 0.05


def test_windows_without_objects_or_pixels():
    picture, masks = discs()
    assert window_inputs(picture, masks[:0]).shape == (0, 6, 96, 96)
    empty = torch.zeros_like(masks)
    empty[1] = masks[1]
    inputs = window_inputs(picture, empty)
    assert not inputs[0].any()
    torch.testing.assert_close(inputs[1], window_inputs(picture, masks)[1])


def test_the_network_looks_through_its_window():
    picture, masks = discs()
    config = AttributesConfig(depth=10, widths=[8, 8, 8, 8], size=32, window=1.5)
    network = build_attributes(config).eval()
    torch.testing.assert_close(
        network.inputs(picture, masks), window_inputs(picture, masks, size=32, window=1.5)
    )
    assert network(network.inputs(picture, masks)).shape == (3, NUMBERS)


def test_channels_can_be_reversed():
    picture, masks = discs()
    ours = attribute_inputs(picture, masks, reverse_channels=True)
    assert torch.equal(ours, attribute_inputs(picture.flip(2), masks))


def test_upright_pictures_lie_in_the_middle():
    picture, masks = discs()
    upright = attribute_inputs(picture.transpose(0, 1), masks.transpose(1, 2), size=60)
    assert not upright[:, :, :, :10].any()
    assert upright[:, :, :, 10:50].ne(0).all()
    assert not upright[:, :, :, 50:].any()


def test_targets_and_decoding_are_inverse():
    known = [
        {
            "shape": "cube",
            "size": "small",
            "material": "metal",
            "color": "cyan",
            "position": [1.5, -2.0, 0.25],
        },
        {
            "shape": "sphere",
            "size": "large",
            "material": "rubber",
            "color": "yellow",
            "position": [0.0, 0.5, 0.75],
        },
    ]
    numbers = attribute_targets(known)
    assert numbers.shape == (2, NUMBERS)
    assert numbers[:, :15].sum(1).tolist() == [4, 4]
    assert decode_attributes(numbers) == known
    assert attribute_targets([]).shape == (0, NUMBERS)


def test_results_depend_on_the_batch_only_when_asked_to():
    torch.manual_seed(0)
    inputs = attribute_inputs(*discs(), size=64)
    for by_batch in (False, True):
        config = AttributesConfig(depth=10, widths=[8] * 4, size=64, batch_statistics=by_batch)
        network = build_attributes(config).eval()
        with torch.no_grad():
            same = torch.allclose(network(inputs)[:2], network(inputs[:2]), atol=1e-5)
        assert same is not by_batch
        assert not any(module.training for module in network.modules())


def test_object_alone():
    config = AttributesConfig(depth=10, widths=[8] * 4, size=64, with_picture=False)
    network = build_attributes(config).eval()
    inputs = network.inputs(*discs())
    assert inputs.shape == (3, 3, 64, 64)
    assert network(inputs).shape == (3, NUMBERS)


# ---- model folders


def test_folder_of_two_networks(tmp_path):
    torch.manual_seed(0)
    config = light()
    settings = AttributesConfig(depth=10, widths=[8] * 4, size=64)
    detector = DetectorPart(build_detector(config), config)
    attributes = AttributesPart(build_attributes(settings), settings)
    write_model(tmp_path, "", detector=detector, attributes=attributes, dtype=torch.float32)
    again, their_config = read_detector(tmp_path)
    assert isinstance(again, MaskRcnn)
    assert their_config == config
    assert not again.training
    for name, value in detector.network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    network, their_settings = read_attributes(tmp_path)
    assert their_settings == settings
    for name, value in attributes.network.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
    with pytest.raises(CheckpointError, match="holds no parser"):
        read_parser(tmp_path)


@pytest.mark.parametrize("read", [read_detector, read_attributes])
def test_folder_of_a_parser_alone(small, tmp_path, read):
    config = ParserConfig(word_dim=6, hidden=5)
    words, functions = len(small.vocabulary.words), len(small.vocabulary.functions)
    write_parser(tmp_path, build_parser(config, words, functions), config, small.vocabulary, "")
    with pytest.raises(CheckpointError, match=r"holds no (detector|attributes)"):
        read(tmp_path)


def test_half_precision_halves_the_file(tmp_path):
    config = light()
    part = DetectorPart(build_detector(config), config)
    for name, dtype in (("full", torch.float32), ("half", torch.float16)):
        (tmp_path / name).mkdir()
        write_model(tmp_path / name, "", detector=part, dtype=dtype)
    sizes = [(tmp_path / n / "detector.safetensors").stat().st_size for n in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]


# ---- converters


def published_attributes() -> dict:
    torch.manual_seed(0)
    network = build_attributes(AttributesConfig(reverse_channels=True))
    return attributes_to_upstream(network.state_dict())


def test_attributes_there_and_back(tmp_path, capsys):
    original = published_attributes()
    torch.save(original, tmp_path / "attribute_net.pt")
    command = ["convert", "ns-vqa", str(tmp_path / "attribute_net.pt")]
    assert main([*command, "--out", str(tmp_path / "model")]) == 0
    assert f"{len(original['model_state'])} tensors, none left over" in capsys.readouterr().out
    settings = read_attributes(tmp_path / "model").config
    assert (settings.reverse_channels, settings.batch_statistics) == (True, True)
    back = ["convert", "ns-vqa", str(tmp_path / "model"), "--back", "--network", "attributes"]
    assert main([*back, "--out", str(tmp_path / "back.pt")]) == 0
    again = read_torch(tmp_path / "back.pt")
    assert (again["input_channels"], again["output_dim"]) == (6, 18)
    assert again["model_state"].keys() == original["model_state"].keys()
    for name, value in original["model_state"].items():
        assert torch.equal(again["model_state"][name], value), name


@pytest.mark.parametrize("categories", CLASSES)
def test_detector_there_and_back(categories):
    torch.manual_seed(0)
    network = build_detector(DetectorConfig(categories=categories))
    original = detector_to_upstream(network.state_dict())
    config, weights, unplaced = detector_from_upstream(original)
    assert (config.categories, unplaced) == (categories, [])
    assert len(original["model"]) == 201
    assert weights.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(weights[name], value), name
    assert original["model"]["Conv_Body.conv_top.weight"].shape == (256, 2048, 1, 1)
    assert torch.equal(
        original["model"]["Conv_Body.posthoc_modules.0.weight"], weights["pyramid.outputs.3.weight"]
    )


def test_leftover_keys_are_listed(tmp_path):
    original = published_attributes()
    original["model_state"]["main.8.weight"] = torch.zeros(1)
    torch.save(original, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"no place for main\.8\.weight"):
        import_model([tmp_path / "odd.pt"], None, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_missing_weights_are_refused(tmp_path):
    original = published_attributes()
    del original["model_state"]["main.4.0.conv1.weight"]
    torch.save(original, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"layer1\.0\.conv1\.weight"):
        import_model([tmp_path / "odd.pt"], None, tmp_path / "model")


def test_two_files_of_one_network_are_refused(tmp_path):
    torch.save(published_attributes(), tmp_path / "one.pt")
    with pytest.raises(CheckpointError, match="adds no network"):
        import_model([tmp_path / "one.pt"] * 2, None, tmp_path / "model")


def test_other_files_are_refused():
    with pytest.raises(CheckpointError, match="not a detector"):
        detector_from_upstream({"model": {"a.weight": torch.zeros(1)}})
    with pytest.raises(CheckpointError, match="tells 7 classes apart"):
        detector_from_upstream({"model": {"Box_Outs.cls_score.bias": torch.zeros(7)}})
    with pytest.raises(CheckpointError, match="input_channels"):
        attributes_from_upstream({"model_state": {}, "input_channels": 4})
    with pytest.raises(CheckpointError, match="output_dim is 19"):
        attributes_from_upstream({"model_state": {}, "input_channels": 6, "output_dim": 19})


def test_a_parser_needs_its_vocabulary(tmp_path):
    torch.save({"net_params": {}, "net_state": {}}, tmp_path / "parser.pt")
    with pytest.raises(ConfigError, match="--vocab is required"):
        import_model([tmp_path / "parser.pt"], None, tmp_path / "model")


@pytest.mark.parametrize("network", ["detector", "attributes"])
def test_what_the_original_cannot_run_is_not_exported(tmp_path, network):
    config, settings = light(), AttributesConfig(depth=10, widths=[8] * 4)
    write_model(
        tmp_path,
        "",
        detector=DetectorPart(build_detector(config), config),
        attributes=AttributesPart(build_attributes(settings), settings),
    )
    with pytest.raises(CheckpointError, match="depth is 10, the original's is fixed at"):
        export_model(tmp_path, network, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_back_takes_one_model(tmp_path, capsys):
    arguments = ["convert", "ns-vqa", "a", "b", "--back", "--out", str(tmp_path / "x.pt")]
    assert main(arguments) == 1
    assert "one source is needed" in capsys.readouterr().err


def test_networks_of_several_folders_are_put_together(small, tmp_path, capsys):
    words, functions = len(small.vocabulary.words), len(small.vocabulary.functions)
    config = ParserConfig(word_dim=6, hidden=5)
    for name in ("parser", "eyes", "again"):
        (tmp_path / name).mkdir()
    parser = build_parser(config, words, functions)
    write_parser(tmp_path / "parser", parser, config, small.vocabulary, "")
    detector, attributes = light(), AttributesConfig(depth=10, widths=[4, 4, 4, 4])
    write_model(
        tmp_path / "eyes",
        "",
        detector=DetectorPart(build_detector(detector), detector),
        attributes=AttributesPart(build_attributes(attributes), attributes),
    )
    command = ["convert", "ns-vqa", str(tmp_path / "eyes"), str(tmp_path / "parser"), "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    for name, origin in (("parser", "parser"), ("detector", "eyes"), ("attributes", "eyes")):
        file = f"{name}.safetensors"
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / origin / file).read_bytes()
    assert read_config(tmp_path / "whole").perception == PerceptionConfig()
    capsys.readouterr()
    twice = [*command[:2], str(tmp_path / "eyes"), *command[2:], str(tmp_path / "none")]
    assert main(twice) == 1
    assert "adds no network" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
