"""The recipe refuses a saved model that still has its heads, and shows what it was given."""

import pytest

import inception_from_scratch as recipe
import reporting
from kzoo.saving import save_model


def test_a_saved_model_must_have_no_heads(tmp_path):
    (tmp_path / "config.json").write_text("{}")  # by which a run directory is known
    save_model(recipe.net("without-heads"), tmp_path / "best.keras")
    recipe.check_saved(tmp_path)
    save_model(recipe.net("with-heads"), tmp_path / "best.keras")
    with pytest.raises(SystemExit, match="still has auxiliary heads"):
        recipe.check_saved(tmp_path)


def test_the_page_shows_the_last_epoch():
    figures = {"epoch": [1, 2], "loss": [2.25, 0.5], "accuracy": [0.125, 0.75], "val_loss": [2.0, 1.5]}
    history = {**figures, "val_accuracy": [0.25, 0.5], "auxiliary_1_loss": [3.0, 2.0], "auxiliary_2_loss": [3.0, 2.0]}
    histories = {"with-heads": history, "without-heads": {**history, "loss": [2.5, 1.0]}}
    page = reporting.page("inception_from_scratch", {"results": recipe.table(histories)})
    assert "| with auxiliary heads | 2.25 | 0.50 | 75.0 | 1.50 | 50.0 |" in page
    assert "| without | 2.50 | 1.00 | 75.0 | 1.50 | 50.0 |" in page
    assert recipe.plot(histories)[:4] == b"\x89PNG"
