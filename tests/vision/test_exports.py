import subprocess
import sys

from backcast import vision


def test_every_export_is_there():
    assert all(getattr(vision, name) is not None for name in vision.__all__)


def test_importing_the_room_imports_no_torch():
    code = (
        "import sys, backcast.vision; from backcast.vision import Desk, curious, Scenes; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
