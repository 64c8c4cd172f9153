"""OOTSM: what happens next in a household, forecast from counts.  python examples/ootsm.py"""

from backcast.scenes.counts import Markov, Persistence
from backcast.scenes.problems.household import make_household

clips, clip = make_household(200, seed=0), make_household(1, seed=1).clips[0]
seen, ahead = clip.frames[:10], [frame.index for frame in clip.frames[10:13]]
for model in (Persistence(clips.vocabulary), Markov.fit(clips)):
    likely = model.forecast(clip.id, seen, ahead).objects[-1].argsort()[::-1][:4]
    print(type(model).__name__, [clips.vocabulary.objects[number] for number in likely])
