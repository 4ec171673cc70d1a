// What the pictures share: a frame with axes, lines, bands, marks, a legend and a text alternative.
const charts = (() => {
  const { svg, html } = dom;
  const MARGIN = { top: 12, right: 20, bottom: 42, left: 56 };

  // An empty picture with axes; `x` and `y` are makers of scales, from a range of places.
  function frame({ width, height, title, summary, x, y, xLabel, yLabel, xFormat = String, yFormat = String }) {
    const [left, right, top, bottom] = [MARGIN.left, width - MARGIN.right, MARGIN.top, height - MARGIN.bottom];
    const [toX, toY] = [x([left, right]), y([bottom, top])];
    const [titleId, summaryId, clipId] = ["title", "summary", "clip"].map(dom.identifier);
    const plot = svg("g", { "clip-path": `url(#${clipId})` });
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": `${titleId} ${summaryId}`, class: "chart" },
      svg("title", { id: titleId }, title), svg("desc", { id: summaryId }, summary),
      svg("clipPath", { id: clipId }, svg("rect", { x: left - 6, y: top - 6, width: right - left + 12, height: bottom - top + 12 })),
      toY.ticks.map(tick => [
        svg("line", { class: "grid", x1: left, x2: right, y1: toY(tick), y2: toY(tick) }),
        svg("text", { x: left - 7, y: toY(tick) + 4, "text-anchor": "end" }, yFormat(tick))]),
      toX.ticks.map(tick => [
        svg("line", { class: "tick", x1: toX(tick), x2: toX(tick), y1: bottom, y2: bottom + 4 }),
        svg("text", { x: toX(tick), y: bottom + 17, "text-anchor": "middle" }, xFormat(tick))]),
      svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
      svg("text", { class: "name", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, xLabel),
      svg("text", { class: "name", transform: `translate(13 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, yLabel),
      plot);
    return { picture, plot, x: toX, y: toY };
  }

  // A path through points, broken where a value is missing.
  function path(points, step = false) {
    let made = "", last = null;
    for (const point of points) {
      if (!point.every(Number.isFinite)) { last = null; continue; }
      const [x, y] = point.map(value => value.toFixed(1));
      made += last ? (step ? `H${x}V${y}` : `L${x} ${y}`) : `M${x} ${y}`;
      last = point;
    }
    return made;
  }

  function line(chart, values, className) {
    chart.plot.append(svg("path", { class: `line ${className}`, d: path(values.map(([x, y]) => [chart.x(x), chart.y(y)])) }));
  }

  // The region between two series; [x, low, high] each.
  function band(chart, values, className) {
    const whole = values.filter(value => value.every(Number.isFinite));
    if (whole.length < 2) return;
    const around = [...whole.map(([x, , high]) => [x, high]), ...whole.map(([x, low]) => [x, low]).reverse()];
    chart.plot.append(svg("path", { class: `band ${className}`, d: path(around.map(([x, y]) => [chart.x(x), chart.y(y)])) + "Z" }));
  }

  // Marks by shape as well as by colour.
  const SHAPES = [
    (x, y) => svg("circle", { cx: x, cy: y, r: 3.6 }),
    (x, y) => svg("rect", { x: x - 3.2, y: y - 3.2, width: 6.4, height: 6.4 }),
    (x, y) => svg("path", { d: `M${x} ${y - 4.6}L${x + 4.3} ${y + 3.2}H${x - 4.3}Z` }),
    (x, y) => svg("path", { d: `M${x} ${y - 4.8}L${x + 4.8} ${y}L${x} ${y + 4.8}L${x - 4.8} ${y}Z` }),
    (x, y) => svg("path", { d: `M${x} ${y + 4.6}L${x + 4.3} ${y - 3.2}H${x - 4.3}Z` }),
    (x, y) => svg("path", { class: "stroked", d: `M${x - 3.4} ${y - 3.4}L${x + 3.4} ${y + 3.4}M${x + 3.4} ${y - 3.4}L${x - 3.4} ${y + 3.4}` }),
  ];

  function mark(chart, x, y, number, className) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) return;
    const shape = SHAPES[number % SHAPES.length](Number(chart.x(x).toFixed(1)), Number(chart.y(y).toFixed(1)));
    shape.classList.add("mark", ...className.split(" "));
    chart.plot.append(shape);
  }

  // Names of lines; each item has a label (nodes), a class, and a mark's number or none.
  function legend(items) {
    return html("ul", { class: "legend" }, items.map(({ label, className, shape }) => {
      const sample = svg("svg", { viewBox: "0 0 26 12", width: 26, height: 12, "aria-hidden": "true" },
        svg("path", { class: `line ${className}`, d: "M1 6H25" }));
      if (shape !== undefined) {
        const drawn = SHAPES[shape % SHAPES.length](13, 6);
        drawn.classList.add("mark", ...className.split(" "));
        sample.append(drawn);
      }
      return html("li", {}, sample, html("span", {}, label));
    }));
  }

  // A picture with its name, what it says in words, and its numbers.
  function figure({ title, picture, below, words, numbers }) {
    return html("figure", {},
      html("figcaption", {}, html("h3", {}, title)), picture, below, html("p", { class: "soft words" }, words),
      numbers && html("details", {}, html("summary", {}, "The numbers", dom.unseen(` of: ${title}`)), numbers));
  }

  return { frame, line, band, mark, legend, figure, path };
})();
