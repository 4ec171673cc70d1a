// Mean learning curves of the training track: normalised return against environment steps, with intervals.
const curveChart = (() => {
  const FLOOR = -0.25; // below it nothing is learned, however far
  const LONGEST = 90;

  // `rows` in the order of their colours; `steps` are the table's.
  function draw(rows, steps, title, width, height = 300) {
    const shown = rows.filter(row => row.curve).slice(0, 6);
    if (!shown.length) return null;
    const [bottom, top] = scales.span(shown.flatMap(({ curve }) => curve.flat()).filter(value => value >= FLOOR), [0, 1]);
    const words = summary(shown);
    const chart = charts.frame({
      width, height, title, summary: words, xLabel: "environment steps", yLabel: "normalised return",
      x: range => scales.linear([0, steps.at(-1)], range), y: range => scales.linear([bottom, top], range),
      xFormat: value => (value >= 1000 ? `${value / 1000}k` : String(value)), yFormat: value => String(Number(value.toFixed(2))),
    });
    charts.line(chart, [[0, 1], [steps.at(-1), 1]], "zero");
    shown.forEach(({ curve: [, low, high] }, number) => charts.band(chart, steps.map((step, index) => [step, low[index], high[index]]), `s${number + 1}`));
    shown.forEach(({ curve: [mean] }, number) => {
      charts.line(chart, steps.map((step, index) => [step, mean[index]]), `s${number + 1}`);
      for (let index = number; index < steps.length; index += 6) charts.mark(chart, steps[index], mean[index], number, `s${number + 1}`);
    });
    const cell = ({ curve }, index) => columns.plain(curve.map(column => column[index]), text.skill);
    return charts.figure({
      title, picture: chart.picture, words,
      below: charts.legend(shown.map((row, number) => ({ label: dom.bdi(row.method, LONGEST), className: `s${number + 1}`, shape: number }))),
      numbers: dom.table(title, ["environment steps", ...shown.map(row => dom.bdi(row.method, LONGEST))], steps.map((step, index) => [text.count(step), ...shown.map(row => cell(row, index))])),
    });
  }

  function summary(shown) {
    const ends = shown.map(({ method, curve: [mean] }) => `${text.clean(method, LONGEST)} ends at ${text.skill(mean.at(-1))}`).join("; ");
    return `0 is a random initialisation, 1 what tuned Adam ends with on its tuning trials. ${ends}. Bands are 95% intervals of the mean over trials, each step's own.`;
  }

  return { draw };
})();
