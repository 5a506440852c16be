"""Write the digests of the user's own files to data/digests/NAME.json, from which `plan` learns that they changed."""

from deepclust.datasets import _own
from deepclust.files import read_yaml, write_json
from deepclust.script import run_as_script


def main(name: str) -> None:
    write_json(f"data/digests/{name}.json", _own.digests(read_yaml("params.yaml")["own"][name]["path"]))


if __name__ == "__main__":
    run_as_script(main)
