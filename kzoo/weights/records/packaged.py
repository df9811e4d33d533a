"""What kzoo's authors trained, by recipes/mnist_weights.py; the files are in kzoo/weights/files."""

from dataclasses import replace

from kzoo.weights.record import MNIST, Accuracy, File, Record

RECORDS = (
    Record(
        model="mnist_net",
        tag="mnist",
        source="kzoo",
        project=None,
        licence="Apache-2.0",
        format="safetensors",
        files=(
            File(
                name="mnist_net-mnist.safetensors",
                size=2_100_944,
                sha256="704e5c0f2a2648261c82ad668da58459415ffd917be5b01451c973f158354426",
            ),
        ),
        classes=10,
        labels="mnist",
        input_size=(28, 28, 1),
        preprocessing=replace(MNIST, resize=28),
        accuracy=Accuracy(
            top1=0.995,
            top5=1.0,
            dataset="MNIST test",
            measured=True,
            source="recipes/mnist_weights.py",
            date="2026-11-22",
        ),
    ),
)
