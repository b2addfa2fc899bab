import pytest

from hoichan.settings import Folder, Settings, Storage
from service.doctor import examine


@pytest.mark.parametrize(
    ("made", "passed", "says"), [(True, True, "after = 'move'"), (False, False, "is not there")]
)
def test_a_watched_folder_must_be_there(tmp_path, made, passed, says):
    if made:
        (tmp_path / "in").mkdir()
    settings = Settings(
        storage=Storage(data_dir=tmp_path / "data", reserve_bytes=0),
        folders=(Folder(path=tmp_path / "in", sender="GATEWAY", after="move"),),
    )
    (check,) = [one for one in examine(settings) if one.name == "folder of GATEWAY"]
    assert check.passed is passed and says in check.detail
