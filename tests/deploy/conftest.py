"""What the tests of exported models share: small trained models, exported once."""

import numpy as np
import pytest
from exported_models import name_of, needs

import kzoo
from kzoo import data
from kzoo.deploy import formats


@pytest.fixture(params=formats.FORMATS, scope="session")
def kind(request):
    needs(request.param)
    return request.param


@pytest.fixture(scope="session")
def digits_test():
    return data.load("digits", "test", image_size=28)


@pytest.fixture(scope="session")
def mnist():
    """A trained model that knows its classes."""
    return kzoo.create_model("mnist_net", weights="mnist")


@pytest.fixture(scope="session")
def exported(kind, mnist, digits_test, tmp_path_factory):
    """`mnist` in each format."""
    from kzoo import deploy

    path = tmp_path_factory.mktemp(kind) / name_of(kind)
    return deploy.export(mnist, path, kind, images=digits_test)


@pytest.fixture(scope="session")
def photos(digits_test, tmp_path_factory):
    """A folder of image files, of another size than the model's."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    for row in range(5):
        pixels = digits_test.reader.fetch(np.array([row]))[0, :, :, 0]
        Image.fromarray(pixels).resize((40, 52)).save(folder / f"{row}.png")
    return folder
