"""The oracle of the scores: plain loops over triplets, one frame at a time."""

from backcast.scenes.problems import dense


def candidates(joint, predicates, vocabulary, mode, threshold):
    """Ranked (object, predicate) of one frame."""
    found = []
    for o in range(joint.shape[0]):
        for group, ids in zip(vocabulary.groups, vocabulary.slices, strict=True):
            cells = range(ids.start, ids.stop)
            best = max(cells, key=lambda r: (predicates[o, r], -r))
            for r in cells:
                if mode in ("with", "scenesayer-with"):
                    keep = r == best
                elif mode == "no":
                    keep = True
                elif mode == "semi":
                    keep = r == best if group.arity == "one" else predicates[o, r] > 0.9
                else:
                    keep = joint[o, r] >= threshold
                if keep and joint[o, r] > 0:
                    found.append((-joint[o, r], o, r))
    return [(o, r) for _, o, r in sorted(found)][:100]


def recalls(forecasts, asked, vocabulary, mode, k, threshold=0.5):
    """(R@k, mR@k)."""
    shares, each = [], {}
    for one, case in zip(forecasts, asked, strict=True):
        joint = one.joint
        for t, frame in enumerate(case.future):
            true = frame.triplets()
            if not true:
                continue
            top = set(candidates(joint[t], one.predicates[t], vocabulary, mode, threshold)[:k])
            shares.append(len(top & true) / len(true))
            for r in {r for _, r in true}:
                mine = {cell for cell in true if cell[1] == r}
                each.setdefault(r, []).append(len(mine & top) / len(mine))
    mean = sum(sum(values) / len(values) for values in each.values()) / len(vocabulary.predicates)
    return sum(shares) / len(shares), mean


def f1(said, true):
    """F1 of lists of sets."""
    tp = sum(len(a & b) for a, b in zip(said, true, strict=True))
    return 2 * tp / (sum(map(len, said)) + sum(map(len, true)))


def novel_f1(forecasts, asked, threshold=0.5):
    said, true = [], []
    for one, case in zip(forecasts, asked, strict=True):
        before = case.seen[-1].triplets()
        hard = one.hard(threshold)
        for t, frame in enumerate(case.future):
            cells = {(o, r) for o in range(hard.shape[1]) for r in range(hard.shape[2]) if hard[t, o, r]}
            said.append(cells - before)
            true.append(frame.triplets() - before)
    return f1(said, true)


def present(frames, vocabulary):
    return dense(frames, vocabulary)[0]
