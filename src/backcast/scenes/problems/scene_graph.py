"""The JSON of scene graphs by video and frame number that text pipelines over Action Genome exchange."""

import json
from pathlib import Path

from backcast.core.errors import BadInput
from backcast.scenes.problems.action_genome import RATE
from backcast.scenes.problems.clip import Clips, make_clip
from backcast.scenes.problems.vocabulary import ACTION_GENOME

FIELDS = {"attention": "attention", "spatial": "spatial", "contacting": "contact"}


def read_scene_graph(path: Path | str) -> Clips:
    """The clips of ``{video: {frame: {objects, attention, spatial, contact}}}``; frames are sorted by number."""
    path = Path(path)
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"no such file: '{path}'") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not JSON ({error})") from None
    if not isinstance(videos, dict) or not all(isinstance(frames, dict) for frames in videos.values()):
        raise BadInput(f"{path}: expected {{video: {{frame: ...}}}}; is it another layout?")
    clips = []
    for video, frames in videos.items():
        named = []
        for number in sorted(frames, key=lambda key: (not key.isdigit(), int(key) if key.isdigit() else 0)):
            place = f"{path}, video '{video}', frame '{number}'"
            if not number.isdigit():
                raise BadInput(f"{place}: not a frame number")
            graph = frames[number]
            if not isinstance(graph, dict) or "objects" not in graph:
                raise BadInput(f"{place}: expected {{objects, attention, spatial, contact}}")
            objects = {
                name: {
                    ours: list(dict.fromkeys(graph.get(theirs, {}).get(name, []))) for ours, theirs in FIELDS.items()
                }
                for name in graph["objects"]
            }
            named.append({"index": int(number), "time_s": int(number) / RATE, "objects": objects})
        clips.append(make_clip(ACTION_GENOME, video, named, f"{path}, video '{video}'"))
    if not clips:
        raise BadInput(f"{path}: no videos")
    return Clips(ACTION_GENOME, tuple(clips))
