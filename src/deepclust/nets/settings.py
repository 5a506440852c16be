"""What a network of params.yaml may say: architecture, size and how it is pretrained. Read without importing torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]


class Strict(BaseModel):
    """Unknown keys are errors, and settings do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Augmentation(Strict):
    """Random affine maps, drawn afresh for every image of every batch (DECS, Section 4.2)."""

    rotation: float = Field(10.0, ge=0, le=180, description="largest angle, degrees")
    shift: float = Field(0.1, ge=0, le=1, description="largest translation, as a share of the side")
    crop: float = Field(0.1, ge=0, lt=1, description="largest share of the side cut away before resizing back")


class NetworkSettings(Strict):
    """What every architecture shares: the code's size and the training of the reconstruction."""

    n_embedding: PositiveInt = Field(10, description="P, features of the code")
    epochs: PositiveInt = 50
    batch_size: PositiveInt = 256
    learning_rate: float = Field(1e-3, gt=0, lt=1, description="Adam's")


class MLPSettings(NetworkSettings):
    """Fully connected d-500-500-2000-P (DEC, Section 4.2), mirrored in the decoder."""

    architecture: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = Field((500, 500, 2000), min_length=1)
    batch_norm: bool = False
    layerwise_epochs: NonNegativeInt = Field(0, description="epochs a layer of the denoising start; 0 for none")
    corruption: float = Field(0.2, ge=0, lt=1, description="share of inputs zeroed in the denoising start")


class ConvSettings(NetworkSettings):
    """3 x 3 convolutions of 32-64-128-256 channels and a dense code (DECS, Section 4.2)."""

    architecture: Literal["conv"] = "conv"
    channels: tuple[PositiveInt, ...] = Field((32, 64, 128, 256), min_length=1)
    batch_norm: bool = True
    augmentation: Augmentation | None = Augmentation()


AnyNetwork = Annotated[MLPSettings | ConvSettings, Field(discriminator="architecture")]
