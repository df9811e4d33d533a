"""Datasets that TFDS has prepared, read record by record from their own files.

What is on disk is read directly: the description (JSON) needs no import of TensorFlow, an absent dataset is reported at
once, and any record can be read without reading those before it, which a shuffle that is a function of (seed, epoch)
needs. `tfds` itself is only imported to download.
"""

import difflib
import hashlib
import io
import json
import os
import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from kzoo import console, plain
from kzoo.chatter import tensorflow
from kzoo.data.encoded import BadImage
from kzoo.data.images import MAX_PIXELS, MAX_SIDE
from kzoo.data.labels import MOST_CLASSES
from kzoo.data.source import Source
from kzoo.data.splits import SPLITS, TEST, TRAIN, VALIDATION, parts_of, stratify
from kzoo.errors import DataError, MissingSplit, reason_of
from kzoo.files import read_bytes
from kzoo.paths import expand

_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"

# What tells one file of several apart.
_NUMBERS_OF_SHARDS = ("{SHARD_X_OF_Y}", "{SHARD_INDEX}")

# Of names and templates, which are parts of file names.
_LONGEST_TEXT = 1000

# Features that a message lists.
_MOST_LISTED = 20

_MISSING = object()

# tf.io.TFRecord: length (uint64), its CRC (uint32), the data, its CRC (uint32).
_RECORD_HEADER = struct.Struct("<QI")
_RECORD_FOOTER = struct.Struct("<I")


class TFRecordFile:
    """The records of one tfrecord file, by index. Their checksums are compared."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets: list[int] = []
        self.lengths: list[int] = []
        size = path.stat().st_size
        position = 0
        with path.open("rb", buffering=1 << 16) as file:
            while position < size:
                header = file.read(_RECORD_HEADER.size)
                length = size
                if len(header) == _RECORD_HEADER.size:
                    length, checksum = _RECORD_HEADER.unpack(header)
                    if _masked_crc(header[:8]) != checksum:
                        raise DataError(
                            f"A file of a TFDS dataset is damaged. Received: {str(path)!r}: the length of record "
                            f"{len(self.offsets)} has another checksum. Prepare it again."
                        )
                start = position + _RECORD_HEADER.size
                position = start + length + _RECORD_FOOTER.size
                if position > size:
                    raise DataError(
                        f"A file of a TFDS dataset is cut short. Received: {str(path)!r}. Prepare it again."
                    )
                self.offsets.append(start)
                self.lengths.append(length)
                # Small records are passed by reading on within the buffer, which a seek would throw away.
                if length < 1 << 12:
                    file.read(length + _RECORD_FOOTER.size)
                else:
                    file.seek(position)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, index: int) -> bytes:
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offsets[index])
            content = file.read(self.lengths[index] + _RECORD_FOOTER.size)
        data = content[: self.lengths[index]]
        if content[self.lengths[index] :] != _RECORD_FOOTER.pack(_masked_crc(data)):
            raise ValueError("its content has another checksum")
        return data


def _masked_crc(data: bytes) -> int:
    """The checksum of TFRecord files: CRC-32C, rotated and moved, so that checksums of checksums differ from them."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@dataclass(kw_only=True)
class TfdsRecords(Source):
    """The images of those splits of a TFDS dataset that are needed."""

    shards: list[Any]
    # (name, number of images) of each of TFDS's splits, in the order of the shards
    stored_splits: list[tuple[str, int]]

    @classmethod
    def matches(cls, name: str | os.PathLike[str]) -> bool:
        """TFDS has too many datasets for a list here: it is asked last, for what nothing else is."""
        return True

    @classmethod
    def absolute(cls, name, data_dir) -> tuple[str, str]:
        """The folder of the datasets from the root."""
        return name, str(data_folder(data_dir).resolve())

    @classmethod
    def open(cls, name, splits, data_dir, download) -> "TfdsRecords":
        """Read the description of a prepared dataset, and the labels of the records that are needed."""
        root = data_folder(data_dir)
        try:
            folder = _prepared(name, root)
            if folder is None and download:
                _download(name, root)
                folder = _prepared(name, root)
            if folder is None:
                raise _not_prepared(name, root)
            return cls._of_folder(name, splits, folder)
        except (OSError, UnicodeError, RecursionError) as error:
            raise DataError(
                f"The files of a TFDS dataset cannot be read. Received: {name!r} in {str(root)!r} ({error}). "
                "Check the folder's permissions."
            ) from None

    @classmethod
    def _of_folder(cls, name: str, splits: Sequence[str], folder: Path) -> "TfdsRecords":
        info = _Info.read(folder / "dataset_info.json")
        (height, width, channels), class_names, is_16_bit = _features(name, folder)
        by_name = {split.name: split for split in info.splits}
        stored = [split for split in SPLITS if split in by_name and sum(by_name[split].lengths)]
        if is_16_bit and SPLITS[TRAIN] in stored:  # the range of its values is that of all images
            splits = [*splits, SPLITS[TRAIN]]
        wanted, cut = _needed_splits(name, splits, stored)
        shards = _shards(name, folder, info, [by_name[split] for split in wanted])
        counts = [sum(by_name[split].lengths) for split in wanted]  # which are those of the shards
        source = cls(
            name=name,
            class_names=class_names,
            labels=np.empty(sum(counts), np.int32),
            splits=np.repeat(np.array([SPLITS.index(split) for split in wanted], np.int8), counts),
            fingerprint=_fingerprint(folder, info, class_names),
            size=(height, width) if height and width else None,
            channels=None if not channels else 1 if channels == 1 else 3,
            shards=shards,
            stored_splits=list(zip(wanted, counts, strict=True)),
            has_16_bits=np.full(sum(counts), is_16_bit),
        )
        source._read_labels()
        train = np.flatnonzero(source.splits == TRAIN)
        if cut and len(train):
            keys = [hashlib.blake2b(b"%d" % index, digest_size=16).digest() for index in range(len(train))]
            source.splits[train] = stratify(source.labels[train], keys, cut)
        return source

    def __post_init__(self) -> None:
        self.starts = np.cumsum([0, *map(len, self.shards)]).tolist()
        self.parse = tensorflow().train.Example.FromString

    def _example(self, index: int) -> Any:
        """The tf.train.Example of a record."""
        shard = bisect_right(self.starts, index) - 1
        try:
            return self.parse(self.shards[shard][index - self.starts[shard]])
        except Exception as error:  # protobuf's DecodeError, array_record's errors, OSError
            detail = " ".join(str(error).split()) or type(error).__name__
            raise BadImage(f"its record is damaged ({detail})") from None

    def _read_labels(self) -> None:
        """Fill in the labels and checksums. They lie beside the images, so that every record is read."""
        checksums = self.checksums = np.zeros(len(self.labels), np.uint32)
        with console.progress(f"reading the labels of {self.name}", len(self.labels)) as advance:
            for index in range(len(self.labels)):
                try:
                    features = self._example(index).features.feature
                except BadImage as error:
                    raise DataError(
                        f"A TFDS dataset is damaged. Received: {self.where(index)!r}: {error}. Prepare the dataset "
                        "again."
                    ) from None
                values, pixels = features["label"].int64_list.value, features["image"].bytes_list.value
                if len(pixels) == 1:
                    checksums[index] = google_crc32c.value(pixels[0])
                label = values[0] if len(values) == 1 else -1
                if not 0 <= label < len(self.class_names):
                    raise DataError(
                        f"A TFDS dataset has an image without a valid label. Received: {label} at "
                        f"{self.where(index)!r}. Valid: 0 to {len(self.class_names) - 1}. Use another split."
                    )
                self.labels[index] = label
                if index % 1000 == 999:
                    advance(1000)

    def read(self, index: int) -> bytes:
        """The encoded image of a record."""
        values = self._example(index).features.feature["image"].bytes_list.value
        if len(values) != 1:
            raise BadImage("its record holds no image")
        return values[0]

    def where(self, index: int) -> str:
        """For example "mnist train #12"."""
        for split, count in self.stored_splits:
            if index < count:
                return f"{self.name} {split} #{index}"
            index -= count
        raise IndexError(index)


def data_folder(data_dir: str | os.PathLike[str] | None) -> Path:
    """Where TFDS datasets lie: the argument, or $TFDS_DATA_DIR as it is now, or TFDS's own default."""
    return expand(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def is_prepared(name: str, data_dir: str | os.PathLike[str] | None) -> bool:
    """Whether a dataset of TFDS is on this machine, or several configurations of it are."""
    try:
        return _prepared(name, data_folder(data_dir)) is not None
    except DataError:
        return True


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
        + f"Prepared: {', '.join(here)}. To download it from TFDS add --download (download=True), or set --data-dir or "
        "TFDS_DATA_DIR to where it lies."
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


@dataclass(frozen=True)
class _Split:
    """What is stated of a split."""

    name: str
    lengths: list[int]
    template: str
    size: int

    @classmethod
    def of(cls, entry: "_Entry") -> "_Split":
        """Read an entry of "splits"."""
        lengths = [length.number() for length in entry.items("shardLengths")]
        template = entry.get("filepathTemplate", "").text() or _TEMPLATE
        if len(lengths) > 1 and not any(one in template for one in _NUMBERS_OF_SHARDS):  # the same file again and again
            raise entry.get("filepathTemplate", "").wrong("text with {SHARD_X_OF_Y}")
        return cls(entry.get("name").text(), lengths, template, entry.get("numBytes", 0).number())


@dataclass(frozen=True)
class _Info:
    """What dataset_info.json states."""

    name: str
    file_format: str
    splits: list[_Split]
    others: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "_Info":
        """Read it."""
        entry = _json(path)
        splits = [_Split.of(split) for split in entry.items("splits")]
        others = {name: entry.get(name, None).value for name in ("name", "configName", "version", "downloadChecksums")}
        return cls(entry.get("name").text(), entry.get("fileFormat", "tfrecord").text(), splits, others)


@dataclass(frozen=True)
class _Entry:
    """An entry of a JSON file of TFDS, which omits what is zero or empty and has large numbers as text."""

    path: Path
    where: str
    value: Any

    def get(self, name: str, default: Any = _MISSING) -> "_Entry":
        """An entry of this one, which must be an object."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        found = _Entry(self.path, f"{self.where}.{name}".lstrip("."), self.value.get(name, default))
        if found.value is _MISSING:
            raise found.wrong("text")
        return found

    def items(self, name: str) -> list["_Entry"]:
        """The items of a list in this one."""
        found = self.get(name, [])
        if not isinstance(found.value, list):
            raise found.wrong("a list")
        return [_Entry(self.path, f"{found.where}[{i}]", value) for i, value in enumerate(found.value)]

    def text(self) -> str:
        """A name: text that is short."""
        if not isinstance(self.value, str) or len(self.value) > _LONGEST_TEXT:
            raise self.wrong(f"text of up to {_LONGEST_TEXT} characters")
        return self.value

    def number(self, least: int = 0, most: int = 2**63 - 1) -> int:
        """A whole number within bounds."""
        number = self.value
        if isinstance(number, str) and len(number) < 20 and re.fullmatch("-?[0-9]+", number):
            number = int(number)
        if type(number) is not int or not least <= number <= most:
            raise self.wrong(f"a whole number from {least} to {most}")
        return number

    def wrong(self, expected: str) -> DataError:
        """The error for an entry that is not as expected."""
        value = "is missing" if self.value is _MISSING else f"= {plain.shown(self.value)}"
        return DataError(
            f"A file of a TFDS dataset is damaged. Received: {str(self.path)!r}: {self.where or 'the whole'} {value}. "
            f"Expected: {expected}. Prepare the dataset again."
        )


def _json(path: Path) -> _Entry:
    try:
        return _Entry(path, "", json.loads(read_bytes(path)))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"A file of a TFDS dataset cannot be read. Received: {str(path)!r} ({reason_of(error)}). Prepare the "
            "dataset again."
        ) from None


def _features(name: str, folder: Path) -> tuple[tuple[int, int, int], tuple[str, ...], bool]:
    """The shape of the images (0 or -1 where it varies, given as 0), class names, whether pixels have 16 bits."""
    features = _json(folder / "features.json").get("featuresDict", {}).get("features", {})
    image, label = features.get("image", {}).get("image", None), features.get("label", {}).get("classLabel", None)
    if image.value is None or label.value is None:
        raise DataError(
            f"A TFDS dataset is not one for image classification. Received: {name!r} with features "
            f"{', '.join(sorted(features.value)[:_MOST_LISTED]) or 'unknown'}. It needs an Image 'image' and a "
            "ClassLabel 'label'."
        )
    dtype = image.get("dtype", "uint8").text()
    if dtype not in ("uint8", "uint16"):
        raise DataError(f"A TFDS dataset has images that are not 8 or 16 bits. Received: {name!r} with dtype {dtype}.")
    shape = image.get("shape", {})
    dimensions = [max(0, one.number(-1, MAX_SIDE)) for one in shape.items("dimensions")]
    height, width, channels = dimensions if len(dimensions) == 3 else (0, 0, 0)
    if height * width > MAX_PIXELS:
        raise shape.wrong(f"images of up to {MAX_PIXELS:,} pixels")
    count = label.get("numClasses", 0).number(0, MOST_CLASSES)
    names_file = folder / "label.labels.txt"
    names = io.StringIO(read_bytes(names_file).decode()) if names_file.is_file() else map(str, range(count))
    class_names = tuple(islice(filter(None, map(str.strip, names)), count + 1))
    if len(class_names) != count or count == 0:
        raise DataError(
            f"A TFDS dataset does not name its classes. Received: {len(class_names)} names for {count} classes in "
            f"{str(folder)!r}. Prepare the dataset again."
        )
    return (height, width, channels), class_names, dtype == "uint16"


def _needed_splits(name: str, splits: Sequence[str], stored: list[str]) -> tuple[list[str], tuple[int, ...]]:
    """Those of the stored splits that some splits need, and the splits to cut from train."""
    cut: tuple[int, ...] = ()
    if "train" in stored and "validation" not in stored:
        cut = (VALIDATION,) if "test" in stored else (TEST, VALIDATION)
    needed = set()
    for split in [part for whole in splits for part in parts_of(whole)]:
        if split in stored:
            needed.add(split)
        elif split == "all" and stored:
            needed.update(stored)
        elif split != "all" and SPLITS.index(split) in cut:
            needed.add("train")
        else:
            raise MissingSplit(
                f"A TFDS dataset has no {split} split. Received: {name!r}. Valid: {', '.join(stored) or 'none'}"
                + (", all." if stored else ".")
            )
    return [split for split in stored if split in needed], cut


def _shards(name: str, folder: Path, info: _Info, wanted: list[_Split]) -> list[Any]:
    """The files of some splits, each a sequence of records."""
    open_shard = _shard_opener(name, info.file_format)
    shards = []
    for split in wanted:
        for number, length in enumerate(split.lengths):
            path = folder / _shard_name(info, split, number)
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
    return shards


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


def _shard_name(info: _Info, split: _Split, number: int) -> str:
    count = len(split.lengths)
    replacements = {
        "{DATASET}": info.name,
        "{SPLIT}": split.name,
        "{FILEFORMAT}": info.file_format,
        "{SHARD_X_OF_Y}": f"{number:05d}-of-{count:05d}",
        "{SHARD_INDEX}": f"{number:05d}",
        "{NUM_SHARDS}": f"{count:05d}",
    }
    text = split.template
    for placeholder, value in replacements.items():
        text = text.replace(placeholder, value)
    return text


def _fingerprint(folder: Path, info: _Info, class_names: tuple[str, ...]) -> str:
    """A hash of what TFDS states about the dataset: hashing the records of a large one would take minutes."""
    stated = {
        "name": info.others["name"],
        "config": info.others["configName"],
        "version": info.others["version"],
        "splits": sorted((split.name, split.lengths, split.size) for split in info.splits),
        "checksums": info.others["downloadChecksums"],
        "features": _json(folder / "features.json").value,
        "class_names": class_names,
    }
    return hashlib.blake2b(json.dumps(stated, sort_keys=True).encode(), digest_size=16).hexdigest()
