// REER: the search over the segments of the thinking. A step visits one segment and tries its candidates.

const REASONS = {
  "not better": "not better",
  overlap: "copies the answer",
  unparsed: "no usable text in the reply",
  empty: "empty",
  duplicate: "the same as another candidate",
};
const ENDS = {
  stop: "the objective fell below its threshold",
  max_steps: "it had visited as many segments as allowed",
  exhausted: "a whole sweep brought nothing better",
};
const MODES = [
  ["difference", "difference", "The change from before to after: blue became more likely, orange less likely."],
  ["final", "after", "Surprise at each token, given the final thinking."],
  ["start", "before", "Surprise at each token, given the first thinking."],
  ["empty", "no thinking", "Surprise at each token, given an empty thinking block."],
];
const COLUMN = { empty: 1, start: 2, final: 3 };
const CHANGES = [0.05, 0.2, 0.5, 1, 2];
const SURPRISES = [0.5, 1, 2, 3, 5, 8];

viewers["reer.js"] = {
  row(trace) {
    const { start, final } = trace.nll || {};
    const change = known(start) && known(final) ? final - start : null;
    return [
      el("span", { class: "about" }, trace.prompt),
      el("span", { class: "figures" },
        known(start) ? [figure(start), " → ", el("b", {}, figure(final))] : el("i", { class: "missing" }, NOT_MEASURED)),
      el("span", { class: "change" }, known(change) ? signed(change) : ""),
    ];
  },
  show(panel, trace, curve) {
    panel.append(...reerHead(trace));
    if (trace.steps.length) panel.append(reerSearch(trace, curve));
    else if (trace.start.length) panel.append(el("h4", {}, "The thinking"), el("ol", { class: "thinking" },
      (trace.final.length ? trace.final : trace.start).map((text) => el("li", {}, el("p", {}, text.trim())))));
    panel.append(reerHeat(trace), reerMore(trace));
  },
};

function reerHead(trace) {
  const { plain, empty, start, final } = trace.nll || {};
  const cell = (name, value, strong) =>
    el("div", { class: strong ? "strong" : "" }, el("dt", {}, name), el("dd", {}, figure(value)));
  const ended = trace.stop ? `The search ended because ${ENDS[trace.stop] || trace.stop}.` : "There was no search.";
  const verdict = trace.dropped ? `Dropped (${trace.dropped.replaceAll("_", " ")}). ${ended}`
    : `${ended}${trace.accepted === false ? " Nothing it tried was better: the thinking is the first one." : ""}`;
  return [
    el("h3", {}, "The request"),
    el("p", { class: "text prompt", tabindex: 0, "aria-label": "The request" }, trace.prompt),
    el("dl", { class: "figures small" }, cell("no thinking tags", plain), cell("empty thinking", empty),
      cell("first thinking", start), cell("final thinking", final, true)),
    el("p", { class: "note" }, `Mean surprise at the known good text, in nats per token; lower is more likely. ${verdict}`),
  ];
}

/** The thinking before each step and at the end: [{id, text, step}], step being the one that last wrote it. */
function reerStates(trace) {
  let fresh = trace.start.length;
  let state = trace.start.map((text, id) => ({ id, text, step: null }));
  const states = [state];
  trace.steps.forEach((step, number) => {
    const kept = step.accepted === null || step.accepted === undefined ? null : step.candidates[step.accepted];
    if (kept && kept.replacement) {
      const old = state[step.index];
      const news = kept.replacement.map((text, i) => (old && text === old.text
        ? old
        : { id: old && i === 0 ? old.id : fresh++, text, step: number }));
      state = [...state.slice(0, step.index), ...news, ...state.slice(step.index + 1)];
    }
    states.push(state);
  });
  return states;
}

function reerSearch(trace, curve) {
  const states = reerStates(trace);
  const total = trace.steps.length;
  const view = { step: 0 };
  const chart = el("figure", { class: "search-curve" },
    el("figcaption", {}, el("b", {}, "Objective over steps"), el("small", {}, "dashed: with empty thinking")), curve);
  const where = el("p", { class: "where", "aria-live": "polite" });
  const back = el("button", { type: "button", class: "quiet", "aria-label": "Previous step", click: () => go(view.step - 1) }, "‹");
  const next = el("button", { type: "button", class: "quiet", "aria-label": "Next step", click: () => go(view.step + 1) }, "›");
  const thinking = el("ol", { class: "thinking" });
  const tried = el("div", { class: "tried" });

  function go(step, focus = false) {
    view.step = Math.max(0, Math.min(total, step));
    const at = trace.steps[view.step];
    back.disabled = view.step === 0;
    next.disabled = view.step === total;
    where.replaceChildren(...reerWhere(trace, view.step));
    thinking.replaceChildren(...states[view.step].map((part, index) => reerSegment(part, index === at?.index, jump)));
    const open = thinking.querySelector("[aria-current]") || thinking.querySelector("button");
    if (open) stop([...thinking.querySelectorAll("button")], open);
    tried.replaceChildren(...(at ? reerCandidates(at, states[view.step][at.index]?.text ?? "") : [reerEnd(trace)]));
    for (const dot of chart.querySelectorAll(".dot")) dot.classList.toggle("here", Number(dot.dataset.x) === view.step);
    if (focus) tried.querySelector("[data-enter][tabindex='0']")?.focus();
  }
  /** To the next step that visits this segment, going round. */
  function jump(id) {
    const visits = trace.steps.map((step, n) => n).filter((n) => states[n][trace.steps[n].index]?.id === id);
    if (visits.length) go(visits.find((n) => n > view.step) ?? visits[0]);
    thinking.querySelector("[aria-current]")?.focus();
  }
  chart.addEventListener("click", (event) => {
    if (event.target.dataset?.x) go(Number(event.target.dataset.x));
  });
  tried.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      event.preventDefault();
      go(view.step + (event.key === "ArrowRight" ? 1 : -1), true);
    }
  });
  walk(tried, "[data-enter]");
  walk(thinking, "button");
  const first = trace.steps.findIndex((step) => known(step.accepted));
  go(first < 0 ? 0 : first);
  return el("div", { class: "search" },
    el("div", { class: "state" }, chart, el("div", { class: "stepper" }, back, where, next), thinking), tried);
}

function reerWhere(trace, number) {
  const total = trace.steps.length;
  const cut = trace.allSteps > total ? ` (the first of ${trace.allSteps})` : "";
  if (number === total) return [el("b", {}, `After ${total} steps${cut}`), el("span", {}, "the thinking as it ended")];
  const step = trace.steps[number];
  return [
    el("b", {}, `Step ${number + 1} of ${total}${cut}`),
    el("span", {}, `segment ${step.index + 1}, sweep ${step.sweep + 1}: ${figure(step.before)} → ${figure(step.after)}`),
  ];
}

function reerSegment(part, current, jump) {
  const button = el("button",
    { type: "button", tabindex: -1, "aria-current": current ? "step" : null, click: () => jump(part.id) },
    el("span", {}, part.text.trim() || "(empty)"));
  return el("li", {}, button, part.step === null ? null : el("small", {}, `rewritten in step ${part.step + 1}`));
}

function reerEnd(trace) {
  const kept = trace.steps.filter((step) => known(step.accepted)).length;
  return el("p", { class: "note" }, `${kept} of ${trace.steps.length} steps changed the thinking. Go back a step to see what was tried.`);
}

function reerCandidates(step, before) {
  const largest = Math.max(0.001, ...step.candidates.map((candidate) => Math.abs(candidate.delta ?? 0)));
  const list = el("ol", { class: "candidates", "aria-label": "Candidates" });
  const buttons = [];
  const open = (chosen) => {
    for (const button of buttons) {
      const now = button === chosen && button.getAttribute("aria-expanded") === "false";
      button.setAttribute("aria-expanded", String(now));
      button.nextElementSibling.hidden = !now;
    }
  };
  step.candidates.forEach((candidate, index) => {
    const [button, body] = reerCandidate(candidate, { index, step, before, largest });
    button.addEventListener("click", () => open(button));
    buttons.push(button);
    list.append(el("li", { class: index === step.accepted ? "accepted" : "" }, button, body));
  });
  const first = buttons[step.accepted ?? 0];
  if (first) {
    stop(buttons, first);
    open(first);
  }
  return [el("h4", {}, `${step.candidates.length} candidates for segment ${step.index + 1}`),
    buttons.length ? list : el("p", { class: "note" }, "No candidate came back for this segment.")];
}

function reerCandidate(candidate, { index, step, before, largest }) {
  const accepted = index === step.accepted;
  const second = candidate.rejected === "not better" && known(candidate.delta) && candidate.delta < 0;
  const fate = accepted ? "accepted" : second ? "better, but not the best" : REASONS[candidate.rejected] || candidate.rejected;
  const width = Math.round((50 * Math.abs(candidate.delta ?? 0)) / largest);
  const side = (candidate.delta ?? 0) < 0 ? "better" : "worse";
  const label = `Candidate ${index + 1} of ${step.candidates.length}, ${candidate.kind}: ${known(candidate.delta) ? `change ${signed(candidate.delta)} nats per token` : "unscored"}, ` +
    `overlap ${figure(candidate.overlap, 2)}, ${fate}`;
  const after = candidate.replacement === null ? null : candidate.replacement.map((text) => text.trim()).join("\n\n");
  const button = el("button", { type: "button", "data-enter": true, tabindex: -1, "aria-expanded": "false", "aria-label": label },
    el("span", { class: "kind" }, candidate.kind),
    el("span", { class: "delta" }, known(candidate.delta) ? signed(candidate.delta) : "unscored"),
    el("span", { class: `bar ${side}`, style: `--w:${width}%` }),
    el("span", { class: "overlap" }, `overlap ${figure(candidate.overlap, 2)}`),
    el("span", { class: "fate" }, fate),
    el("span", { class: "preview" }, candidate.text || after || "takes the segment out"));
  const body = el("div", { class: "diff", hidden: true });
  if (after === "") body.append(el("p", { class: "text" }, el("del", {}, before.trim())));
  else if (after !== null) body.append(el("p", { class: "text" }, difference(before.trim(), after)));
  else body.append(el("p", { class: "text raw" }, candidate.text || "The reply was empty."));
  if (known(candidate.content)) body.append(el("small", {}, `content words shared with the answer: ${figure(candidate.content, 2)}`));
  return [button, body];
}

const level = (value, edges) => edges.filter((edge) => value >= edge).length;

function reerHeat(trace) {
  const has = (mode) => trace.pieces.some((piece) => known(piece[COLUMN[mode]]));
  const modes = MODES.filter(([mode]) => (mode === "difference" ? has("start") && has("final") : has(mode)));
  if (!modes.length) return el("div", {}, el("h4", {}, "The known good text"), el("p", { class: "text" }, trace.answer ?? ""));
  const note = el("p", { class: "note" });
  const legend = el("div", { class: "scale", "aria-hidden": "true" });
  const tip = el("div", { class: "tip", hidden: true });
  const text = el("div", { class: "tokens", role: "listbox", "aria-label": "Tokens of the known good text; arrow keys walk them" });
  const tokens = trace.pieces.map((piece) => (piece.slice(1).every((nats) => !known(nats)) ? piece[0] : reerToken(piece)));
  text.append(...tokens.flat());
  const marked = [...text.children];

  let now = modes[0][0];
  const show = (mode) => {
    now = mode;
    for (const token of marked) token.className = `t ${reerShade(token.piece, mode)}`;
    note.textContent = `${MODES.find(([name]) => name === mode)[2]} ${mode === "difference" ? reerSummary(trace) : "In nats: 0 is certain, 0.7 a coin toss."}`;
    legend.replaceChildren(...reerScale(mode));
  };
  const point = (token) => {
    tip.hidden = !token;
    if (!token) return;
    const says = reerSays(token.piece, now);
    tip.replaceChildren(el("b", {}, says[0]), el("span", {}, says[1]));
    token.setAttribute("aria-label", `${token.piece[0].trim() || "blank"}: ${says.join("; ")}`);
    const frame = text.parentElement.getBoundingClientRect();
    const here = token.getClientRects()[0];
    const left = here.left - frame.left + here.width / 2 - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(0, Math.min(frame.width - tip.offsetWidth, left))}px`;
    tip.style.top = `${here.top - frame.top - tip.offsetHeight - 6}px`;
  };
  // The token under the pointer, or else the one that has the focus.
  const ask = (event) => point(event.target.closest(".t") ?? text.querySelector(".t:focus"));
  for (const kind of ["mouseover", "focusin", "mouseleave"]) text.addEventListener(kind, ask);
  text.addEventListener("focusout", () => point(null));
  walk(text, ".t", () => {}, true);
  if (marked.length) marked[0].tabIndex = 0;
  const name = `heat-${Math.random().toString(36).slice(2)}`;
  const choice = el("fieldset", { class: "modes" }, el("legend", {}, "Show"), modes.map(([mode, title], index) =>
    el("label", {}, el("input", { type: "radio", name, value: mode, checked: index === 0, change: () => show(mode) }), el("span", {}, title))));
  show(modes[0][0]);
  const cut = trace.allPieces > trace.pieces.length
    ? el("p", { class: "note" }, `The first ${trace.pieces.length} of ${trace.allPieces} pieces of the text; the trace file holds the rest.`) : null;
  return el("div", { class: "heat" }, el("h4", {}, "The known good text, token by token"), choice, note, legend,
    el("div", { class: "sheet" }, text, tip), cut);
}

/** A token's space stays outside its mark, unless the token is nothing else. */
function reerToken(piece) {
  const space = piece[0].trim() ? piece[0].match(/^ */)[0] : "";
  const token = el("span", { role: "option", tabindex: -1 }, piece[0].slice(space.length).replaceAll("\n", "↵\n"));
  token.piece = piece;
  return [space, token];
}

function reerShade(piece, mode) {
  if (mode !== "difference") return known(piece[COLUMN[mode]]) ? `h${level(piece[COLUMN[mode]], SURPRISES)}` : "";
  if (!known(piece[2]) || !known(piece[3])) return "";
  const change = piece[3] - piece[2];
  const size = level(Math.abs(change), CHANGES);
  return size === 0 ? "" : change < 0 ? `b${size}` : `w${size}`;
}

function reerScale(mode) {
  const chip = (shade, text) => el("span", { class: shade }, text);
  if (mode !== "difference")
    return [chip("h0", `under ${SURPRISES[0]}`), ...SURPRISES.map((edge, i) => chip(`h${i + 1}`, `${edge}`)), "nats or more"];
  const better = CHANGES.map((edge, i) => chip(`b${i + 1}`, `\u2212${edge}`)).reverse();
  return [...better, chip("", "0"), ...CHANGES.map((edge, i) => chip(`w${i + 1}`, `+${edge}`)), "nats or more"];
}

/** The token's figure in this mode, and all of them. */
function reerSays(piece, mode) {
  const [, empty, start, final] = piece;
  const shown = mode === "difference" ? signed(final - start, 2) : figure(piece[COLUMN[mode]], 2);
  return [`${shown} nats`, `before ${figure(start, 2)}, after ${figure(final, 2)}, no thinking ${figure(empty, 2)}`];
}

function reerSummary(trace) {
  const changes = trace.pieces.filter((piece) => known(piece[2]) && known(piece[3])).map((piece) => piece[3] - piece[2]);
  const better = changes.filter((change) => change < 0).length;
  return `${better} of ${changes.length} tokens became more likely.`;
}

function reerMore(trace) {
  const groups = [["Overlap with the answer", trace.overlap], ["Filters", trace.filters], ["Model calls", trace.calls], ["Another model’s NLL", trace.judge], ["Other columns", trace.item]];
  const filled = groups.filter(([, record]) => Object.keys(record || {}).length);
  return el("div", { class: "more" }, filled.map(([title, record]) => el("div", {}, el("h4", {}, title), pairs(record))));
}
