"""Compiling the same model for Concrete again gives the same model."""

from engines.deployment import Deployment
from training.compile import compile_deployment


def test_recompiling_for_concrete_gives_the_same_engine_and_programs(
    trained, both_deployment, tmp_path
):
    """Binaries may differ, but nothing that identifies the model.

    The version is a digest of what is compared here and of the other engines.
    """
    compile_deployment(trained, tmp_path / "again", ["concrete"], score_bits=7)
    folders = [both_deployment, tmp_path / "again"]
    one, other = (Deployment.load(folder).manifest for folder in folders)
    assert one.engines["concrete"] == other.engines["concrete"]
    programs = [[(f / "programs" / n).read_bytes() for n in ("decide.json", "explain.json")]
                for f in folders]  # fmt: skip
    assert programs[0] == programs[1]
    for name in ("client.specs.json", "structure.json"):
        first, second = ((folder / "concrete" / name).read_bytes() for folder in folders)
        assert first == second
