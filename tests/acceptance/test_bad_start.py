"""What cannot start says why in one sentence on standard error, with exit code 2 and without a traceback."""

import os
import socket
import subprocess

import pytest

from tests.acceptance.packages import write_package


def sentences(text):
    """What was said to a person: the lines that are not the log's JSON."""
    return [line for line in text.splitlines() if line and not line.startswith("{")]


@pytest.fixture
def refused(new_house):
    """Starts a house that must not start; the one sentence it says."""

    def start(house, *arguments):
        answer = house.run(*(arguments or ("up",)))
        assert answer.returncode == 2, answer.stderr
        assert "Traceback" not in answer.stderr
        said = sentences(answer.stderr)
        assert len(said) == 1, said
        assert said[0].endswith(".")
        return said[0]

    return start


@pytest.fixture
def taken_port():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        yield str(door.getsockname()[1])


def test_an_unknown_key(new_house, refused):
    assert "listener.prot" in refused(new_house(config="[listener]\nprot = 11112\n"))


def test_a_value_of_the_wrong_kind(new_house, refused):
    assert "web.public_names" in refused(new_house(config="[web]\npublic_names = 8\n"))


def test_a_file_that_is_not_toml(new_house, refused):
    assert "not valid TOML" in refused(new_house(config="[listener\n"))


def test_a_configuration_that_is_not_there(new_house, refused):
    house = new_house()
    house.config.unlink()
    assert "cannot be read" in refused(house)


def test_a_door_open_to_the_network_without_senders(new_house, refused):
    assert "senders" in refused(new_house(config='[listener]\nhost = "0.0.0.0"\n'))


def test_a_page_open_to_the_network_without_an_account(new_house, refused):
    assert "hoichan user add" in refused(new_house(environment={"HOICHAN_WEB__HOST": "0.0.0.0"}))


@pytest.mark.parametrize(("role", "command"), [("LISTENER", "up"), ("WEB", "web")])
def test_a_port_that_is_taken(new_house, refused, taken_port, role, command):
    said = refused(new_house(environment={f"HOICHAN_{role}__PORT": taken_port}), command)
    assert f"Port {taken_port} on 127.0.0.1" in said


@pytest.mark.parametrize("command", ["up", "status", "work", "web", "listen"])
def test_a_data_folder_that_cannot_be_made(new_house, refused, command):
    house = new_house()
    house.data_dir = house.config / "data"  # below a file
    assert str(house.data_dir) in refused(house, command)


def test_a_model_whose_weights_are_not_the_ones_of_its_manifest(new_house, refused):
    house = new_house()
    folder = write_package(house.data_dir / "models", name="cxr-damaged")
    with (folder / "weights.onnx").open("ab") as weights:
        weights.write(b"x")
    said = refused(house, "work")
    assert "cxr-damaged" in said
    assert "checksum" in said


def test_a_command_that_does_not_exist(hoichan):
    answer = hoichan("upp")
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr


def test_a_read_only_disk(new_house, refused, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let us mount")
    try:
        house = new_house()
        house.data_dir = folder / "data"
        assert "Read-only file system" in refused(house)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
