"""The models: one file a family, one function a model, each of which returns an ordinary Functional `keras.Model`."""

from kzoo.models.registry import create_model, list_models

__all__ = ["create_model", "list_models"]
