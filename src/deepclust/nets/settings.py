"""What a network of params.yaml may say: architecture, size and how it is pretrained. Read without importing torch."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """Unknown keys are errors, types are not converted, and settings do not change once read."""

    model_config = ConfigDict(frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, content: Any) -> Any:
        if isinstance(content, dict) and (unknown := [key for key in content if key not in cls.model_fields]):
            allowed = ", ".join(cls.model_fields)
            found = {"key": str(unknown[0]), "value": content[unknown[0]]}
            raise PydanticCustomError("unknown_key", f"unknown key, use one of {allowed}", found)
        return content


class Augmentation(Strict):
    """Random affine maps, drawn afresh for every image of every batch (DECS, Section 4.2)."""

    rotation: float = Field(10.0, ge=0, le=180, description="largest angle, degrees")
    shift: float = Field(0.1, ge=0, le=1, description="largest translation, as a share of the side")
    crop: float = Field(0.1, ge=0, lt=1, description="largest share of the side cut away before resizing back")


class NetworkSettings(Strict):
    """What every architecture shares: the code's size and the training of the reconstruction."""

    n_embedding: PositiveInt = Field(10, description="P, features of the code")
    initial: Literal["fan_in", "glorot"] = Field("fan_in", description="scheme of the initial weights (nets/init.py)")
    epochs: NonNegativeInt = Field(50, description="0 leaves the initial weights (PC-X)")
    batch_size: PositiveInt = 256
    optimizer: Literal["adam", "adadelta", "sgd"] = "adam"
    learning_rate: float = Field(1e-3, gt=0, le=1, description="AdaDelta's is a factor of its own steps: 1")
    norm_weight: float = Field(0.0, ge=0, description="of mean (||z|| - 1)^2 against ||x - x'||^2 (ULHE-DC)")
    augmentation: Augmentation | None = None


class MLPSettings(NetworkSettings):
    """Fully connected d-500-500-2000-P (DEC, Section 4.2), mirrored in the decoder."""

    architecture: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = Field((500, 500, 2000), min_length=1, strict=False)  # a list in YAML
    activation: Literal["relu", "sigmoid"] = "relu"
    batch_norm: bool = False
    layerwise_epochs: NonNegativeInt = Field(0, description="epochs a layer of the denoising start; 0 for none")
    corruption: float = Field(0.2, ge=0, lt=1, description="share of inputs zeroed in the denoising start")


class ConvSettings(NetworkSettings):
    """3 x 3 convolutions of 32-64-128-256 channels and a dense code (DECS, Section 4.2)."""

    architecture: Literal["conv"] = "conv"
    channels: tuple[PositiveInt, ...] = Field((32, 64, 128, 256), min_length=1, strict=False)
    batch_norm: bool = True
    augmentation: Augmentation | None = Augmentation()


AnyNetwork = Annotated[MLPSettings | ConvSettings, Field(discriminator="architecture")]
