// A row's weight error on each test trial against persistence's, both axes logarithmic.
const trialChart = (() => {
  const title = "WPE of each test trial against persistence's";

  function draw(row, details, width) {
    const persistence = row.board.trial_errors ?? [];
    const points = (details.trial_errors ?? []).map((error, index) => ({ trial: index + 1, x: persistence[index], y: error }));
    const known = points.filter(({ x, y }) => x > 0 && y > 0);
    if (!known.length) return null;
    const all = known.flatMap(({ x, y }) => [x, y]);
    const span = [Math.min(...all) / 1.3, Math.max(...all) * 1.3];
    const below = known.filter(({ x, y }) => y < x);
    const words = `On ${text.count(below.length)} of ${text.plural(known.length, "test trial")} its error is below persistence's; mean over windows, horizons and seeds, ${row.board.headline} phase.`;
    const axis = range => scales.log(span, range, span[1] / span[0] > 1000 ? [1] : [1, 2, 5]);
    const chart = charts.frame({
      width, height: 240, title, summary: words, x: axis, y: axis, xLabel: "persistence's WPE (log)", yLabel: "WPE (log)", xFormat: short, yFormat: short,
    });
    charts.line(chart, [[span[0], span[0]], [span[1], span[1]]], "zero");
    for (const { x, y } of known) charts.mark(chart, x, y, y < x ? 0 : 3, y < x ? "s1" : "hollow");
    return charts.figure({
      title, picture: chart.picture, words,
      below: charts.legend([{ label: "better than persistence", className: "s1 dot", shape: 0 }, { label: "not better", className: "hollow dot", shape: 3 }, { label: "equal", className: "zero" }]),
      numbers: dom.table(title, ["test trial", "persistence", "this row"], points.map(({ trial, x, y }) => [String(trial), text.scientific(x), text.scientific(y)])),
    });
  }

  const short = value => value.toExponential(0).replace("-", "−").replace("e+", "e");

  return { draw };
})();
