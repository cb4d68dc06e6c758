"""Compiling the same model for Concrete again gives the same model."""

from engines.deployment import Deployment
from training.compile import compile_deployment


def test_recompiling_for_concrete_gives_same_version_and_programs(
    both_deployment, trained, tmp_path
):
    """Binaries and warm-up inputs may differ, but nothing that identifies the model."""
    again = tmp_path / "again"
    compile_deployment(trained, again, ["concrete"], score_bits=7)
    one, other = (Deployment.load(folder).manifest for folder in (both_deployment, again))
    assert one.model_version == other.model_version
    assert one.engines["concrete"] == other.engines["concrete"]
    for name in (
        "programs/decide.json",
        "programs/explain.json",
        "concrete/client.specs.json",
        "concrete/structure.json",
    ):
        first, second = ((folder / name).read_bytes() for folder in (both_deployment, again))
        assert first == second
