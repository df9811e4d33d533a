"""Datasets that TFDS has prepared, read record by record from their own files.

What is on disk is read directly: the description (JSON) needs no import of TensorFlow, an absent dataset is reported at
once, and any record can be read without reading those before it, which a shuffle that is a function of (seed, epoch)
needs. `tfds` itself is only imported to download.
"""

import difflib
import hashlib
import json
import os
import struct
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kzoo import console
from kzoo.chatter import tensorflow
from kzoo.data.catalog import Catalog
from kzoo.data.images import BadImage
from kzoo.data.splits import SPLITS, TEST, VALIDATION, stratify
from kzoo.errors import DataError

_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"

# tf.io.TFRecord: length (uint64), its CRC (uint32), the data, its CRC (uint32).
_RECORD_HEADER = struct.Struct("<QI")
_RECORD_FOOTER_SIZE = 4


class TFRecordFile:
    """The records of one tfrecord file, by index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets: list[int] = []
        self.lengths: list[int] = []
        size = path.stat().st_size
        position = 0
        with path.open("rb", buffering=1 << 16) as file:
            while position < size:
                header = file.read(_RECORD_HEADER.size)
                length = _RECORD_HEADER.unpack(header)[0] if len(header) == _RECORD_HEADER.size else size
                start = position + _RECORD_HEADER.size
                position = start + length + _RECORD_FOOTER_SIZE
                if position > size:
                    raise DataError(
                        f"A file of a TFDS dataset is cut short. Received: {str(path)!r}. Prepare it again."
                    )
                self.offsets.append(start)
                self.lengths.append(length)
                # Small records are passed by reading on within the buffer, which a seek would throw away.
                if length < 1 << 12:
                    file.read(length + _RECORD_FOOTER_SIZE)
                else:
                    file.seek(position)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> bytes:
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offsets[index])
            return file.read(self.lengths[index])


class RecordSource:
    """The images of some splits of a TFDS dataset."""

    def __init__(self, dataset: str, shards: list[Any], splits: list[tuple[str, int]], image_key: str) -> None:
        self.dataset = dataset
        self.shards = shards
        self.starts = np.cumsum([0, *map(len, shards)]).tolist()
        self.splits = splits  # (name, number of images)
        self.image_key = image_key
        self.parse = _example_parser()

    def __len__(self) -> int:
        return self.starts[-1]

    def example(self, index: int) -> Any:
        """The tf.train.Example of a record."""
        shard = bisect_right(self.starts, index) - 1
        try:
            return self.parse(self.shards[shard][index - self.starts[shard]])
        except Exception as error:  # protobuf's DecodeError, array_record's errors, OSError
            detail = " ".join(str(error).split()) or type(error).__name__
            raise BadImage(f"its record is damaged ({detail})") from None

    def read(self, index: int) -> bytes:
        """The encoded image of a record."""
        values = self.example(index).features.feature[self.image_key].bytes_list.value
        if len(values) != 1:
            raise BadImage("its record holds no image")
        return values[0]

    def where(self, index: int) -> str:
        """For example "mnist train #12"."""
        for split, count in self.splits:
            if index < count:
                return f"{self.dataset} {split} #{index}"
            index -= count
        raise IndexError(index)


def data_folder(data_dir: str | os.PathLike[str] | None) -> Path:
    """Where TFDS datasets lie: the argument, or $TFDS_DATA_DIR as it is now, or TFDS's own default."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def catalog(name: str, split: str, data_dir: str | os.PathLike[str] | None, download: bool) -> Catalog:
    """The images of a TFDS dataset that `split` needs.

    Raises:
        DataError: It is not prepared, or is not a dataset of labelled images, or has no such split.
    """
    root = data_folder(data_dir)
    try:
        return _catalog(name, split, root, download)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The files of a TFDS dataset cannot be read. Received: {name!r} in {str(root)!r} ({error}). "
            "Check the folder's permissions."
        ) from None


def _catalog(name: str, split: str, root: Path, download: bool) -> Catalog:
    folder = _prepared(name, root)
    if folder is None and download:
        _download(name, root)
        folder = _prepared(name, root)
    if folder is None:
        raise _not_prepared(name, root)
    info = _json(folder / "dataset_info.json")
    shape, class_names = _features(name, folder)
    lengths = {entry["name"]: [int(n) for n in entry.get("shardLengths", ())] for entry in info.get("splits", ())}
    present = [split for split in SPLITS if sum(lengths.get(split, ()))]
    wanted, cut = _wanted(name, split, present)
    source = _source(name, folder, info, wanted)
    labels = _labels(name, source, len(class_names))
    parts = np.repeat(
        np.array([SPLITS.index(split) for split in wanted], np.int8), [sum(lengths[split]) for split in wanted]
    )
    train = np.flatnonzero(parts == 0)
    if cut and len(train):
        keys = [hashlib.blake2b(b"%d" % index, digest_size=16).digest() for index in range(len(train))]
        parts[train] = stratify(labels[train], keys, cut)
    height, width, channels = shape
    return Catalog(
        name=name,
        class_names=class_names,
        source=source,
        labels=labels,
        parts=parts,
        fingerprint=_fingerprint(folder, info, class_names),
        size=(height, width) if height and width else None,
        channels=None if not channels else 1 if channels == 1 else 3,
    )


def _prepared(name: str, root: Path) -> Path | None:
    """The folder of the highest prepared version of a dataset, or None."""
    path, _, version = name.partition(":")
    folder = root / path
    found = _versions(folder, version)
    if not found and "/" not in path and folder.is_dir():
        # Without a configuration in the name: the one that is prepared.
        configs = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and _versions(entry, version)]
        if len(configs) > 1:
            listed = ", ".join(f"{path}/{config.name}" for config in configs)
            raise DataError(f"A TFDS dataset has several configurations. Received: {name!r}. Valid: {listed}.")
        found = _versions(configs[0], version) if configs else []
    return found[-1] if found else None


def _versions(folder: Path, version: str) -> list[Path]:
    """The prepared versions in a folder, ascending. `version` may hold wildcards ("3.*.*"), or be empty for any."""
    if not folder.is_dir():
        return []
    found = []
    wanted = version.split(".") if version else ["*", "*", "*"]
    for entry in folder.iterdir():
        numbers = entry.name.split(".")
        if (
            len(numbers) == len(wanted) == 3
            and all(number.isdigit() for number in numbers)
            and all(want in ("*", number) for want, number in zip(wanted, numbers, strict=True))
            and (entry / "dataset_info.json").is_file()
        ):
            found.append((tuple(map(int, numbers)), entry))
    return [entry for _, entry in sorted(found)]


def _not_prepared(name: str, root: Path) -> DataError:
    here = ["digits"]
    if root.is_dir():
        here += sorted(entry.name for entry in root.iterdir() if _prepared_quietly(entry.name, root))
    close = difflib.get_close_matches(name, here, n=1)
    return DataError(
        f"No such dataset: neither 'digits', nor a folder or CSV file, nor a TFDS dataset prepared in {str(root)!r}. "
        f"Received: {name!r}. "
        + (f"Did you mean {close[0]!r}? " if close else "")
        + f"Prepared: {', '.join(here)}. To download it from TFDS pass download=True (command line: "
        f"kzoo train MODEL {name} --download), or set --data-dir or TFDS_DATA_DIR to where it lies."
    )


def _prepared_quietly(name: str, root: Path) -> bool:
    try:
        return _prepared(name, root) is not None
    except DataError:  # several configurations
        return True
    except OSError:
        return False


def _download(name: str, root: Path) -> None:
    console.log(f"downloading {name} from TFDS into {root}")
    try:
        tensorflow()  # quietly, before TFDS imports it
        import tensorflow_datasets as tfds
        from tensorflow_datasets.core.download import downloader

        # TFDS tries ten times, which takes 205 s before it says that there is no network; this takes 6 s.
        downloader.MAX_RETRIES = min(downloader.MAX_RETRIES, 5)
        tfds.builder(name, data_dir=root).download_and_prepare()
    except KeyboardInterrupt:
        raise
    except Exception as error:  # whatever the network, the disk or a dataset's own script raises
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        detail = lines[0].rstrip(".") if lines else ""
        raise DataError(
            f"Cannot download a TFDS dataset. Received: {name!r} ({type(error).__name__}: {detail}). Check the name "
            "and the network, or prepare it on another machine and set --data-dir or TFDS_DATA_DIR to where it lies."
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"A file of a TFDS dataset cannot be read. Received: {str(path)!r} ({error}). Prepare the dataset again."
        ) from None


def _features(name: str, folder: Path) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """The shape of the images (0 or -1 where it varies, given as 0) and the class names."""
    features = _json(folder / "features.json").get("featuresDict", {}).get("features", {})
    image, label = features.get("image", {}).get("image"), features.get("label", {}).get("classLabel")
    if image is None or label is None:
        raise DataError(
            f"A TFDS dataset is not one for image classification. Received: {name!r} with features "
            f"{', '.join(sorted(features)) or 'unknown'}. It needs an Image 'image' and a ClassLabel 'label'."
        )
    if image.get("dtype", "uint8") not in ("uint8", "uint16"):
        raise DataError(
            f"A TFDS dataset has images that are not 8 or 16 bits. Received: {name!r} with dtype {image['dtype']}."
        )
    dimensions = [max(0, int(n)) for n in image.get("shape", {}).get("dimensions", ())]
    height, width, channels = dimensions if len(dimensions) == 3 else (0, 0, 0)
    count = int(label.get("numClasses", 0))
    names_file = folder / "label.labels.txt"
    names = names_file.read_text(encoding="utf-8").splitlines() if names_file.is_file() else map(str, range(count))
    class_names = tuple(line.strip() for line in names if line.strip())
    if len(class_names) != count or count == 0:
        raise DataError(
            f"A TFDS dataset does not name its classes. Received: {len(class_names)} names for {count} classes in "
            f"{str(folder)!r}. Prepare the dataset again."
        )
    return (height, width, channels), class_names


def _wanted(name: str, split: str, present: list[str]) -> tuple[list[str], tuple[int, ...]]:
    """The TFDS splits to read, and the splits to cut from train."""
    has_train, has_validation, has_test = (split in present for split in SPLITS)
    cut: tuple[int, ...] = ()
    if has_train and not has_validation:
        cut = (VALIDATION,) if has_test else (TEST, VALIDATION)
    if split == "all" and present:
        return present, cut
    if split in present:
        return [split], cut
    if split != "all" and SPLITS.index(split) in cut:
        return ["train"], cut
    raise DataError(
        f"A TFDS dataset has no {split} split. Received: {name!r}. Valid: {', '.join(present) or 'none'}"
        + (", all." if present else ".")
    )


def _source(name: str, folder: Path, info: dict[str, Any], wanted: list[str]) -> RecordSource:
    open_shard = _shard_opener(name, info.get("fileFormat", "tfrecord"))
    by_name = {entry["name"]: entry for entry in info["splits"]}
    shards, splits = [], []
    for split in wanted:
        lengths = [int(length) for length in by_name[split]["shardLengths"]]
        for number, length in enumerate(lengths):
            path = folder / _shard_name(info, by_name[split], number, len(lengths))
            if not path.is_file():
                raise DataError(
                    f"A file of a TFDS dataset is missing. Received: {str(path)!r}. Prepare the dataset again."
                )
            shard = open_shard(path)
            if len(shard) != length:
                raise DataError(
                    f"A file of a TFDS dataset is incomplete. Received: {str(path)!r} with {len(shard)} of {length} "
                    "records. Prepare the dataset again."
                )
            shards.append(shard)
        splits.append((split, sum(lengths)))
    return RecordSource(name, shards, splits, "image")


def _shard_opener(name: str, file_format: str) -> Callable[[Path], Any]:
    if file_format == "tfrecord":
        return TFRecordFile
    if file_format == "array_record":
        try:
            from array_record.python.array_record_data_source import ArrayRecordDataSource
        except ImportError:
            raise DataError(
                f"A TFDS dataset is in the array_record format. Received: {name!r}. Run: pip install array_record"
            ) from None
        return lambda path: ArrayRecordDataSource([str(path)])
    raise DataError(
        f"A TFDS dataset is in a file format that is not read. Received: {file_format!r} for {name!r}. "
        "Valid: tfrecord, array_record. Prepare it again in one of them."
    )


def _shard_name(info: dict[str, Any], split: dict[str, Any], number: int, count: int) -> str:
    replacements = {
        "{DATASET}": info["name"],
        "{SPLIT}": split["name"],
        "{FILEFORMAT}": info.get("fileFormat", "tfrecord"),
        "{SHARD_X_OF_Y}": f"{number:05d}-of-{count:05d}",
        "{SHARD_INDEX}": f"{number:05d}",
        "{NUM_SHARDS}": f"{count:05d}",
    }
    text = split.get("filepathTemplate") or _TEMPLATE
    for placeholder, value in replacements.items():
        text = text.replace(placeholder, value)
    return text


def _example_parser() -> Callable[[bytes], Any]:
    tf = tensorflow()
    return tf.train.Example.FromString


def _labels(name: str, source: RecordSource, classes: int) -> np.ndarray:
    """The label of every record, int32 `[N]`. They lie beside the images, so that every record is read."""
    labels = np.empty(len(source), np.int32)
    with console.progress(f"reading the labels of {name}", len(source)) as advance:
        for index in range(len(source)):
            try:
                values = source.example(index).features.feature["label"].int64_list.value
            except BadImage as error:
                raise DataError(
                    f"A TFDS dataset is damaged. Received: {source.where(index)!r}: {error}. Prepare the dataset again."
                ) from None
            label = values[0] if len(values) == 1 else -1
            if not 0 <= label < classes:
                raise DataError(
                    f"A TFDS dataset has an image without a valid label. Received: {label} at {source.where(index)!r}. "
                    f"Valid: 0 to {classes - 1}. Use another split."
                )
            labels[index] = label
            if index % 1000 == 999:
                advance(1000, "")
    return labels


def _fingerprint(folder: Path, info: dict[str, Any], class_names: tuple[str, ...]) -> str:
    """A hash of what TFDS states about the dataset: hashing the records of a large one would take minutes."""
    stated = {
        "name": info.get("name"),
        "config": info.get("configName"),
        "version": info.get("version"),
        "splits": sorted(
            (entry["name"], [int(n) for n in entry.get("shardLengths", ())], int(entry.get("numBytes", 0)))
            for entry in info.get("splits", ())
        ),
        "checksums": info.get("downloadChecksums"),
        "features": _json(folder / "features.json"),
        "class_names": class_names,
    }
    return hashlib.blake2b(json.dumps(stated, sort_keys=True).encode(), digest_size=16).hexdigest()
