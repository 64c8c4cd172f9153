"""Constant-memory games (arXiv 2505.07008): opponents drawn without leaks, an agent trained on them, its exact gap."""

import csv
import io
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.core.files import write_atomic
from backcast.core.parallel import pmap
from backcast.core.run import Curve, Gap, Plan, Run, StageResult, Table
from backcast.core.stats import bootstrap
from backcast.core.vitals import Vital

STEPS_PER_SECOND = {"q": 4.5e5, "reinforce": 6e4, "dqn": 1.4e3, "ppo": 1.4e3, "recurrent": 300.0}
"""The agents, and about how many training steps each takes in a CPU-second."""
BELIEFS = 20_000
"""Belief nodes built for the Bayes value of the training mixture, at most."""
OBSERVE = ("last-k", "state", "none", "full", "type")


FILES, MODELS = ("game",), ()


@dataclass(frozen=True)
class Settings:
    """What is played, against whom, and how the agent learns."""

    game: str = "ipd"
    """A named game, or a .toml or .json file; with more than two players opponents are written first&second."""
    train: str = "tft:1,allc:1,alld:1,grim:1"
    """Training opponents: names (with weights), or a family with options like moore:n=8,nodes=3."""
    test: str = "wsls,stft,gtft,tf2t"
    """Test opponents, in the same words; 'mix' re-weights the training ones."""
    agent: str = "q"
    """q (tabular), reinforce (built in, torch), dqn, ppo or recurrent (stable-baselines3)."""
    player: int = 1
    """The seat that learns, counted from 1."""
    k: int = 3
    """Steps of play the agent sees."""
    observe: str = "last-k"
    """last-k, state, none, full or type; the last two tell types apart, so the test opponents must be 'mix'."""
    steps: int = 300_000
    """Environment steps of training, per seed."""
    seeds: int = 3
    """Agents trained."""
    seed: int = 0
    """Of the opponents' draw; agents take seed, seed + 1, ..."""
    horizon: int = 60
    """Steps after which a training match is truncated."""
    discount: str = "0.9"
    """Between 0 and 1, a fraction if you like."""
    ladder: int = 1
    """Longest window of the memory ladder on the training mixture."""

    def __post_init__(self) -> None:
        if self.agent not in STEPS_PER_SECOND:
            raise ValueError(f"agent '{self.agent}' is unknown; choose one of {', '.join(STEPS_PER_SECOND)}")
        for name in ("steps", "seeds", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        if self.observe not in OBSERVE:
            raise ValueError(f"observe '{self.observe}' is unknown; choose one of {', '.join(OBSERVE)}")
        if self.observe in ("full", "type") and self.test != "mix":
            raise ValueError(
                f"observe '{self.observe}' shows who the opponent is, which says nothing of test opponents "
                f"'{self.test}'; give test 'mix'"
            )
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} must be 0 or more")
        if self.k < 0 or self.ladder < 0:
            raise ValueError(f"k {self.k} and ladder {self.ladder} must be 0 or more")


def plan(settings: Settings) -> list[Plan]:
    """What each stage is expected to take; raises BadInput for opponents that cannot be drawn, before anything is
    begun."""
    from backcast.games.memory.windows import check_size, count
    from backcast.games.numbers import check_discount

    check_discount(settings.discount)
    drawn = _split(settings)
    _world(drawn, settings)
    check_size(drawn.game, settings.ladder)
    cells = count(len(drawn.game.states), drawn.game.joint, settings.ladder) * len(drawn.train.types)
    rate = STEPS_PER_SECOND[settings.agent]
    memory = 0.3 if settings.agent == "q" else 1.0
    return [
        Plan("opponents", f"draw {settings.train} and {settings.test}, without leaks", 2, 0.2),
        Plan(
            "train",
            f"{settings.seeds} x {settings.agent} for {settings.steps} steps",
            settings.seeds * settings.steps / rate,
            memory,
        ),
        Plan("score", "exact values, best responses, Bayes, ladder", 3 + cells / 300, 0.3),
    ]


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The three stages; returns every seed's gaps and where the CSV is."""
    drawn = {key: getattr(settings, key) for key in ("game", "player", "train", "test", "seed", "discount")}
    inputs = [settings.game] if settings.game.endswith((".toml", ".json")) else []
    run.stage("opponents", lambda folder: _opponents(folder, settings), drawn, inputs)
    trained = run.stage("train", lambda folder: _train(folder, settings), settings, inputs)
    scored = run.stage("score", lambda folder: _score(folder, trained.folder, run.folder, settings), settings, inputs)
    found = json.loads((scored.folder / "gaps.json").read_text())
    return {"agent": settings.agent, "results": found["seeds"], "csv": str(scored.folder / "gaps.csv")}


def _split(settings: Settings) -> Any:
    from backcast.games.memory import two_seats
    from backcast.games.opponents import split
    from backcast.games.problems import load_game

    game, seat = two_seats(load_game(settings.game), settings.player - 1)
    return split(game, settings.train, settings.test, 1 - seat, settings.seed)


def _world(drawn: Any, settings: Settings) -> Any:
    """What the agent will see; BadInput where there is too much of it."""
    from backcast.games.envs import World

    return World(drawn.game, drawn.train, observe=settings.observe, k=settings.k, horizon=settings.horizon)


def _opponents(folder: Path, settings: Settings) -> StageResult:
    from backcast.games.opponents import shared

    drawn = _split(settings)
    write_atomic(folder / "manifest.json", json.dumps(drawn.manifest, indent=1))
    rows = []
    for part, mixture in (("train", drawn.train), ("test", drawn.test)):
        answers = pmap(partial(_answer, drawn.game, settings.discount), mixture.types)
        for kind, answer, entry in zip(mixture.types, answers, drawn.manifest[part]["types"], strict=True):
            exact = "" if answer.exact is None else str(answer.exact)
            rows.append([kind.name, part, entry["nodes"], answer.value, exact, entry["sha256"][:12]])
    leaks = 0 if drawn.manifest["compositional"] else len(shared(drawn.train.types, drawn.test.types))
    return StageResult(
        vitals=[
            Vital(
                "leaks", float(leaks), 0, 0, "Test opponents that play like a training one; any leak flatters the test."
            ),
            Vital(
                "repeats dropped",
                float(drawn.dropped),
                0,
                None,
                "Draws thrown away because the same automaton was there.",
            ),
        ],
        tables=[Table("Opponents", ["name", "part", "nodes", "best response", "exact", "automaton"], rows)],
        lineage=[f"manifest {drawn.manifest['sha256'][:16]}: {len(rows)} opponents of '{drawn.game.name}'"],
        outputs={"manifest": drawn.manifest["sha256"]},
    )


def _answer(game: Any, discount: str, opponent: Any) -> Any:
    from backcast.games.solve import best_response

    return best_response(game, opponent, 1 - opponent.player, discount)


def _train(folder: Path, settings: Settings) -> StageResult:
    seeds = range(settings.seed, settings.seed + settings.seeds)
    found = pmap(partial(_agent, folder, settings, _split(settings)), seeds, label="agents")
    shown = {f"seed {seed}": points for seed, points in zip(seeds, found, strict=True) if points}
    return StageResult(
        curves=[Curve("Training return", "environment steps", "discounted return", shown)] if shown else [],
        outputs={"agents": [f"agent-{seed}.json" for seed in range(settings.seed, settings.seed + settings.seeds)]},
    )


def _agent(folder: Path, settings: Settings, drawn: Any, seed: int) -> list[list[float]]:
    """Trains the agent of a seed, unless it is there; returns its curve."""
    from backcast.games.agents import Training, train
    from backcast.games.memory import to_json

    path = folder / f"agent-{seed}.json"
    if not path.exists():
        asked = Training(
            settings.agent, settings.k, settings.steps, settings.horizon, seed=seed, observe=settings.observe
        )
        agent = train(drawn.game, drawn.train, asked, settings.discount)
        record: dict[str, Any] = {"curve": agent.curve}
        if not agent.strategies:
            agent.model.save(folder / f"agent-{seed}.zip")
        record["strategies"] = [to_json(strategy) for strategy in agent.strategies]
        write_atomic(path, json.dumps(record))
    curve: list[list[float]] = json.loads(path.read_text())["curve"]
    return curve


def _policy(trained: Path, seed: int, settings: Settings, drawn: Any) -> list[Any]:
    """What an agent learnt, as it was written down; empty for one with a memory of its own."""
    from backcast.games.memory import read_strategy

    record = json.loads((trained / f"agent-{seed}.json").read_text())
    return [
        read_strategy(drawn.game, one, 1 - drawn.train.player, f"{settings.agent} {seed}")
        for one in record["strategies"]
    ]


def _reports(trained: Path, settings: Settings, drawn: Any, bayes: Any) -> list[Any]:
    """One gap report per seed."""
    seeds = range(settings.seed, settings.seed + settings.seeds)
    return pmap(partial(_report, trained, settings, drawn, bayes), seeds)


def _report(trained: Path, settings: Settings, drawn: Any, bayes: Any, seed: int) -> Any:
    from backcast.games.score import gap_report, simulated_report

    given = (drawn.train, drawn.test, settings.discount)
    if policy := _policy(trained, seed, settings, drawn):
        return gap_report(drawn.game, policy, *given, bayes=bayes)
    from sb3_contrib import RecurrentPPO

    model = RecurrentPPO.load(trained / f"agent-{seed}.zip", device="cpu")
    seen = {"observe": settings.observe, "k": settings.k}
    return simulated_report(drawn.game, model, seen, *given, bayes=bayes)


def _rungs(drawn: Any, settings: Settings) -> tuple[list[list[Any]], tuple[float, float] | None]:
    """The ladder as rows of a table, and the bounds of the Bayes value (None where there are too many beliefs)."""
    from backcast.games.mixtures import bayes_value, best_memory
    from backcast.games.solve import best_response

    game, mixture, seat, rate = drawn.game, drawn.train, 1 - drawn.train.player, settings.discount
    rows: list[list[Any]] = []
    for k in range(settings.ladder + 1):
        rung = best_memory(game, mixture, k, seat, rate)
        rows.append([f"best memory-{k}", rung.value, "" if rung.proven else f"at most {rung.upper:.6g}"])
    bounds = None
    try:
        found = bayes_value(game, mixture, seat, rate, nodes=BELIEFS, tol=1e-4)
        bounds = (found.lower, found.upper)
        note = str(found.exact or ("" if found.lower == found.upper else f"{found.lower:.6g} to {found.upper:.6g}"))
        rows.append(["Bayes", found.value, note])
    except BadInput as error:
        rows.append(["Bayes", None, str(error)])
    seen = [float(w) * best_response(game, kind, seat, rate).value for w, kind in _pairs(mixture)]
    return [*rows, ["clairvoyant", sum(seen), ""]], bounds


def _pairs(mixture: Any) -> list[tuple[Any, Any]]:
    return list(zip(mixture.weights, mixture.types, strict=True))


def _score(folder: Path, trained: Path, root: Path, settings: Settings) -> StageResult:
    drawn = _split(settings)
    rungs, bayes = _rungs(drawn, settings)
    reports = _reports(trained, settings, drawn, bayes)

    pictures = _pictures(folder, trained, root, settings, (drawn, reports, rungs))
    rows = [
        [one.name, one.part, one.value, one.best, one.uniform, one.regret, seed]
        for seed, report in enumerate(reports, settings.seed)
        for one in report.opponents
    ]
    columns = ["opponent", "part", "value", "best", "uniform", "regret", "seed"]
    _write_csv(folder / "gaps.csv", columns, rows)
    results = [report.to_dict() for report in reports]
    write_atomic(folder / "gaps.json", json.dumps({"settings": asdict(settings), "seeds": results}, indent=1))
    low = min((gap for gap in (report.mixture_gap for report in reports) if gap is not None), default=None)
    share = [one.normalised for report in reports for one in report.opponents if one.part == "train"]
    known = [value for value in share if value is not None]
    exact = settings.agent != "recurrent"
    return StageResult(
        gaps=_gaps(reports),
        vitals=[
            Vital(
                "gap to Bayes",
                low,
                -1e-6 if exact else None,
                None,
                "Bayes minus the agent's mean; below 0 is a bug in the evaluation.",
            ),
            Vital(
                "normalised score",
                float(np.mean(known)) if known else None,
                0.0,
                1.0 + 1e-9,
                "0 is uniform play, 1 the best response; below 0 the agent learnt nothing.",
            ),
        ],
        tables=[
            Table("Ladder on the training mixture", ["strategy", "value", "note"], rungs),
            Table("Agent against each opponent", columns, rows),
        ],
        curves=_hardness(drawn),
        pictures=pictures,
        outputs={"gaps": str((folder / "gaps.json").relative_to(root))},
    )


def _hardness(drawn: Any) -> list[Curve]:
    """Beliefs, and seconds to list them, against the horizon, for one type, half of them and all."""
    from backcast.games.mixtures import growth

    total = len(drawn.train.types)
    counts = sorted({1, (total + 1) // 2, total})
    found = growth(drawn.game, drawn.train.types, counts, 12, 1 - drawn.train.player, limit=4000)
    nodes: dict[str, list[list[float]]] = {}
    seconds: dict[str, list[list[float]]] = {}
    for one in found:
        label = f"{one.types} types"
        nodes.setdefault(label, []).append([float(one.horizon), float(one.nodes)])
        seconds.setdefault(label, []).append([float(one.horizon), one.seconds])
    return [
        Curve("Beliefs to plan for", "horizon", "beliefs", nodes),
        Curve("Time to list them", "horizon", "seconds", seconds),
    ]


def _gaps(reports: list[Any]) -> list[Gap]:
    """Regret on both parts against uniform play's, and the generalisation gap; intervals over opponents and seeds."""
    out = []
    for part in ("train", "test"):
        regrets = [one.regret for report in reports for one in report.opponents if one.part == part]
        even = float(np.mean([report.mean(part, "best") - report.mean(part, "uniform") for report in reports]))
        value = float(np.mean([report.mean(part, "regret") for report in reports]))
        spread = bootstrap(regrets)
        out.append(Gap("score", f"regret on {part} opponents", even, value, spread.low, spread.high, spread.n))
    between = bootstrap([report.generalisation for report in reports])
    out.append(Gap("score", "generalisation gap", None, between.value, between.low, between.high, between.n))
    below = [report.mixture_gap for report in reports if report.mixture_gap is not None]
    if below:
        spread = bootstrap(below)
        out.append(Gap("score", "gap to the Bayes value", None, spread.value, spread.low, spread.high, spread.n))
    return out


def _pictures(folder: Path, trained: Path, root: Path, settings: Settings, found: tuple[Any, ...]) -> list[str]:
    """Values against best responses, the ladder, regret on train and test by seed, and the best agent's machine."""
    from backcast.games.draw import automaton, bars

    drawn, reports, rungs = found
    best = min(range(len(reports)), key=lambda i: reports[i].mean("train", "regret"))
    rows = [(f"{one.name} ({one.part})", one.value, one.best, one.uniform) for one in reports[best].opponents]
    seen, even = rungs[-1][1], reports[best].mean("train", "uniform")
    steps = [(name, value, seen, even) for name, value, _ in rungs if value is not None]
    parts = [
        (f"seed {seed}, {part}", report.mean(part, "regret"), report.mean(part, "best") - report.mean(part, "uniform"))
        for seed, report in enumerate(reports, settings.seed)
        for part in ("train", "test")
    ]
    pictures = {
        "values.svg": bars(rows, f"Value against best response, seed {settings.seed + best}"),
        "ladder.svg": bars(
            [*steps, (f"the agent, seed {settings.seed + best}", reports[best].mean("train", "value"), seen, even)],
            "Ladder on the training mixture",
            "dark: what the strategy earns; light: knowing the type; red mark: uniform play",
        ),
        "generalisation.svg": bars(
            [(*part, None) for part in parts],
            "Regret, train and test",
            "dark: the agent's regret; light: uniform play's",
        ),
    }
    for i, strategy in enumerate(_policy(trained, settings.seed + best, settings, drawn)[:4]):
        pictures[f"agent{i or ''}.svg"] = automaton(strategy)
    for name, text in pictures.items():
        write_atomic(folder / name, text)
    return [str((folder / name).relative_to(root)) for name in pictures]


def _write_csv(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    write_atomic(path, text.getvalue())
