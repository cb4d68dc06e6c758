"""The authority by which a server's certificate is verified."""

import ssl

import pytest

from tests.ui.certificates import certificates_for
from utils.certificates import distrust, verification
from utils.errors import SettingsInvalid


def test_only_a_private_authority_is_trusted_if_there_is_one(tmp_path):
    made = certificates_for(tmp_path, ["localhost"], [])
    context = verification(made.authority)
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    assert [found["subject"] for found in context.get_ca_certs()] == [
        ((("commonName", "Test authority"),),)
    ]
    assert verification(None) is True


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_unusable_file_names_the_setting(tmp_path, content):
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=r"TRISEAL_SERVER_CA: .*authority\.pem"):
        verification(path)


def test_reason_is_found_behind_other_errors():
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_message = "self-signed certificate"
    try:
        try:
            raise refused
        except ssl.SSLError as error:
            raise OSError("no connection") from error
    except OSError as error:
        assert distrust(error) == "self-signed certificate"
    assert distrust(OSError("no connection")) is None
