// A model that looks: the images with every box that was asked for, the parts it was shown, the conversation, and what
// of it is learnt.

viewers["look.js"] = {
  row(trace) {
    const { value } = trace.score;
    const verdict = trace.lesson ?? (known(value) ? (value >= 0.5 ? "right" : "wrong") : NOT_MEASURED);
    return [
      el("span", { class: "about" }, trace.prompt),
      el("span", { class: "figures" }, el("b", {}, verdict.replaceAll("-", " "))),
      el("span", { class: "change" }, trace.calls === 1 ? "1 look" : `${trace.calls} looks`),
    ];
  },
  show(panel, trace) {
    const cell = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value ?? el("i", { class: "missing" }, "none")));
    const asked = { problem: trace.problem, stage: trace.stage, group: trace.group || null, ended: trace.stop, tokens: trace.tokens };
    panel.append(
      el("h3", {}, trace.prompt),
      el("dl", { class: "figures small" }, cell(trace.lesson ? "to be learnt" : "answer", trace.answer), cell("known good", trace.known),
        cell("looks", String(trace.calls)), trace.lesson ? cell("kind", trace.lesson.replaceAll("-", " ")) : null),
      trace.images.length
        ? el("div", { class: "looked" }, trace.images.map((image, source) => lookImage(trace, image, source)))
        : el("p", { class: "note" }, "This trace's pictures were not kept."),
      trace.errors.length ? el("p", { class: "notice" }, `Told to the model: ${trace.errors.join("; ")}`) : "",
      el("h4", {}, "The conversation"),
      el("p", { class: "note" }, trace.lesson
        ? "Marked: the tokens that are learnt. Mistakes and what the tools bring are read, and not learnt."
        : "Marked: what the model wrote, which is what reinforcement learns from."),
      lookTurns(trace),
      pairs(Object.fromEntries(Object.entries(asked).filter(([, value]) => known(value)))) ?? "");
  },
};

const lookColour = (number) => `var(--s${number % 6})`;

/** One whole image: where the answer is known to be (dotted), and each box that was asked for, under its number. */
function lookImage(trace, image, source) {
  const place = ([left, top, right, bottom], colour) => [
    `left: ${(100 * left) / image.width}%`, `top: ${(100 * top) / image.height}%`,
    `width: ${(100 * (right - left)) / image.width}%`, `height: ${(100 * (bottom - top)) / image.height}%`,
    `--edge: ${colour}`,
  ].join("; ");
  const boxes = trace.views.filter((view) => view.box && view.source === source);
  const right = trace.right && source === trace.shownIn ? el("i", { class: "box known", style: place(trace.right, "var(--ink)"), title: "where the answer is known to be" }) : null;
  return el("figure", {},
    el("div", { class: "canvas" },
      el("img", { src: image.url, alt: `Image ${source + 1}` }), right,
      boxes.map((view) => el("i", { class: "box", style: place(view.box, lookColour(view.number)), title: view.about },
        el("b", {}, String(view.number))))),
    el("figcaption", {}, `Image ${source + 1}`, el("small", {}, `${image.width} × ${image.height} pixels`)));
}

/** The turns; the mark of a picture becomes the picture as the model saw it. */
function lookTurns(trace) {
  let seen = 0;
  const piece = ([text, learnt]) => {
    const parts = text.split("[image]");
    return parts.flatMap((part, at) => [
      at ? lookShown(trace, seen++) : null,
      part ? el(learnt ? "mark" : "span", {}, part) : null,
    ]);
  };
  return el("ol", { class: "turns" }, trace.turns.map((turn) =>
    el("li", { class: turn.role }, el("b", {}, turn.role), el("div", { class: "text" }, turn.pieces.map(piece)))));
}

function lookShown(trace, at) {
  const view = trace.views[at - trace.given];
  if (!view) return el("i", { class: "missing" }, `image ${at + 1}`);
  return el("img", { class: "part", src: view.url, alt: `Image ${view.number}: ${view.about}`, style: `--edge: ${lookColour(view.number)}` });
}
