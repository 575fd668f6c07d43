"""What the sections of the settings are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr


class Section(BaseModel):
    """A section of the settings: frozen, without unknown keys."""

    # Inputs stay out of pydantic's errors: they may be a secret.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


def plain_key(key: SecretStr) -> SecretStr:
    """The secret without blanks around it. Raises `ValueError` if it is not plain ASCII."""
    text = key.get_secret_value().strip()
    # Anything else cannot stand in a header, and the HTTP library would quote it in an error.
    if not text or not all("!" <= character <= "~" for character in text):
        raise ValueError("not a key")
    return SecretStr(text)


def user_path(text: str) -> str:
    """The path with `~` resolved. Raises `ValueError` if it is none."""
    if "\0" in text:
        raise ValueError("not a path")
    try:
        return str(Path(text).expanduser())
    except RuntimeError:  # ~ of a user who does not exist
        raise ValueError("not a path") from None


PathText = Annotated[str, Field(min_length=1), AfterValidator(user_path)]
