"""What the tests of fine-tuning share."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def features_home(tmp_path_factory):
    """A KZOO_HOME of the tests' own: features that another version has left there would be taken for new ones."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("KZOO_HOME", str(folder))
        yield folder
