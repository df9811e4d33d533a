"""The rows against what they were read from: the installed Keras, and a listing of timm's and torchvision's sources."""

import dataclasses
import inspect
import json
import re
from pathlib import Path

import pytest

from kzoo.models.registry import defaults, get_card, list_models
from kzoo.weights.locations import PACKAGED
from kzoo.weights.record import File
from kzoo.weights.registry import get_record, is_imagenet, list_weights
from kzoo.weights.table import IMAGENET, RECORDS, best_on_imagenet

LISTING = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
RESULTS = LISTING["results"]
TAGS_OF_TORCHVISION = {"tv_in1k": "IMAGENET1K_V1", "tv2_in1k": "IMAGENET1K_V2"}


def of_source(source):
    return [record for record in RECORDS if record.source == source]


def name(record):
    return f"{record.model}-{record.tag}"


@pytest.mark.parametrize("record", RECORDS, ids=name)
def test_every_row_is_whole(record):
    assert record.model in list_models()
    shape, classes = defaults(record.model)
    assert (record.input_size, record.classes) == (shape, classes)
    assert record.source == "kzoo" or record.project.startswith("https://")
    names = [file.name for file in record.files]
    assert len(set(names)) == len(names)
    for file in record.files:
        # One address, or none: then it travels with kzoo.
        assert (file.url is None) + (file.hub is None) == 1 + (record.source == "kzoo")
        assert (PACKAGED / file.name).is_file() == (record.source == "kzoo")
        assert file.url is None or file.url.startswith("https://")
        # Whatever has an address is known by something; of the hub's files the hub itself keeps the hash.
        assert file.hub or file.sha256 or file.sha256_prefix or file.md5
        for text, digits in ((file.sha256, 64), (file.sha256_prefix, 8), (file.md5, 32)):
            assert text is None or re.fullmatch(f"[0-9a-f]{{{digits}}}", text)
        if file.sha256 and file.sha256_prefix:
            assert file.sha256.startswith(file.sha256_prefix)
        if file.sha256_prefix:
            assert f"-{file.sha256_prefix}." in file.name
    if record.accuracy:
        assert 0.6 < record.accuracy.top1 < (record.accuracy.top5 or 1) <= 1
        assert record.accuracy.measured == (record.source == "kzoo")


def test_a_model_and_a_tag_name_one_row():
    names = [(record.model, record.tag) for record in RECORDS]
    assert len(set(names)) == len(names) == 82
    files = [file.name for record in RECORDS for file in record.files]
    assert len(set(files)) == len(files)  # so that one folder can hold them all
    assert "imagenet" not in {record.tag for record in RECORDS}


# Keras builds a model before it asks for weights; these take less than a second, and each stands for a table of hashes.
QUICK = [r for r in of_source("keras") if r.model in ("vgg16", "vgg19", "resnet50", "resnet50_v2")]


@pytest.mark.parametrize("record", [r for r in QUICK if "vgg" not in r.model or not r.include_top], ids=name)
def test_keras_asks_for_the_same_files(record, monkeypatch):
    """What keras.applications asks its own downloader for, when it is asked for these weights."""
    import keras
    from keras.src.utils import file_utils

    def get_file(name, origin, **arguments):
        raise LookupError(name, origin, arguments["file_hash"])

    monkeypatch.setattr(file_utils, "get_file", get_file)
    spelling = record.model.replace("vgg", "VGG").replace("resnet", "ResNet").replace("_v2", "V2")
    with pytest.raises(LookupError) as asked:
        getattr(keras.applications, spelling)(weights="imagenet", include_top=record.include_top)
    [file] = record.files
    assert asked.value.args == (file.name, file.url, file.md5)


@pytest.mark.parametrize("record", of_source("keras"), ids=name)
def test_keras_has_the_same_addresses_and_hashes(record):
    from keras.src.applications import resnet, vgg16, vgg19

    [file] = record.files
    if "vgg" in record.model:
        module = {"vgg16": vgg16, "vgg19": vgg19}[record.model]
        assert file.url == (module.WEIGHTS_PATH if record.include_top else module.WEIGHTS_PATH_NO_TOP)
        call = inspect.getsource(module).rpartition(f'"{file.name}"')[2]
        assert re.findall('file_hash="([^"]*)"', call)[0] == file.md5
    else:
        variant = file.name.partition("_")[0]
        assert file.url == resnet.BASE_WEIGHTS_PATH + file.name
        assert file.md5 == resnet.WEIGHTS_HASHES[variant][0 if record.include_top else 1]


@pytest.mark.parametrize("record", of_source("keras"), ids=name)
def test_the_preprocessing_is_keras_s(record):
    import keras
    import numpy as np

    module = getattr(keras.applications, re.sub("resnet[0-9]+", "resnet", record.model))
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 3)).astype("float32")
    p = record.preprocessing
    ours = (pixels / p.unit - p.mean) / p.std
    ours = ours[..., ::-1] if p.channel_order == "bgr" else ours
    # Numbers up to 255 in float32.
    np.testing.assert_allclose(ours, module.preprocess_input(pixels.copy()), atol=1e-4)


@pytest.mark.parametrize("record", of_source("timm"), ids=name)
def test_timm_names_the_same_repository_and_preprocessing(record):
    repository = record.files[0].name.partition("/")[0]
    row = LISTING["timm"]["weights"][repository]
    assert record.files == (File(name=f"{repository}/model.safetensors", hub=row["hf_hub_id"]),)
    assert record.licence.lower() == row["license"]
    assert row["origin_url"] in (record.project, None)  # timm gives none for VGG
    assert (record.classes, row["crop_mode"]) == (row["num_classes"], "center")
    p = record.preprocessing
    assert (p.interpolation, list(p.mean), list(p.std)) == (row["interpolation"], row["mean"], row["std"])
    at_224 = row["input_size"] == [3, 224, 224]  # the others are tested at 224
    crop = row["crop_pct"] if at_224 else row["test_crop_pct"]
    assert (row["input_size"] if at_224 else row["test_input_size"]) == [3, 224, 224]
    assert p.resize == int(224 / crop)  # as timm's transforms round it


def test_no_weights_of_timm_with_these_tags_are_left_out():
    ours = {record.files[0].name.partition("/")[0] for record in RECORDS if record.source == "timm"}
    assert ours == set(LISTING["timm"]["weights"])


@pytest.mark.parametrize("record", [r for r in of_source("timm") if r.tag in TAGS_OF_TORCHVISION], ids=name)
def test_the_figures_are_torchvision_s(record):
    model, _, tag = record.files[0].name.partition("/")[0].partition(".")
    row = LISTING["torchvision"]["weights"][f"{model}.{TAGS_OF_TORCHVISION[tag]}"]
    assert LISTING["timm"]["weights"][f"{model}.{tag}"]["url"] in (row["url"], "")  # the same weights; VGG's has no url
    assert record.accuracy.top1 == pytest.approx(row["metrics"]["acc@1"] / 100, abs=1e-9)
    assert record.accuracy.top5 == pytest.approx(row["metrics"]["acc@5"] / 100, abs=1e-9)
    assert record.accuracy.source == f"torchvision {LISTING['torchvision']['version']}"
    p = record.preprocessing
    assert [[p.resize], [224], p.interpolation] == [row["resize"], row["crop"], row["interpolation"]]


@pytest.mark.parametrize("record", [r for r in of_source("timm") if r.tag not in TAGS_OF_TORCHVISION], ids=name)
def test_the_figures_are_timm_s(record):
    row = RESULTS["weights"][record.files[0].name.partition("/")[0]]
    assert record.accuracy.top1 == pytest.approx(row["top1"] / 100, abs=1e-9)
    assert record.accuracy.top5 == pytest.approx(row["top5"] / 100, abs=1e-9)
    assert RESULTS["commit"][:7] in record.accuracy.source
    p = record.preprocessing  # they were measured on images that were scaled and cropped as the record says
    assert (p.resize, p.interpolation) == (int(224 / row["crop_pct"]), row["interpolation"])


@pytest.mark.parametrize("record", [r for r in of_source("timm") if r.tag in TAGS_OF_TORCHVISION], ids=name)
def test_timm_measured_nearly_what_torchvision_states(record):
    row = RESULTS["weights"][record.files[0].name.partition("/")[0]]
    assert record.accuracy.top1 == pytest.approx(row["top1"] / 100, abs=5e-4)


def test_torchvision_s_googlenet():
    record = get_record("inception_v1_bn", "tv_in1k")
    row = LISTING["torchvision"]["weights"]["googlenet.IMAGENET1K_V1"]
    [file] = record.files
    assert file.url == row["url"]
    assert record.accuracy
    assert row["metrics"] == {
        "acc@1": pytest.approx(100 * record.accuracy.top1),
        "acc@5": pytest.approx(100 * (record.accuracy.top5 or 0)),
    }
    p = record.preprocessing
    assert [[p.resize], p.interpolation] == [row["resize"], row["interpolation"]]
    # Its model undoes the normalization: x * (std / 0.5) + (mean - 0.5) / 0.5, of x = (pixel - mean) / std.
    for mean, std, ours, our_std in zip(row["mean"], row["std"], p.mean, p.std, strict=True):
        undone = (0.3 - mean) / std * (std / 0.5) + (mean - 0.5) / 0.5
        assert (0.3 - ours) / our_std == pytest.approx(undone)


def test_bvlc_googlenet_has_every_parameter():
    record = get_record("inception_v1")
    assert record.tag == "bvlc_in1k"
    assert len(record.files) == 116
    assert record.size == 4 * 6_998_552


def test_the_rows_of_real_files(real_data):
    from kzoo.weights.checksums import check

    for record, folder in ((get_record("inception_v1"), "weights"), (get_record("resnet20_cifar"), "weights")):
        for file in record.files:
            check(real_data / folder / file.name, file)


@pytest.mark.parametrize(
    ("model", "tag", "top1"),
    [
        ("vgg16", "tv_in1k", 0.71592),  # keras.io says 71.3 %
        ("vgg16_bn", "tv_in1k", 0.7336),
        ("resnet18", "a1_in1k", 0.71504),
        ("resnet34", "ra4_e3600_r224_in1k", 0.77492),
        ("resnet50", "keras_in1k", 0.749),
        ("resnet50_v1_5", "tv2_in1k", 0.80858),
        ("resnet101_v1_5", "a1h_in1k", 0.8195),
        ("resnet18_v2", "ra4_e3600_r224_in1k", 0.73572),
        ("resnet50_v2", "keras_in1k", 0.76),
        ("inception_v1", "bvlc_in1k", 0.687),
        ("inception_v1_bn", "tv_in1k", 0.69778),
    ],
)
def test_imagenet_is_the_best_published(model, tag, top1):
    record = get_record(model, "imagenet")
    assert record == get_record(model) == get_record(model, tag) == list_weights(model)[0]
    assert record.accuracy
    assert (record.accuracy.top1, record.accuracy.measured) == (top1, False)


def test_imagenet_marks_one_record_of_a_model():
    for model in (*IMAGENET, "keras:EfficientNetV2B0"):
        marked = [record for record in list_weights(model) if is_imagenet(record)]
        assert marked == [get_record(model, "imagenet")]


def test_imagenet_is_never_of_a_licence_that_forbids_commercial_use():
    best = {model: max(r.accuracy.top1 for r in list_weights(model) if r.accuracy) for model in IMAGENET}
    worse = {model for model, r in IMAGENET.items() if r.accuracy and r.accuracy.top1 < best[model]}
    assert worse == {"resnet18", "resnet50_v1_5", "resnext50_32x4d", "resnext101_32x8d"}  # Facebook's are better there
    assert not any(record.non_commercial for record in IMAGENET.values())
    assert get_record("resnet18", "fb_swsl_ig1b_ft_in1k").non_commercial
    assert set(IMAGENET) == {r.model for r in RECORDS if r.labels == "imagenet"}


def test_a_record_without_figures_is_not_the_best():
    known = get_record("resnet18", "tv_in1k")
    unknown = dataclasses.replace(known, tag="unknown", accuracy=None)
    assert best_on_imagenet([unknown, known]) is known
    assert best_on_imagenet([unknown, dataclasses.replace(known, licence="CC-BY-NC-4.0")]) is None


def test_weights_are_listed_by_their_figures():
    for model in IMAGENET:
        first, *others = list_weights(model)
        figures = [record.accuracy.top1 if record.accuracy else 0 for record in others]
        assert first is IMAGENET[model]
        assert figures == sorted(figures, reverse=True)


def test_a_model_without_weights_reads_pixels_as_one_of_its_records_does():
    for model in {record.model for record in RECORDS}:
        same = ("channel_order", "mean", "std", "unit")
        kinds = [[getattr(r.preprocessing, entry) for entry in same] for r in list_weights(model)]
        assert [getattr(get_card(model).preprocessing, entry) for entry in same] in kinds


def test_names_that_are_not_there():
    from kzoo.errors import InvalidArgument

    for model, tag, said in (
        ("resnet18", "imagnet", r"Unknown weights for resnet18. Received: 'imagnet'. Did you mean 'imagenet'\?"),
        ("resnet20_cifar", "imagenet", "Valid: cifar10. See kzoo weights list resnet20_cifar"),
        ("resnet*", None, "Unknown model with pretrained weights. Received: 'resnet"),
        ("plain18", None, "Unknown model with pretrained weights"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            get_record(model, tag)
    assert list_weights("no_such_*") == []


def test_a_record_is_frozen_and_plain_data():
    record = get_record("resnet20_cifar")
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.tag = "mine"  # pyright: ignore[reportAttributeAccessIssue]
    assert json.loads(json.dumps(dataclasses.asdict(record)))["files"][0]["name"] == "resnet20-12fca82f.th"
