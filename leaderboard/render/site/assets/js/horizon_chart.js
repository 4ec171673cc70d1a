// Skill by horizon of the view's first rows, below the span ceiling and the branching ceiling where that is known.
const horizonChart = (() => {
  const SHOWN = 6;
  const FLOOR = -0.5;
  const CEILINGS = data.referencesOf(data.ranking);

  function draw(rows, view, width) {
    const shown = rows.filter(row => !row.greyed && view.byHorizon(row).some(Number.isFinite)).slice(0, SHOWN);
    const lines = shown.map(row => ({ row, values: view.byHorizon(row) }));
    const ceilings = CEILINGS.map(({ name, label }) => ({ label, className: figure.lineOf(name), values: ceilingOf(name, shown, view) }))
      .filter(({ values }) => values.some(Number.isFinite));
    const values = [...lines, ...ceilings].flatMap(({ values }) => values).filter(value => value >= FLOOR);
    const [bottom, top] = scales.span(values, [0]);
    const count = data.about.horizons;
    const words = summary(lines, ceilings, rows.length);
    const chart = charts.frame({
      width, height: 300, title: "Skill by horizon", summary: words,
      x: range => Object.assign(scales.linear([1, Math.max(count, 2)], range), { ticks: Array.from({ length: count }, (_, index) => index + 1) }),
      y: range => scales.linear([bottom, top], range),
      xLabel: "horizon, checkpoints", yLabel: `skill, ${view.phase}`, yFormat: value => text.skill(value).replace(/0+$/, "").replace(/\.$/, ""),
    });
    if (bottom < 0) charts.line(chart, [[1, 0], [count, 0]], "zero");
    const at = series => series.map((value, index) => [index + 1, Number.isFinite(value) ? Math.max(value, bottom - 1) : NaN]);
    for (const { values, className } of ceilings) charts.line(chart, at(values), className);
    lines.forEach(({ values }, number) => {
      charts.line(chart, at(values), `s${number + 1}`);
      values.forEach((value, index) => value >= bottom && charts.mark(chart, index + 1, value, number, `s${number + 1}`));
    });
    const names = lines.map(({ row }, number) => ({ label: name(row, view), className: `s${number + 1}`, shape: number }));
    return charts.figure({
      title: "Skill by horizon", picture: chart.picture, words,
      below: charts.legend([...names, ...ceilings]),
      numbers: dom.table("Skill by horizon", ["predictor", ...Array.from({ length: count }, (_, index) => `h = ${index + 1}`)],
        [...lines.map(({ row, values }) => [name(row, view), ...values.map(text.skill)]), ...ceilings.map(({ label, values }) => [label, ...values.map(text.skill)])]),
    });
  }

  const name = (row, view) => [dom.bdi(data.label(row), 48), " ", dom.html("span", { class: "soft" }, dom.bdi(view.now.view === "rows" ? row.board.dataset : row.budget, 40))];

  // A ceiling where the rows stand: their board's, or the mean over the boards of overall entries, where all have it.
  function ceilingOf(name, rows, view) {
    const boards = [...new Set(rows.flatMap(row => (row.overall ? row.rows : [row])).map(row => row.board))].filter(board => board.phases[view.phase]);
    if (!data.across.has(view.now.view) && boards.length > 1) return Array(data.about.horizons).fill(NaN);
    return Array.from({ length: data.about.horizons }, (_, index) => {
      const values = boards.map(board => board.phases[view.phase].references[name]?.by_horizon[index]).filter(Number.isFinite);
      return values.length && values.length === boards.length ? values.reduce((a, b) => a + b) / values.length : NaN;
    });
  }

  const MEANING = { ceiling: "which no recombination of the context passes", branching: "which no forecast passes that knows the whole training state, the current batch included" };

  function summary(lines, ceilings, total) {
    if (!lines.length) return "No row of this view has a skill by horizon.";
    const best = lines[0];
    const under = ceilings.map(({ label, className, values }) => ` The ${text.clean(label, 40)}, ${MEANING[className]}, goes from ${text.skill(values[0])} to ${text.skill(values.at(-1))}.`).join("");
    const clipped = lines.some(({ values }) => values.some(value => value < FLOOR)) ? ` Values below ${text.skill(FLOOR)} are off the picture.` : "";
    const shown = lines.length < total ? `The first ${lines.length} of ${text.plural(total, "row")}, in the table's order. ` : "";
    return `${shown}${text.clean(data.label(best.row), 60)} goes from ${text.skill(best.values[0])} at h = 1 to ${text.skill(best.values.at(-1))} at h = ${best.values.length}.${under}${clipped}`;
  }

  return { draw };
})();
