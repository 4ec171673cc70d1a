// Skill against the seconds of fitting, with the Pareto front: the rows that nothing both faster and better beats.
const costChart = (() => {
  const { svg } = dom;
  const NAMED = 300; // with more points a title for each would be slow, and none could be pointed at

  function front(points) {
    const best = [];
    for (const point of [...points].sort((a, b) => a.fit - b.fit || b.skill - a.skill)) {
      if (!best.length || point.skill > best.at(-1).skill) best.push(point);
    }
    return best;
  }

  const FLOOR = -0.5; // far below persistence differences mean nothing

  function draw(rows, view, width) {
    const points = rows.map(row => ({ row, fit: row.fit, skill: view.skill(row)[0] })).filter(point => Number.isFinite(point.skill) && point.fit >= 0);
    const measured = points.filter(point => point.fit > 0).map(point => point.fit);
    const fastest = measured.reduce((a, b) => Math.min(a, b), Infinity), slowest = measured.reduce((a, b) => Math.max(a, b), 0);
    const zeros = points.length > measured.length; // a fit of no time has no place on a log axis: a decade is kept for it
    const low = 10 ** (Math.floor(Math.log10(measured.length ? fastest : 0.1)) - Number(zeros)), high = 10 ** Math.ceil(Math.log10(measured.length ? slowest * 1.01 : 10));
    for (const point of points) point.at = Math.max(point.fit, low);
    const best = front(points.filter(point => !point.row.greyed).map(({ row, at, skill }) => ({ row, fit: at, skill })));
    const [bottom, top] = scales.span(points.map(point => Math.max(point.skill, FLOOR)), [0]);
    const words = summary(points, best, low);
    const chart = charts.frame({
      width, height: 300, title: "Skill against cost", summary: words,
      x: range => scales.log([low, Math.max(high, low * 10)], range), y: range => scales.linear([bottom, top], range),
      xLabel: "fit, seconds as stated (log)", yLabel: `skill, ${view.name}`, xFormat: value => (zeros && value === low ? "≤ " : "") + short(value),
      yFormat: value => text.skill(value).replace(/0+$/, "").replace(/\.$/, ""),
    });
    const place = point => [chart.x(point.at), chart.y(Math.max(point.skill, bottom))];
    for (const [className, group] of [["faint", points.filter(point => point.row.greyed)], ["s1", points.filter(point => !point.row.greyed)]]) {
      dots(chart, group, place, className);
    }
    const steps = best.map(point => [chart.x(point.fit), chart.y(Math.max(point.skill, bottom))]);
    if (steps.length) steps.push([chart.x(chart.x.high), steps.at(-1)[1]]);
    chart.plot.append(svg("path", { class: "line front", d: charts.path(steps, true) }));
    best.forEach(point => charts.mark(chart, point.fit, Math.max(point.skill, bottom), 3, "front"));
    return charts.figure({
      title: "Skill against cost", picture: chart.picture, words,
      below: charts.legend([{ label: "row", className: "s1 dot", shape: 0 }, { label: "Pareto front: nothing is both faster and better", className: "front", shape: 3 }]),
      numbers: dom.table("The Pareto front, fastest first", ["predictor", "fit, s", "skill"],
        best.map(({ row, skill }) => [dom.bdi(data.label(row), 80), text.seconds(row.fit), text.skill(skill)])),
    });
  }

  const short = value => (value >= 1e6 ? `${value / 1e6}M` : value >= 1000 ? `${value / 1000}k` : String(Number(value.toPrecision(1))));

  // Many dots are one path of dots: ten thousand elements would be slow.
  function dots(chart, points, place, className) {
    if (points.length > NAMED) {
      const d = points.map(point => { const [x, y] = place(point); return `M${x.toFixed(1)} ${y.toFixed(1)}h0`; }).join("");
      chart.plot.append(svg("path", { class: `dots ${className}`, d }));
      return;
    }
    for (const point of points) {
      const [cx, cy] = place(point);
      chart.plot.append(svg("circle", { class: `mark ${className}`, cx, cy, r: 4 },
        svg("title", {}, `${text.clean(data.label(point.row), 80)}: skill ${text.skill(point.skill)}, fit ${text.seconds(point.fit)} s`)));
    }
  }

  function summary(points, best, low) {
    if (!points.length) return "No row of this view has a skill and a cost.";
    const ends = best.length === 1 ? ` Alone on the front: ${sentence(best[0])}.` : best.length ? ` The front goes from ${sentence(best[0])} to ${sentence(best.at(-1))}.` : "";
    const clipped = points.some(point => point.skill < FLOOR) ? ` Rows below a skill of ${text.skill(FLOOR)} are drawn at the lower edge.` : "";
    const zeros = points.some(point => point.fit < low) ? ` Fits of no time are drawn at the left edge.` : "";
    return `${text.plural(points.length, "row")}.${ends}${clipped}${zeros}`;
  }

  const sentence = ({ row, skill }) => `${text.clean(data.label(row), 60)} (${text.seconds(row.fit)} s, skill ${text.skill(skill)})`;

  return { draw };
})();
