"""A table of settings: name, default and meaning, read from a TOML file and the environment.

A setting's environment variable is its name in capitals behind a prefix; the environment wins over the file.
`docs/reference/settings.md` lists the same tables and a test keeps them equal.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muniment.errors import UsageError

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name (with its unit), default, one-sentence meaning, and the least value of a number."""

    name: str
    default: Any
    help: str
    least: int = 1


def read_values(
    table: tuple[Setting, ...], file: Path, environ: Mapping[str, str], prefix: str
) -> dict[str, Any]:
    """Read the values of all settings of a table: defaults, then the file, then the environment.

    Raises:
        UsageError: The file is not TOML, or names an unknown setting, or a value has the wrong type or is too small.
    """
    values = {setting.name: setting.default for setting in table}
    for name, value in _read_table(file).items():
        if name not in values:
            raise UsageError(f"{file}: unknown setting {name!r}")
        values[name] = _coerce(name, value, values[name], str(file))
    for name, default in list(values.items()):
        variable = f"{prefix}{name.upper()}"
        if variable in environ:
            values[name] = _coerce_text(name, environ[variable], default, variable)
    for setting in table:
        value = values[setting.name]
        if type(value) is int and value < setting.least:
            raise UsageError(
                f"setting {setting.name!r} must be at least {setting.least}, got {value}"
            )
    return values


def _read_table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from error


def _coerce(name: str, value: Any, default: Any, where: str) -> Any:  # noqa: ANN401  # any TOML value
    if isinstance(default, tuple):
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
    elif type(value) is type(default):
        return value
    wanted = "a list of strings" if isinstance(default, tuple) else type(default).__name__
    raise UsageError(f"{where}: setting {name!r} must be {wanted}, got {value!r}")


def _coerce_text(name: str, text: str, default: Any, where: str) -> Any:  # noqa: ANN401  # any setting's type
    if isinstance(default, bool):
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off", ""):
            return False
    elif isinstance(default, int):
        if text.lstrip("-").isdecimal():
            return int(text)
    elif isinstance(default, tuple):
        return tuple(item.strip() for item in text.split(",") if item.strip())
    else:
        return text
    raise UsageError(f"{where}: setting {name!r} must be {type(default).__name__}, got {text!r}")
