"""The code that decides a result: the files of this package that a script imports, directly or not, with their hashes.

A hash is that of the code alone. Comments, docstrings, formatting, the texts of errors and log lines, and Python's
version may change without a day of training being repeated. `PLUMBING` decides no result and has no hash, and code in
`SAME_RESULTS` has that of older code whose results it keeps.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_PACKAGE = Path(__file__).parent

# File -> the reason why its changes change no result, and the test that would notice if they did.
PLUMBING = {
    "_version.py": "a number for people: tests/test_wheel.py",
    "closure.py": "finds code and runs none of it: tests/test_closure.py",
    "config": "what it comes to is in the plan, value by value: tests/test_config.py",
    "errors.py": "classes of errors, and a refusal: tests/test_script.py, tests/methods/test_samples.py",
    "files.py": "a file holds the bits that were written: tests/test_files.py",
    "integrity.py": "refuses a file or lets it be: tests/test_integrity.py",
    "layout.py": "names of places: tests/pipeline/test_label_wall.py",
    "mapped.py": "rows of a file are those of the array: tests/test_files.py, tests/training/test_rows.py",
    "metadata.py": "what it reads of a declaration is in the plan: tests/methods/test_discovery.py",
    "methods/__init__.py": "finds a method's file by its name: tests/methods/test_discovery.py",
    "methods/_samples.py": "what a method reads is X, value by value: tests/methods/test_samples.py",
    "methods/_saving.py": "a restored method is the one saved, bit for bit: tests/methods/test_every_method.py",
    "nets/__init__.py": "finds a network's file by its name: tests/nets/test_networks.py",
    "runs.py": "which seed runs, and where its files go: tests/test_runs.py",
    "script.py": "arguments, locks and exit codes: tests/test_script.py",
    "settings.py": "values of settings are in the plan; ranges of augmentation are held: tests/test_config.py",
    "training/checkpoint.py": "a resumed training ends with the same bits: tests/training/test_checkpoint.py",
    "training/replay.py": "a replayed step is the step: tests/training/test_replay.py",
    "training/rows.py": "rows of the data, wherever they are: tests/training/test_rows.py",
}


class Kept(NamedTuple):
    """A change of code that changes no result: hashes of a file's code after and before it, and why that is so."""

    now: str
    before: str
    why: str
    setting: bool = False  # it serves a setting that came later: results with another value than the default need `now`
    added: tuple[str, ...] = ()  # modules imported since then for that setting


# File -> its change. Committed grids were run from nothing with it, and git saw no change: docs/running.md.
# A file that changes again loses its entry, or gets one from the new code to the same older one.
SAME_RESULTS = {
    "cluster.py": Kept(
        "5305e563a2e9fc8d1a797d76cbff196752593cf1247e319e8c2f17f8f2d838e4",
        "168b372391f5f4a29c9e724b5458832295ff6d8ed0a5e267179802dfcdbaf4ed",
        "the samples that all seeds read cannot be written to",
    ),
    "datasets/__init__.py": Kept(
        "523cdac3440c8926ce12f21d1d25351fe741d7b1563d53ea52815dd958eb1930",
        "2d4bd3560b048986b02669c79d40c2025217c6d54381a125b05dff9185cbf49e",
        "a module without SPEC ends in another error",
    ),
    "datasets/_base.py": Kept(
        "3f09e5d0b75f6ea0de001329751296d288c243055c3bd63d47ed42b29ad980c8",
        "6a0e19b7235a04c79a1448d6116940e697d955366ab4c1cdf53a7cfac7d589ef",
        "a data set has names of its columns and bounds, which nothing of the pipeline reads",
    ),
    "datasets/_own/__init__.py": Kept(
        "c7622fa1d7d21f6c66380adb67189e4661e7ab44dbc6edd5956d2433af995616",
        "111ee3fff3a137f94538c1839048b3415b8d442f2bd311e9ed6c7ed0a2f598d4",
        "reading and bounds are functions of their own, for samples that come after the fit",
    ),
    "datasets/_own/tables.py": Kept(
        "4f1846eca5d427a904b9518cde6020c74ba2733068e7861d194238e7ab96d3fa",
        "1d9690e1fe1969aef0a461e6e952efe691eead8f258c456b8407c585ca1f8347",
        "other remedies for files that cannot be read",
    ),
    "evaluate.py": Kept(
        "243392dec3abb3e7fa9188e12c7c18805aa02b76d24f48e440273e3140579481",
        "5d868e3a9a4f1c9df4d61a2cb37a2d0e6756b0ad8a6d66efc77f8d7eb948b841",
        "what internal metrics share is computed once for all labelings",
    ),
    "fetch.py": Kept(
        "d43bbf221fbb42605fcae84e4166c9b5519c39f57cb8bc1aaf5d0c64d6ac39eb",
        "2ab78bb728fda7faa82ffa7b8f7d38b0f42f07495731b4750fd305191b1239d1",
        "files of a download under way are left where they are",
    ),
    "graph.py": Kept(
        "7d7afebecb08d810ed9072cd545b79c7c1bd1aab45991542faddda6ab13722ca",
        "a2a1ba61074e90a4f34444794914508a7ed08042c97926e5f9f326155ba28791",
        "the approximate search stays on the CPU where there is a GPU, which it refuses",
    ),
    "graph/adjacency.py": Kept(
        "8057345af7ad4f3324204e191a65be3e26d4e2e79c2bf9433885b20f04e5a0dd",
        "38bc79c145e82764294474d0169d1df134b7bdf1b91440c054a661ed9e4ef471",
        "masked weights are refused",
    ),
    "graph/knn.py": Kept(
        "96aa14c93080be037cc4f366435b7ef4f63099c4f905ca0ee085998e9a19093d",
        "ddb188d99093b6244406ff654a3de820175c4e43738dd62ec2198668b6012b02",
        "samples whose distances would be 0 in float32 are refused",
    ),
    "methods/_deep.py": Kept(
        "afa3954d94f5c85725c869544013fcba0235488226f99acd7d8117c36b7c30fd",
        "9637bd9601d72456fdcd518ee53219c34a039a5391ba5d1baafb4f99567496f4",
        "rows encoded at a time are a method's to say; the call of the training is shared",
    ),
    "methods/_flat_clustering.py": Kept(
        "3aac056b9b639187de6ba48fb04b076333ec7034dab2f0cb29747739c8cb8376",
        "d7fcc77d3cab9144bb4ef4ce71229e15191dffd50a48d3501f9e2af3b5b0599b",
        "k-means goes to float64 where float32 has no squares; a mixture remarks upon its regularization",
    ),
    "methods/admm/_scheme.py": Kept(
        "305786b0cf5a8255804eb1ad2c59080f39f72cca8a8bbdaace4fceb419f93570",
        "af165354f52bb38cff97a6059e55645d91a329f146e9a7a0bc50a7e5c274f423",
        "the call of the training is shared by the methods, and a length of 0 is allowed",
    ),
    "methods/base.py": Kept(
        "5063848e6925cd7248c9cdefd448dfc9fc0936331203e71641b4575d74b041b8",
        "f6004fec1f8061fa5d815c48c67a259666e82f55e4858ce0ed00fcbf6815290f",
        "reading X is a module; a sparse X is not sorted in place; masked entries and a NaN embedding are refused",
    ),
    "methods/baselines/convex_clustering.py": Kept(
        "37018d8ab4da0168c6ce81d2698949e3f2a96ebeb53fa46608c7050e5ad008c1",
        "4c9243b4dd7a467a4761068985275a9b2e1aa5cb59eb9980f3b7af4473228589",
        "an estimate of memory is bounded by the number of samples",
    ),
    "methods/centroids/decs.py": Kept(
        "212bf78624d38dde97e39cb3953e9aa899b0483799acf455f6ae28ca88d33f65",
        "f40d8581cd6908660f12368b761a9cf4edb913388869010e1c8bb01fed0c0461",
        "the call of the training is shared by the methods, and a length of 0 is allowed",
    ),
    "methods/centroids/tell.py": Kept(
        "3739b4c8fa0a3be0b814fbda1c48b6dec156cc4a3af45de37ccd1e0da20dde5a",
        "57144cf440e23796658efeae8e8bfdcef2c63fbb5442eaa61832257ab9e0ce39",
        "the call of the training is shared by the methods, and a length of 0 is allowed",
    ),
    "methods/centroids/ulhe_dc.py": Kept(
        "0c099ef4f78bbaecbac8a6a11ac182e31709f35d9485fe5843f2f6a1adbea9eb",
        "fe85e7f305d09fc48c863e6c43b1fbf22a3345b3b0eb6a7cc0e3bf1d42eccd6f",
        "a length of 0 is allowed",
    ),
    "methods/generative/deepdpm.py": Kept(
        "7a8d4ef84fc3c6cf64c0a3e7563f3f884342ed5a180ec5c4658d41b0ecc1401d",
        "3a52ee89df41cd2e558e440c77823113902de29475a6d8e84b344e8288fa2597",
        "`units` is new; its default is what codes were in",
        setting=True,
    ),
    "methods/generative/vade.py": Kept(
        "ad880b7488e4404baa801ac1fe3fb08749a539bb52480cbf1a3703199b980a96",
        "668775a710e035d3952272557d940b0689b622eaa4073b39b0427467a8b4acf5",
        "centres decoded in evaluation mode, which BatchNorm alone notices; a shared call of the training; length 0",
    ),
    "methods/graph/ac_gdl.py": Kept(
        "7e8182bf4e6284a1a4eace8b51b1107c68918dfa36173f01d6d03373a371ad0e",
        "981f8938ae46beede8bbb04f6093edc9c4dc6c303dd534a781e979735325b4a2",
        "an estimate of memory is bounded by the number of samples",
    ),
    "methods/self_expression/graph_classifier.py": Kept(
        "cbce36654abb58bb159b362d8e87401964840ccbe92061070a2f21df73d2c943",
        "bf428562f2c181e7c8c7a69bdb781d763106f97ccf093fad92bfeda2f704f653",
        "the call of the training is shared by the methods",
    ),
    "methods/self_expression/hybrid.py": Kept(
        "5dbba5d0207f60ab78eaacaea086be90d208cb42ab5fca12185e2e213eb6bf08",
        "46b01f31ce49142bfbb6921867d64d39fc303f490cfca4f63dd76614541e1965",
        "the call of the training is shared by the methods",
    ),
    "methods/self_expression/senet.py": Kept(
        "d6a0e87334f35af1906f2e97f682c3d972e9bd7d033470b4c310ccdd78756fd9",
        "8736894ae4323c619c946361ec01f0e81a5a7e0f20296db9b210e5483d60b99d",
        "the call of the training is shared by the methods",
    ),
    "methods/self_training/_scheme.py": Kept(
        "d4a63bff1e51d967df10cd71a5e341ce1f1418962e257a17b391a868bebc07d3",
        "0a3cae03018ebe28868b26eeb32bd3e02f8bd012a0a95e3543bad66d2d74f491",
        "the call of the training is shared by the methods, and a length of 0 is allowed",
    ),
    "methods/self_training/aspc_da.py": Kept(
        "1196f873e650b88aabf5de7edbe97904d8549dc813cd6230a6d9b944cc60dafd",
        "785e971f45fb30dece6c9986bb2d707d6c71aa52e3071c9e4bd98dd7e146b685",
        "the call of the training is shared by the methods, and a length of 0 is allowed",
    ),
    "methods/self_training/deepcluster.py": Kept(
        "c040f05a1ad264d94b106c6ce080de0bd8114342c07d67e70af348a158750422",
        "9476c763856e54e94073679957e6487812b7102e5b2c188e7744e9aa01815c9d",
        "the call of the training is shared by the methods",
    ),
    "methods/self_training/depict.py": Kept(
        "0c2e0aa44872e364ba9cbb7587c6151cbd4d10a3e4fd3cce05c5262c0e2c40fd",
        "701987050526cc67557d1053ecab3f1327c69ff9ad02fe64b63a20c506254f07",
        "the start by k-means is its default, and a function of its own",
        setting=True,
        added=("deepclust.graph.agglomerate",),
    ),
    "methods/self_training/dynae.py": Kept(
        "d21d2dbf827866dfbc1e079b6d71563f61a21c09514b629dce14126caeeb7eb2",
        "d7e932d314590bc13e6e888e6ebb820469c5b94c98f4159e8dd429769f085a3a",
        "the call of the training is shared by the methods, and a length of 0 is allowed",
    ),
    "methods/self_training/jule.py": Kept(
        "32473ad93f44f608ffa94f04e31a212cc4189749b0763da737a1bbe3ca3bc492",
        "b90abe637d2f892d0f3893851903793c0e4550da38c5215d12ba83bfe5f4bb40",
        "rows encoded at a time are its own; memory bounded by the samples; a shared call of the training; `learns`",
        setting=True,
    ),
    "methods/views/_views.py": Kept(
        "b6de887ce446f38b12f5b324da3f293525653ce9ffec3c057d4179db75c2cd14",
        "7546453f90ad4f2cf676e9d2bfea2c963862b1f05a0ac7ae2dd3af6ebdd7ccff",
        "the call of the training is shared by the methods",
    ),
    "methods/views/cc.py": Kept(
        "acb74f55570671bdf4a123566ac93ffcfe28de34354453f88f63218b21854022",
        "df8adb59e735ac093a6ac6274ac48576e6e86dce66b8e81dbb457f20f04bbe28",
        "the call of the training is shared by the methods",
    ),
    "methods/views/iic.py": Kept(
        "48c432d6e689188f3c083041019dedfce10cdebb32152c81a5152b5b701b497e",
        "b699db18931c8b1506f7b2a451e7cae67e0228d70f503feb162fc10c3a42c91d",
        "the call of the training is shared by the methods",
    ),
    "metrics/external.py": Kept(
        "73e17706e284cabd08ae2987d7be7b8883915625a71954128719ac174856e102",
        "193cbbbfdc056f75333f0302a2a1346965c4d33b7329151c80ffcc45af79f15f",
        "masked labels are refused; counts of samples have a public name",
    ),
    "metrics/internal.py": Kept(
        "bc8c19c58d978117043d30b7a0d650960f74c318d64687b2a12282fc50dad816",
        "269fe6c51a631a92bd552f14ce52a82e68efdbb2a9b244e76b9729b58716cbc6",
        "the silhouette is of values of size 1 and of distances computed once, same bits; data frames are refused",
    ),
    "nets/acai.py": Kept(
        "19632f483a381357bbfb2113cbab598fc507704cddd96da3636375071f91b217",
        "4aa9cb55d0d5e09b406d28a2e4c8e536a198a5d4189ba1872c0769cc228b6597",
        "the critic may be left untrained",
        setting=True,
    ),
    "reporting/aggregate.py": Kept(
        "00998e1066a6d43a86e522cfee327f6edf0a73182983a710b4962be05bb4e781",
        "6d050b8727b6352f669f3ac4937e95dbff73098cc0c47b8e49e1c4417d4cefcb",
        "tables are counted in one pass",
    ),
    "reporting/figures/cell/confusion.py": Kept(
        "bf06f53a9569ef4df1ad81cea4e47ba0cac6c0b89c3eccdd90747bae14fd2d5a",
        "74f283388086475a273995b4b5eb23bda518dad3d1737366ee631078820d2fdf",
        "the same counts in one pass",
    ),
    "reporting/shares.py": Kept(
        "361ff663ecd021004e1abf4bde3374cc44a59fcdd4e25afeef1bece23e5ad50f",
        "013ca5d550ef1ad13826ab539faa5982cead2bbac610ab502aac51a55d808b53",
        "shares of cells that a grid no longer has are left out",
    ),
    "results.py": Kept(
        "7bb194189cf130bbf6aea16faafc6dd8716d62187d84ca194033d3bd7b30e5a3",
        "9a41a0c4b84f40ab0ba27deaba1ea01696d0f6c9432de83c56cda0e9bd00f1f6",
        "an extra that would replace a result is refused",
    ),
}


def code_of(scripts: Iterable[Path], modules: Iterable[str] = (), *, as_it_is: bool = False) -> dict[str, str]:
    """Return path -> SHA-256 of the code of the scripts, the named modules and every deepclust module they import.

    Imports are read from the source, those inside functions included. `modules` is for modules that are loaded by name
    at run time (methods, networks, data sets, figures). Paths are relative to the package's folder, or names of
    scripts. Plumbing is left out, but its imports are not. `as_it_is` is for results of settings that came later, which
    the code before could not have.
    """
    entries = {file: kept for file, kept in SAME_RESULTS.items() if not (kept.setting and as_it_is)}
    found: dict[Path, Kept] = {}
    waiting = [*scripts, *(path for name in modules for path in _files_of(name))]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = kept = _kept(path, entries)
            waiting += [imported for name in _read(path).imports - {*kept.added} for imported in _files_of(name)]
    return {_label(path): found[path].before for path in sorted(found) if not is_plumbing(path)}


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file's code, as hex."""
    return _read(path).digest


def digest_of(code: Mapping[str, str]) -> str:
    """Return one SHA-256, as hex, for the files and hashes that `code_of` returned."""
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()


def is_plumbing(path: Path) -> bool:
    """Return whether a file decides no result."""
    if not path.is_relative_to(_PACKAGE):
        return False
    within = path.relative_to(_PACKAGE)
    return within.as_posix() in PLUMBING or any(parent.as_posix() in PLUMBING for parent in within.parents)


def _kept(path: Path, entries: Mapping[str, Kept]) -> Kept:
    """Return the entry of a file's code, or that of code which is as it was before."""
    digest, kept = hash_of(path), entries.get(_label(path))
    return kept if kept and kept.now == digest else Kept(digest, digest, "")


class _Code(NamedTuple):
    """The dotted names that a file imports from this package, and the hash of its code."""

    imports: frozenset[str]
    digest: str


@functools.cache
def _read(path: Path) -> _Code:
    tree = ast.parse(path.read_bytes(), str(path))
    return _Code(_imports(tree, path), hashlib.sha256(_text(tree).encode()).hexdigest())


def _text(tree: Any) -> str:
    """Return a syntax tree as text without what people read, and without empty fields, which not every Python has."""
    if isinstance(tree, ast.AST):
        tree = _bare(tree)
        values = ((name, getattr(tree, name, None)) for name in tree._fields)
        fields = [f", ['{name}', {_text(value)}]" for name, value in values if value not in (None, [])]
        return f"['{type(tree).__name__}'{''.join(fields)}]"
    if isinstance(tree, list):
        return f"[{', '.join(map(_text, tree))}]"
    return repr(tree)


def _bare(node: ast.AST) -> ast.AST:
    """Take out of a node the parts that people read and no result depends on."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, False) is not None:
        node.body = node.body[1:] or [ast.Pass()]
    elif isinstance(node, ast.JoinedStr):  # 3.12 ends some formats with an empty string
        node.values = [part for part in node.values if getattr(part, "value", None) != ""]
    elif isinstance(node, ast.Raise):  # the class of an error decides; text and cause do not
        node.cause = None
        node.exc = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    elif isinstance(node, ast.Expr) and _is_logging(node.value):
        return ast.Pass()
    return node


def _is_logging(node: ast.expr) -> bool:
    """Return whether an expression is a call of a logger named `_log`."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    return isinstance(node.func.value, ast.Name) and node.func.value.id == "_log"


def _imports(tree: ast.Module, path: Path) -> frozenset[str]:
    """Return the dotted names a module imports from this package; `from a import b` may mean the module a.b."""
    names = set()
    around = [_PACKAGE.name, *path.relative_to(_PACKAGE).parts[:-1]] if path.is_relative_to(_PACKAGE) else []
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = around[: len(around) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return frozenset(name for name in names if name.split(".")[0] == _PACKAGE.name)


def _statements(parent: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements inside a node, at any depth."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for node in getattr(parent, block, ()):
            yield node
            yield from _statements(node)


@functools.cache
def _files_of(name: str) -> list[Path]:
    """Return the file of a dotted module and the `__init__.py` files of the packages around it, where they exist."""
    parts = name.split(".")[1:]
    folders = [_PACKAGE.joinpath(*parts[:i]) for i in range(len(parts) + 1)]
    candidates = [folder / "__init__.py" for folder in folders] + [folders[-1].with_suffix(".py")]
    return [path for path in candidates if path.is_file()]


def _label(path: Path) -> str:
    return path.relative_to(_PACKAGE).as_posix() if path.is_relative_to(_PACKAGE) else path.name
