"""The world as VQA v2, VQA-CP v2 and TDIUC: what is asked, who answers what, how often."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pyvqa.data.vqa_files import Questions, find_files, read_questions
from pyvqa.errors import ConfigError, DataError
from pyvqa.programs.clevr import RELATIONS, VALUES
from pyvqa.world.questions import GeneratorSettings
from pyvqa.world.template_files import read_templates
from pyvqa.world.vqa_balance import true_answer
from pyvqa.world.vqa_entries import (
    ABSURD,
    QUESTION_TYPES,
    is_absurd,
    is_frequent,
    question_type,
    tdiuc_type,
)
from pyvqa.world.vqa_layouts import VQA_FORMATS
from pyvqa.world.vqa_people import answer_type, human_answers
from pyvqa.world.write import Dataset, DatasetSettings

TEMPLATES = read_templates(None, "vqa")
SPLITS = {"vqa2": ("train", "val"), "vqacp2": ("train", "test"), "tdiuc": ("train", "val")}
SCENES = 120  # three blocks
PER_SCENE = 10

Record = dict[str, Any]


def dataset(out: Path, name: str, split: str, **changes: Any) -> Dataset:
    asking = GeneratorSettings(per_scene=PER_SCENE, block=40)
    given = {"format": name, "split": split, "scenes": SCENES, "questions": asking, "seed": 3}
    return Dataset(out, DatasetSettings(**(given | changes)), TEMPLATES)


def records(path: Path, key: str) -> list[Record]:
    content = json.loads(path.read_text())
    return content if isinstance(content, list) else content[key]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, splits in SPLITS.items():
        made[name] = tmp_path_factory.mktemp(name)
        for split in splits:
            dataset(made[name], name, split).make()
    return made


def annotations(root: Path, name: str, split: str) -> list[Record]:
    split = {"test": "val"}.get(split, split) if name == "vqacp2" else split
    found = find_files(root, name)
    path = found["test" if (name, split) == ("tdiuc", "val") else split][1]
    assert path is not None
    return records(path, "annotations")


@pytest.mark.parametrize("name", VQA_FORMATS)
def test_the_package_reads_what_it_writes(roots: dict[str, Path], name: str) -> None:
    found = find_files(roots[name], name)
    assert len(found) == 2
    ids: list[int] = []
    for pair in found.values():
        read: Questions = read_questions(*pair, first_human=name == "tdiuc")
        assert len(read) == SCENES * PER_SCENE
        assert read.labelled
        assert all(re.fullmatch(r"COCO_(train|val)2014_\d{12}\.jpg", n) for n in read.images)
        assert all(len(h) == (1 if name == "tdiuc" else 10) for h in read.humans)
        assert [k // 1000 for k in read.ids] == [int(n[-16:-4]) for n in read.images]
        ids += read.ids
    assert len(set(ids)) == len(ids) == 2 * SCENES * PER_SCENE


# The keys of the releases.
QUESTION = {"image_id", "question", "question_id"}
ANNOTATION = {"question_id", "image_id", "question_type", "answer_type", "answers"}


@pytest.mark.parametrize(
    ("name", "more_of_question", "more_of_annotation"),
    [
        ("vqa2", set(), {"multiple_choice_answer"}),
        ("vqacp2", {"coco_split"}, {"multiple_choice_answer", "coco_split"}),
        ("tdiuc", set(), {"ans_source"}),
    ],
)
def test_keys_are_the_official_ones(
    roots: dict[str, Path], name: str, more_of_question: set[str], more_of_annotation: set[str]
) -> None:
    asked, answered = find_files(roots[name], name)["train"]
    assert answered is not None
    for entry in records(asked, "questions"):
        assert set(entry) == QUESTION | more_of_question
    for entry in records(answered, "annotations"):
        assert set(entry) == ANNOTATION | more_of_annotation
        assert [a["answer_id"] for a in entry["answers"]] == [*range(1, len(entry["answers"]) + 1)]
        assert all(set(a) == {"answer", "answer_confidence", "answer_id"} for a in entry["answers"])
    if name != "vqacp2":
        head = json.loads(asked.read_text())
        assert set(head) == {
            *("info", "license", "data_type", "data_subtype", "task_type", "questions")
        }
        assert (head["data_type"], head["data_subtype"]) == ("mscoco", "train2014")


NAMED = {
    **dict.fromkeys(("sphere", "ball"), ("shape", "sphere")),
    **dict.fromkeys(("cube", "block"), ("shape", "cube")),
    "cylinder": ("shape", "cylinder"),
    **dict.fromkeys(("large", "big"), ("size", "large")),
    **dict.fromkeys(("small", "tiny", "little"), ("size", "small")),
    **dict.fromkeys(("metal", "metallic", "shiny"), ("material", "metal")),
    **dict.fromkeys(("rubber", "matte"), ("material", "rubber")),
    **{c: ("color", c) for c in "gray red blue green brown purple cyan yellow".split()},
    "grey": ("color", "gray"),
}


def objects_like(words: str, scene: Record) -> list[Record]:
    """The objects that a description in plain words fits."""
    wanted = [NAMED[w] for w in words.split() if w != "thing"]
    return [o for o in scene["objects"] if all(o[k] == v for k, v in wanted)]


def test_answers_are_true_by_plain_reading(roots: dict[str, Path]) -> None:
    """Questions that words alone can answer: counts, presence and attributes of one thing."""
    scenes = {
        s["image_index"]: s
        for s in records(roots["vqa2"] / "scenes/COCO_train2014_scenes.json", "scenes")
    }
    asked, answered = find_files(roots["vqa2"], "vqa2")["train"]
    assert answered is not None
    truth = {a["question_id"]: true_answer(a) for a in records(answered, "annotations")}
    rules = {
        r"How many (.+?)s are there\?": lambda found: str(len(found)),
        r"Is there a ([^?]+?)\?": lambda found: "yes" if found else "no",
        r"What color is the ([^?]+?)\?": lambda found: found[0]["color"],
        r"What size is the ([^?]+?)\?": lambda found: found[0]["size"],
        r"What material is the ([^?]+?)\?": lambda found: found[0]["material"],
        r"What shape is the ([^?]+?)\?": lambda found: found[0]["shape"],
    }
    checked: Counter[str] = Counter()
    for entry in records(asked, "questions"):
        if re.search(r" (of|behind|in) ", entry["question"]):
            continue
        for pattern, rule in rules.items():
            match = re.fullmatch(pattern, entry["question"])
            if match:
                found = objects_like(match[1], scenes[entry["image_id"]])
                assert truth[entry["question_id"]] == rule(found), entry
                checked[pattern] += 1
    assert set(checked) == set(rules)
    assert checked.total() > 60


def test_absurd_questions_name_what_is_not_there(roots: dict[str, Path]) -> None:
    root = roots["tdiuc"]
    scenes = {
        s["image_index"]: s for s in records(root / "scenes/COCO_train2014_scenes.json", "scenes")
    }
    texts = {
        q["question_id"]: q["question"]
        for q in records(find_files(root, "tdiuc")["train"][0], "questions")
    }
    absurd = 0
    for entry in annotations(root, "tdiuc", "train"):
        kind, answer = entry["question_type"], true_answer(entry)
        assert (kind == "absurd") == (answer == ABSURD)
        if kind != "absurd":
            continue
        absurd += 1
        text = texts[entry["question_id"]]
        words = "|".join([*NAMED, "thing"])
        named = re.findall(rf"\bthe ((?:(?:{words}) )*(?:{words}))\b", text, re.IGNORECASE)
        scene = scenes[entry["image_id"]]
        assert any(not objects_like(words, scene) for words in named), text
    assert absurd == SCENES * PER_SCENE // 5
    kinds = {entry["question_type"] for entry in annotations(root, "tdiuc", "train")}
    assert kinds == {
        *("absurd", "attribute", "color", "counting", "object_presence", "object_recognition"),
        "positional_reasoning",
    }


def node(name: str, *inputs: int, value: str | None = None) -> Record:
    return {"function": name, "inputs": list(inputs), "value_inputs": [value] if value else []}


def test_absurd_and_types_by_program() -> None:
    program = [node("scene"), node("filter_color", 0, value="red"), node("unique", 1)]
    asking = [*program, node("query_shape", 2)]
    red = {"color": "red", "shape": "cube"}
    assert is_absurd(asking, [{"color": "blue", "shape": "cube"}])
    assert not is_absurd(asking, [red])
    assert not is_absurd(asking, [red, red])  # not clear, but not absurd
    assert not is_absurd([*program[:2], node("count", 1)], [])  # nothing is a number as well
    related = [*program, node("relate", 2, value="left"), node("unique", 3)]
    assert not is_absurd([*related, node("query_shape", 4)], [red])
    assert tdiuc_type(asking) == "object_recognition"
    assert tdiuc_type([*related, node("query_shape", 4)]) == "positional_reasoning"
    assert tdiuc_type([*related, node("query_color", 4)]) == "color"


def test_question_types_are_the_longest_openings() -> None:
    assert question_type("What color is the red thing?") == "what color is the"
    assert question_type("What color?") == "what color"
    assert question_type("Is there a ball?") == "is there a"
    assert question_type("Count them.") == "none of the above"
    assert len(set(QUESTION_TYPES)) == len(QUESTION_TYPES)


def test_people_agree_as_in_vqa() -> None:
    """The majority is the true answer; agreement as counted in VQA v2, to half a person."""
    chance = Random(0)
    agree: dict[str, list[int]] = {"yes/no": [], "number": [], "other": []}
    for answer in ("yes", "no", "0", "2", "4", "red", "large", "cube", "metal", "sphere") * 100:
        given = [one["answer"] for one in human_answers(answer, chance)]
        counts = Counter(given)
        assert len(given) == 10
        assert counts.most_common(1)[0][0] == answer
        assert list(counts.values()).count(counts[answer]) == 1
        agree[answer_type(answer)].append(counts[answer])
    means = {kind: sum(numbers) / len(numbers) for kind, numbers in agree.items()}
    assert means == pytest.approx({"yes/no": 8.9, "number": 7.4, "other": 6.3}, abs=0.5)
    assert all(10 in numbers and min(numbers) < 7 for numbers in agree.values())


def test_answers_cannot_be_guessed_from_the_question(roots: dict[str, Path]) -> None:
    """The most frequent answer to each type is right in at most 55 %."""
    report = dataset(roots["vqa2"], "vqa2", "train").report()["balance"]
    counts: dict[str, Counter[str]] = {}
    for entry in annotations(roots["vqa2"], "vqa2", "train"):
        counts.setdefault(entry["question_type"], Counter())[true_answer(entry)] += 1
    best = sum(max(c.values()) for c in counts.values())
    assert report["questions"] == sum(c.total() for c in counts.values()) == SCENES * PER_SCENE
    assert report["prior"] == pytest.approx(best / report["questions"], abs=1e-4)
    assert report["prior"] <= 0.45
    assert {k: dict(c) for k, c in counts.items()} == {
        k: one["answers"] for k, one in report["types"].items()
    }


def test_priors_shift_between_the_parts_of_vqa_cp(roots: dict[str, Path]) -> None:
    shares = {}
    for split in SPLITS["vqacp2"]:
        yes: dict[str, list[bool]] = {}
        for entry in annotations(roots["vqacp2"], "vqacp2", split):
            if entry["answer_type"] == "yes/no":
                yes.setdefault(entry["question_type"], []).append(true_answer(entry) == "yes")
        shares[split] = {k: sum(v) / len(v) for k, v in yes.items() if len(v) >= 40}
    both = shares["train"].keys() & shares["test"].keys()
    assert len(both) >= 4
    for kind in both:
        assert abs(shares["train"][kind] - shares["test"][kind]) > 0.35, kind
        assert (shares["train"][kind] > 0.5) != (shares["test"][kind] > 0.5)
    assert is_frequent("Is there a ball?", "yes", "train") != is_frequent(
        "Is there a ball?", "yes", "test"
    )


def test_wordings_need_no_other_article() -> None:
    """The article a stands before placeholders: whatever replaces one begins with a consonant."""
    words = {w for key, own in TEMPLATES.synonyms.items() if key not in RELATIONS for w in own}
    words |= {value for values in VALUES.values() for value in values}
    assert not [word for word in words if word[0] in "aeiou"]
    for family in TEMPLATES.families:
        texts, params, _, nulls = family.source
        empty = {params[i][0] for kind, i, _ in nulls if kind == "NULL"}
        assert len(texts) >= 2
        for text in texts:
            named = {name for name, kind in params if name not in empty or kind == "Shape"}
            assert set(re.findall(r"<[^<>]+>", text)) == named, text


def test_no_picture_is_in_two_splits_and_seeds_matter(tmp_path: Path) -> None:
    firsts = {}
    for split in ("train", "val", "test"):
        dataset(tmp_path, "vqa2", split, scenes=3).make()
        name = {"train": "train2014", "val": "val2014", "test": "test2015"}[split]
        firsts[split] = records(tmp_path / f"scenes/COCO_{name}_scenes.json", "scenes")
    places = [s["objects"][0]["3d_coords"] for part in firsts.values() for s in part]
    assert len({tuple(p) for p in places}) == 9
    assert not list(tmp_path.glob("*test2015_annotations.json"))
    dataset(tmp_path / "other", "vqa2", "train", scenes=3, seed=4).make()
    other = records(tmp_path / "other/scenes/COCO_train2014_scenes.json", "scenes")
    assert other[0]["objects"] != firsts["train"][0]["objects"]


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", VQA_FORMATS)
def test_interrupted_and_shared_work_gives_equal_bytes(
    roots: dict[str, Path], tmp_path: Path, name: str
) -> None:
    first, second = SPLITS[name]
    half = dataset(tmp_path, name, first)
    half.make_blocks(rank=1, ranks=3)
    assert half.finished() == {1}
    dataset(tmp_path, name, first).make(workers=2)
    dataset(tmp_path, name, second).make()
    assert content(tmp_path) == content(roots[name])
    assert dataset(tmp_path, name, first).is_complete()


def test_refusals(roots: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vqacp2 has no split 'val'; choose one of train, test"):
        dataset(tmp_path, "vqacp2", "val")
    with pytest.raises(ConfigError, match="at most 10,000,000"):
        dataset(tmp_path, "vqa2", "val", scenes=10_000_001)
    with pytest.raises(ConfigError, match="questions a scene: at most 1000"):
        dataset(tmp_path, "vqa2", "val", questions=GeneratorSettings(per_scene=1001))
    with pytest.raises(ConfigError, match=r"other settings \(seed\)"):
        dataset(roots["vqa2"], "vqa2", "train", seed=5)
    with pytest.raises(DataError, match=r"vqa2_train_balance.json.*of another origin"):
        dataset(roots["vqa2"], "tdiuc", "train")
    assert not list(tmp_path.iterdir())
