"""The errors and their wording."""

import pytest

from kzoo import errors


def test_arguments_are_value_errors_too():
    with pytest.raises(ValueError, match="Unknown"):
        raise errors.unknown("model", "x", [])
    for name in ("DataError", "RunError", "WeightsError", "TrainingDiverged", "TrainingInterrupted", "InvalidArgument"):
        assert issubclass(getattr(errors, name), errors.KzooError)


@pytest.mark.parametrize(
    ("received", "valid", "hint", "message"),
    [
        ("adm", ["sgd", "adam"], "", "Unknown thing. Received: 'adm'. Did you mean 'adam'? Valid: adam, sgd."),
        ("ADAM", ["sgd", "adam"], "", "Unknown thing. Received: 'ADAM'. Did you mean 'adam'? Valid: adam, sgd."),
        ("zzz", ["sgd"], "See there.", "Unknown thing. Received: 'zzz'. Valid: sgd. See there."),
        (7, ["sgd"], "", "Unknown thing. Received: 7. Valid: sgd."),
        ("zzz", [], "", "Unknown thing. Received: 'zzz'. Valid: none."),
    ],
)
def test_unknown(received, valid, hint, message):
    assert str(errors.unknown("thing", received, valid, hint)) == message
