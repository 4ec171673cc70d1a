// A row's own picture: WPE and REPW against the horizon, true against predicted return.
const figure = (() => {
  const { svg, html } = dom;
  const value = ([middle]) => middle;
  const numbered = (series, part) => series.map((item, index) => [index + 1, ...part(item)]);

  function draw(row, details, phase, width) {
    const references = row.board.phases[phase]?.references ?? {};
    const panels = data.metrics.filter(metric => details.series[metric.name].some(([middle]) => Number.isFinite(middle))).map(metric => byHorizon({
      title: `${text.capital(metric.label)} by horizon, ${phase}`, series: details.series[metric.name], metric, width,
      beside: data.referencesOf(metric).map(({ name, label }) => [label, lineOf(name), references[name]?.by_horizon ?? []]),
    }));
    return html("div", { class: "panels" }, panels, trialChart.draw(row, details, width), returns(details.returns, width, details.seeds[0]));
  }

  const lineOf = name => (name.includes("persistence") ? "persistence" : name.includes("noise") ? "noise" : name.includes("branching") ? "branching" : "ceiling");

  function byHorizon({ title, series, metric, width, beside }) {
    const format = data.format(metric), label = metric.unit === "return" ? `${metric.label}, return` : metric.label;
    const others = beside.filter(([, , values]) => values.some(Number.isFinite));
    const all = [...series.flat(), ...others.flatMap(([, , values]) => values)];
    const [low, high] = scales.span(all, [0]);
    const words = `${text.capital(metric.label)} goes from ${format(value(series[0] ?? []))} at h = 1 to ${format(value(series.at(-1) ?? []))} at h = ${series.length}; the shaded band is its 95% interval.`;
    const chart = charts.frame({
      width, height: 240, title, summary: words, xLabel: "horizon, checkpoints", yLabel: label,
      x: range => Object.assign(scales.linear([1, Math.max(series.length, 2)], range), { ticks: series.map((_, index) => index + 1) }),
      y: range => scales.linear([low, high], range),
      yFormat: number => (Math.abs(number) >= 0.01 || number === 0 ? String(Number(number.toPrecision(3))) : text.scientific(number).replace(/\.?0*e/, "e")),
    });
    charts.band(chart, numbered(series, ([, lower, upper]) => [lower, upper]), "s1");
    for (const [, className, values] of others) charts.line(chart, values.map((number, index) => [index + 1, number]), className);
    charts.line(chart, numbered(series, ([middle]) => [middle]), "s1");
    series.forEach(([middle], index) => charts.mark(chart, index + 1, middle, 0, "s1"));
    return charts.figure({
      title, picture: chart.picture, words,
      below: charts.legend([{ label: "this row", className: "s1", shape: 0 }, ...others.map(([name, className]) => ({ label: name, className }))]),
      numbers: dom.table(title, ["h", label, "95% interval", ...others.map(([name]) => name)],
        series.map(([middle, lower, upper], index) =>
          [String(index + 1), format(middle), text.interval(lower, upper, format), ...others.map(([, , values]) => format(values[index]))])),
    });
  }

  const LEARNING = "learning";

  function returns(points, width, seed) {
    const title = "True against predicted return";
    const [low, high] = scales.span(points.flatMap(([, , truth, forecast]) => [truth, forecast]));
    const words = describe(points, seed);
    const scale = range => Object.assign(scales.linear([low, high], range));
    const chart = charts.frame({ width, height: 240, title, summary: words, x: scale, y: scale, xLabel: "true return", yLabel: "predicted return", xFormat: short, yFormat: short });
    chart.plot.append(svg("path", { class: "line zero", d: charts.path([[chart.x(low), chart.y(low)], [chart.x(high), chart.y(high)]]) }));
    for (const learning of [false, true]) {
      const [shape, className] = learning ? [0, "s1"] : [3, "hollow"];
      for (const [phase, , truth, forecast] of points) if ((phase === LEARNING) === learning) charts.mark(chart, truth, forecast, shape, className);
    }
    const other = points.some(([phase]) => phase !== LEARNING);
    return charts.figure({
      title, picture: chart.picture, words,
      below: charts.legend([{ label: "learning phase", className: "s1 dot", shape: 0 }, ...(other ? [{ label: "converged", className: "hollow dot", shape: 3 }] : []), { label: "as predicted", className: "zero" }]),
      numbers: dom.table(title, ["phase", "h", "true", "predicted"], points.map(([phase, h, truth, forecast]) => [dom.bdi(phase, 20), String(h), text.points(truth), text.points(forecast)])),
    });
  }

  const short = number => (Math.abs(number) >= 1e5 ? text.scientific(number) : String(Number(number.toPrecision(3))));

  function describe(points, seed) {
    if (!points.length) return "This row has no returns.";
    const errors = points.map(([, , truth, forecast]) => Math.abs(truth - forecast)).sort((a, b) => a - b);
    return `${text.plural(points.length, "forecast policy").replace("policys", "policies")} of seed ${seed}; half lie within ${text.points(errors[errors.length >> 1])} of their true return, the farthest is ${text.points(errors.at(-1))} away.`;
  }

  return { draw, lineOf };
})();
