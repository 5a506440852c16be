"""Write the digests of the user's own files to data/digests/NAME.json, from which `plan` sees that files changed."""

from deepclust import layout
from deepclust.datasets import _own
from deepclust.errors import UserError
from deepclust.files import read_yaml, write_json
from deepclust.script import run_as_script


def main(name: str) -> None:
    known = read_yaml(layout.CELLS)["own_files"]
    if name not in known:
        raise UserError(f"{layout.CELLS} names no own data '{name}'; it has {', '.join(known) or 'none'}; correct that")
    write_json(layout.DIGESTS / f"{name}.json", _own.digests(known[name]["path"]))


if __name__ == "__main__":
    run_as_script(main)
