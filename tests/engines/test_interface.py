"""The public facts of a deployment."""

from trials.joint_stand_in import public_model


def test_digest_of_a_changed_copy_is_its_own():
    model = public_model()
    known = model.digest
    assert model.model_copy().digest == known
    changed = model.model_copy(update={"model_version": "another-model"})
    assert changed.digest == public_model(model="another-model").digest != known
    assert model.digest == known
