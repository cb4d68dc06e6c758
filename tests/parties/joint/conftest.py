from tests.parties.joint.running import (
    group,
    http_group,
    joint_server,
    local_server,
    signs_group,
    signs_server,
)

__all__ = ["group", "http_group", "joint_server", "local_server", "signs_group", "signs_server"]
