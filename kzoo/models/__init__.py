"""The models: one file a family, with a card for each model; `create_model` builds an ordinary `keras.Model`."""

from kzoo.models.registry import create_model, list_models

__all__ = ["create_model", "list_models"]
