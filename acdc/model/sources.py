"""Find the folder that a model's name stands for, and refuse what could not be loaded safely.

A model is a bundled name, a local folder, or a name on the Hugging Face hub. Whatever it is, it ends as a folder with
`config.json` and safetensors files: pickled weights are never read and code from the hub is never run.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from acdc.errors import InputError
from acdc.files import existing_path, read_json

BUNDLED = {"trio": Path(__file__).parent / "bundled" / "trio"}
NATIVE = "TransformerLensNative"
FAMILIES = {
    "GPT2LMHeadModel": "gpt2",
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "GPTNeoXForCausalLM": "gpt-neox",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    NATIVE: "native",
}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ["*.json", "*.txt", "*.model"]
_HUB_WEIGHTS = ["*.safetensors"]
MODEL_FILES = (*_HUB_FILES, *_HUB_WEIGHTS)


@dataclass(frozen=True)
class Source:
    """A folder with a model in it: its display name, hub revision (or None), parsed config and architecture."""

    name: str
    folder: Path
    revision: str | None
    config: dict
    architecture: str

    @property
    def family(self) -> str:
        return FAMILIES[self.architecture]

    @property
    def weight_files(self) -> list[Path]:
        return sorted(self.folder.glob("*.safetensors"))

    def content_hash(self) -> str:
        """SHA-256 of config.json and every weight file, in the order of their names."""
        digest = hashlib.sha256()
        for path in [self.folder / "config.json", *self.weight_files]:
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def find_source(name: str, revision: str | None = None, weights: bool = True) -> Source:
    """Resolve a model's name. Without `weights`, its configuration and tokenizer are enough, and no more is fetched.

    Raises InputError when there is no such model or its family is not supported.
    """
    if name in BUNDLED:
        return _open_folder(name, BUNDLED[name], None, weights)
    path = existing_path(name)
    if path is not None and path.is_dir():
        return _open_folder(path.resolve().name, path, None, weights)
    if path is not None:
        raise InputError(f"model {name!r} is a file: give the folder that holds config.json and model.safetensors")
    if not is_hub_name(name):
        raise InputError(f"model folder {name!r} does not exist")
    return _open_folder(name, *_download(name, revision, weights), weights)


def is_hub_name(name: str) -> bool:
    """Whether a name could be one on the hub."""
    return _HUB_NAME.fullmatch(name) is not None


def _download(name: str, revision: str | None, weights: bool) -> tuple[Path, str]:
    """(snapshot folder, commit) of a hub model; from the local cache when the hub cannot be reached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    patterns = [*_HUB_FILES, *(_HUB_WEIGHTS if weights else [])]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except RevisionNotFoundError:
        raise InputError(f"model {name!r} has no revision {revision!r} on the hub") from None
    except RepositoryNotFoundError:
        raise InputError(
            f"model {name!r} is not on the hub, no bundled model ({', '.join(BUNDLED)}) and no folder"
        ) from None
    except Exception as error:  # the hub client raises errors of several HTTP libraries; all mean: not to be had now
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"model {name!r} is no bundled model ({', '.join(BUNDLED)}), no local folder, "
            f"and cannot be fetched from the hub: {reason}"
        ) from None
    return folder, folder.name


def _open_folder(name: str, folder: Path, revision: str | None, weights: bool) -> Source:
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise InputError(f"model folder {folder} has no config.json")
    config = read_json(config_path)
    if not isinstance(config, dict):
        raise InputError(f"{config_path} must hold a JSON object")
    source = Source(name, folder, revision, config, _architecture(config_path, config))
    if weights and not source.weight_files:
        pickled = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(pattern))
        hint = f"; {pickled[0]} is a pickle, which acdc never loads: convert it to safetensors" if pickled else ""
        raise InputError(f"model folder {folder} has no safetensors weights{hint}")
    return source


def _architecture(path: Path, config: dict) -> str:
    listed = config.get("architectures")
    named = config.get("architecture") or (listed[0] if isinstance(listed, list) and listed else None)
    if isinstance(named, str) and named in FAMILIES:
        return named
    if not isinstance(named, str):
        raise InputError(f'{path} names no architecture: expected \'architectures\' or "architecture": "{NATIVE}"')
    families = ", ".join(FAMILIES.values())
    code = " (and acdc runs no code from a model's repository)" if config.get("auto_map") else ""
    raise InputError(f"{path}: architecture {named!r} is not supported at edge level{code}; supported: {families}")
