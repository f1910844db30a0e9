"""Where things lie: sources in loadtests/, everything that is made in target/servers/.

The models and rows are those of the engines' benchmark; importing this makes its modules (`data`,
`train`, `machine`) importable, so no module here may have the name of one there.
"""

import pathlib
import sys

SOURCES = pathlib.Path(__file__).resolve().parent
ROOT = SOURCES.parent
PEERS = SOURCES / "peers"
RESULTS = SOURCES / "results"
OUT = ROOT / "target" / "servers"
ENVIRONMENTS = ROOT / ".venv" / "servers"

sys.path.append(str(ROOT / "benches" / "engines"))
