"""Compiling the same model for Concrete again gives the same model."""

from engines.deployment import Deployment
from training.compile import compile_deployment


def test_recompiling_for_concrete_gives_same_version_and_programs(trained, tmp_path):
    """Binaries and warm-up inputs may differ, but nothing that identifies the model."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        compile_deployment(trained, folder, ["concrete"], score_bits=7)
    one, other = (Deployment.load(folder).manifest for folder in folders)
    assert one.model_version == other.model_version
    assert one.engines == other.engines
    programs = [[(f / "programs" / n).read_bytes() for n in ("decide.json", "explain.json")]
                for f in folders]  # fmt: skip
    assert programs[0] == programs[1]
    for name in ("client.specs.json", "structure.json"):
        first, second = ((folder / "concrete" / name).read_bytes() for folder in folders)
        assert first == second
