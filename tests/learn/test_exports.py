import subprocess
import sys

import backcast.learn as learn


def test_the_room_opens_without_torch_and_every_export_is_there():
    """Importing the room loads neither torch nor TRL; each name of its list resolves."""
    code = "import sys, backcast.learn; print('torch' in sys.modules, 'trl' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]
    homes = ("backcast.learn", "backcast.report.card", "trl")
    assert all(getattr(learn, name).__module__.startswith(homes) for name in learn.__all__)
