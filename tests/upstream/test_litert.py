"""TensorFlow's converter to LiteRT leaves variables uninitialized; kzoo gives it constants (deploy/converting.py)."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.chatter import without_chatter
from kzoo.deploy.converting import frozen


def run(content, value):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.filterwarnings("ignore")
def test_variables_that_the_converter_finds_have_no_values():
    from kzoo.backend import keras

    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2, bias_initializer="ones")(inputs))
    function = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec((1, 4), tf.float32)])
    value = np.ones((1, 4), np.float32)
    convert = tf.lite.TFLiteConverter.from_concrete_functions
    with without_chatter():
        theirs = convert([function.get_concrete_function()], model).convert()
        ours = convert([frozen(function)]).convert()
    assert not np.allclose(run(theirs, value), model(value))
    np.testing.assert_allclose(run(ours, value), model(value), rtol=1e-6)
