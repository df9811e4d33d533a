"""kzoo's models on a GPU, by Keras on JAX: the same logits as on a CPU, and the speed against torchvision's models.

Needs a machine with a GPU, JAX and PyTorch for it. TensorFlow is not needed there.

Command: python benchmarks/gpu.py logits logits.npz        (anywhere, on a CPU, with any backend of Keras)
         KERAS_BACKEND=jax python benchmarks/gpu.py compare logits.npz
         KERAS_BACKEND=jax python benchmarks/gpu.py speed
Time:    compare 1 min 49 s, speed 3 min 26 s on an NVIDIA H100
Result:  docs/gpu.md
"""

import gc
import os
import sys
import time
import zlib
from collections.abc import Callable
from statistics import median

import numpy as np

import kzoo
from kzoo.backend import keras

# A model of each family, and of each form of it.
MODELS = [
    *("mnist_net", "vgg11", "vgg16_bn", "inception_v1", "inception_v1_bn", "resnet18", "resnet50", "resnet50_v1_5"),
    *("resnext50_32x4d", "wide_resnet50_2", "plain18", "resnet20_cifar", "resnet50_v2", "resnet18_v2", "resnet34_v2"),
]
# kzoo's name, and torchvision's.
COMPARED = {"resnet50_v1_5": "resnet50", "resnet18": "resnet18"}
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
BATCH_SIZE, BATCHES, WARM_UP, ROUNDS = 128, 24, 4, 3


def logits(name: str) -> np.ndarray:
    """The logits of four random images, by a model whose weights NumPy draws: (4, classes) float32."""
    model = kzoo.create_model(name, classifier_activation=None)
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    model.set_weights([_drawn(draw, weight.path.split("/")[-1], tuple(weight.shape)) for weight in model.weights])
    images = draw.integers(0, 256, (4, *model.input_shape[1:]), dtype="uint8")
    return np.asarray(model.predict(images, verbose=0))


def _drawn(draw, kind: str, shape: tuple) -> np.ndarray:
    if kind == "kernel":
        return draw.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
    return draw.uniform(0.7, 1.3, shape) if kind in ("gamma", "moving_variance") else draw.normal(0, 0.05, shape)


def compare(path: str) -> None:
    """Print the largest difference of each model's logits from the file's, by the largest logit."""
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")  # else float32 products are rounded to tf32
    expected = np.load(path)
    print("| model | largest difference | same classes |\n|---|---|---|")
    for name in MODELS:
        found, wanted = logits(name), expected[name]
        difference = np.abs(found - wanted).max() / np.abs(wanted).max()
        same = "yes" if (found.argmax(-1) == wanted.argmax(-1)).all() else "NO"
        print(f"| `{name}` | {difference:.1e} | {same} |", flush=True)


def speed() -> None:
    """Print images/s of training and prediction, torchvision's and kzoo's model in turn."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (BATCH_SIZE * BATCHES, 224, 224, 3), dtype="uint8")
    labels = np.arange(len(images)) % 1000
    print("| model | precision | training: torchvision | kzoo | ratio | prediction: torchvision | kzoo | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name, other in COMPARED.items():
        for precision in PRECISIONS:
            theirs = torchvision_speed(other, precision, images, labels)
            _free()
            ours = keras_speed(name, precision, images, labels)
            _free()
            cells = [f"{a:,.0f} | {b:,.0f} | {b / a:.2f}" for a, b in zip(theirs, ours, strict=True)]
            print(f"| `{name}` | {precision} | {' | '.join(cells)} |", flush=True)


def keras_speed(name: str, precision: str, images, labels) -> tuple[float, float]:
    """Images/s of plain `fit` and `predict`."""
    keras.mixed_precision.set_dtype_policy(precision)
    model = kzoo.create_model(name)
    model.compile("sgd", "sparse_categorical_crossentropy")
    few = WARM_UP * BATCH_SIZE
    model.fit(images[:few], labels[:few], batch_size=BATCH_SIZE, verbose=0)
    training = _rate(lambda: model.fit(images, labels, batch_size=BATCH_SIZE, verbose=0))
    model.predict(images[:few], batch_size=BATCH_SIZE, verbose=0)
    prediction = _rate(lambda: model.predict(images, batch_size=BATCH_SIZE, verbose=0))
    return training, prediction


def torchvision_speed(name: str, precision: str, images, labels) -> tuple[float, float]:
    """Images/s of a plain training loop and of prediction: channels last, autocast, pinned memory."""
    import torch  # pyright: ignore[reportMissingImports] - not among kzoo's dependencies
    import torchvision  # pyright: ignore[reportMissingImports]

    dtype = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}.get(precision)
    autocast = torch.autocast("cuda", dtype or torch.float16, enabled=dtype is not None)
    model = getattr(torchvision.models, name)().cuda().to(memory_format=torch.channels_last)
    optimizer, loss = torch.optim.SGD(model.parameters(), 0.01), torch.nn.CrossEntropyLoss()
    scaler = torch.amp.GradScaler(enabled=dtype is torch.float16)
    mean, deviation = (255 * torch.tensor(x).cuda() for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def batch(index: int):
        rows = slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
        pixels = torch.from_numpy(images[rows]).pin_memory().cuda(non_blocking=True)
        return ((pixels.float() - mean) / deviation).permute(0, 3, 1, 2), torch.from_numpy(labels[rows]).cuda()

    def train(batches: int) -> None:
        model.train()
        for pixels, targets in map(batch, range(batches)):
            optimizer.zero_grad(set_to_none=True)
            with autocast:
                value = loss(model(pixels), targets)
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
        torch.cuda.synchronize()

    def predict(batches: int) -> None:
        model.eval()
        with torch.no_grad(), autocast:
            for pixels, _ in map(batch, range(batches)):
                model(pixels).float().cpu()

    train(WARM_UP)
    training = _rate(lambda: train(BATCHES))
    predict(WARM_UP)
    prediction = _rate(lambda: predict(BATCHES))
    return training, prediction


def _free() -> None:
    """Give back what the last model held."""
    import jax
    import torch  # pyright: ignore[reportMissingImports]

    keras.utils.clear_session()
    jax.clear_caches()
    gc.collect()
    torch.cuda.empty_cache()


def _rate(work: Callable[[], object]) -> float:
    """Images/s: the median of several times."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return BATCH_SIZE * BATCHES / median(seconds)


def main() -> None:
    """Do what the command line says."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory too
    what, *path = sys.argv[1:] or ["nothing"]
    if what == "logits" and len(path) == 1:
        np.savez(path[0], **{name: logits(name) for name in MODELS})  # pyright: ignore[reportArgumentType]
    elif what == "compare" and len(path) == 1:
        compare(path[0])
    elif what == "speed" and not path:
        speed()
    else:
        sys.exit(f"Received: {sys.argv[1:]}. Valid: logits FILE, compare FILE, speed.")


if __name__ == "__main__":
    main()
